//! Rows about making tasks: one at a time, many at once, and a tree of a million.

use super::{Channel, Measured, Threads};
use crate::measure::{per_op, scaled};
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::time::Instant;

/// Leaves of the tree at full scale, and children of each inner node.
pub const SKYNET_LEAVES: u64 = 1_000_000;
/// Children of an inner node.
pub const SKYNET_FAN_OUT: u64 = 10;

/// Nanoseconds to spawn one task and join it.
pub fn spawn_join<T: Threads>() -> f64 {
    per_op(|n| {
        let start = Instant::now();
        let mut sum = 0;
        for value in 0..n {
            sum += T::join(T::spawn(move || black_box(value)));
        }
        let took = start.elapsed();
        assert_eq!(sum, n * (n - 1) / 2, "results were lost");
        took
    })
}

/// Nanoseconds per task to spawn a crowd and join it.
pub fn spawn_many<T: Threads>() -> f64 {
    let crowd = scaled(100_000).min(T::max_live());
    let per_crowd = per_op(|n| {
        let count = Arc::new(AtomicU64::new(0));
        let mut handles = Vec::with_capacity(crowd);
        let start = Instant::now();
        for _ in 0..n {
            for _ in 0..crowd {
                let count = count.clone();
                handles.push(T::spawn(move || {
                    count.fetch_add(1, Ordering::Relaxed);
                }));
            }
            handles.drain(..).for_each(T::join);
        }
        let took = start.elapsed();
        assert_eq!(count.load(Ordering::Relaxed), n * crowd as u64, "tasks were lost");
        took
    });
    per_crowd / crowd as f64
}

/// Milliseconds for the tree of a million leaves. Not run where that many tasks cannot exist.
pub fn skynet<T: Threads>() -> Measured {
    let leaves = skynet_leaves();
    if T::max_live() < leaves as usize {
        return Err(format!("at most {} tasks at once", T::max_live()));
    }
    tree::<T>(leaves.min(1000));
    let start = Instant::now();
    tree::<T>(leaves);
    Ok(vec![start.elapsed().as_secs_f64() * 1e3])
}

/// The number of leaves at the present scale: a power of the fan-out.
pub fn skynet_leaves() -> u64 {
    let most = scaled(SKYNET_LEAVES as usize) as u64;
    let mut leaves = SKYNET_FAN_OUT;
    while leaves * SKYNET_FAN_OUT <= most {
        leaves *= SKYNET_FAN_OUT;
    }
    leaves
}

/// Grows one tree and checks the sum of its leaves' numbers.
fn tree<T: Threads>(leaves: u64) {
    let (tx, rx) = T::Unbounded::new();
    T::spawn(move || node::<T>(&tx, 0, leaves));
    assert_eq!(T::Unbounded::recv(&rx), leaves * (leaves - 1) / 2, "a wrong sum");
}

/// Sends the sum of the numbers from `first` on, one per leaf below this node.
fn node<T: Threads>(up: &<T::Unbounded as Channel>::Tx, first: u64, leaves: u64) {
    if leaves == 1 {
        T::Unbounded::send(up, first);
        return;
    }
    let (tx, rx) = T::Unbounded::new();
    let below = leaves / SKYNET_FAN_OUT;
    for child in 0..SKYNET_FAN_OUT {
        let tx = tx.clone();
        T::spawn(move || node::<T>(&tx, first + child * below, below));
    }
    let sum = (0..SKYNET_FAN_OUT).map(|_| T::Unbounded::recv(&rx)).sum();
    T::Unbounded::send(up, sum);
}
