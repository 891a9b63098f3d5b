//! Rows where many tasks want the same thing: one lock, or one moment.

use super::{Measured, Threads};
use crate::measure::{per_op, scaled};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Tasks that share the lock.
pub const LOCKERS: usize = 100;
/// What each of them does at full scale.
pub const LOCKS_EACH: usize = 10_000;
/// Tasks that sleep.
pub const SLEEPERS: usize = 100_000;

/// Nanoseconds per lock, increment and unlock.
pub fn mutex<T: Threads>() -> f64 {
    let each = scaled(LOCKS_EACH);
    let per_crowd = per_op(|n| {
        let counter = Arc::new(T::Counter::default());
        let start = Instant::now();
        for _ in 0..n {
            let crowd: Vec<_> = (0..LOCKERS)
                .map(|_| {
                    let counter = counter.clone();
                    T::spawn(move || (0..each).for_each(|_| T::bump(&counter)))
                })
                .collect();
            crowd.into_iter().for_each(T::join);
        }
        let took = start.elapsed();
        assert_eq!(T::total(&counter), n * (LOCKERS * each) as u64, "increments were lost");
        took
    });
    per_crowd / (LOCKERS * each) as f64
}

/// Milliseconds until all of a crowd have slept one millisecond. Not run where that many tasks cannot exist.
pub fn sleep<T: Threads>() -> Measured {
    let crowd = scaled(SLEEPERS);
    if T::max_live() < crowd {
        return Err(format!("at most {} tasks at once", T::max_live()));
    }
    nap::<T>(crowd.div_ceil(100));
    Ok(vec![nap::<T>(crowd)])
}

/// Lets `crowd` tasks sleep one millisecond each; returns the wall time in milliseconds.
fn nap<T: Threads>(crowd: usize) -> f64 {
    const NAP: Duration = Duration::from_millis(1);
    let rested = Arc::new(AtomicUsize::new(0));
    let start = Instant::now();
    let handles: Vec<_> = (0..crowd)
        .map(|_| {
            let rested = rested.clone();
            T::spawn(move || {
                let lay_down = Instant::now();
                T::sleep(NAP);
                rested.fetch_add(usize::from(lay_down.elapsed() >= NAP), Ordering::Relaxed);
            })
        })
        .collect();
    handles.into_iter().for_each(T::join);
    let took = start.elapsed();
    assert_eq!(rested.load(Ordering::Relaxed), crowd, "some woke before their time");
    took.as_secs_f64() * 1e3
}
