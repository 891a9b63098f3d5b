//! The row about how many tasks can wait at once, and what each costs.

use super::{Channel, Threads};
use crate::measure::{held_since_start, scaled};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::Arc;
use std::time::Instant;

/// Tasks that wait at once.
pub const PARKED: usize = 1_000_000;

/// Nanoseconds to create a task that parks, and bytes it then holds, with all of them parked at once.
///
/// The bytes count from the start of the process, so a runtime gains nothing by taking memory early; handles are included.
pub fn parked<T: Threads>() -> Vec<f64> {
    let crowd = scaled(PARKED).min(T::max_live());
    round::<T>(crowd.div_ceil(1000));
    round::<T>(crowd)
}

/// Parks `crowd` tasks, measures, releases and joins them.
///
/// The release comes when all have arrived, and none can end before it: all of them exist at once.
fn round<T: Threads>(crowd: usize) -> Vec<f64> {
    let arrived = Arc::new(AtomicUsize::new(0));
    let released = Arc::new(AtomicBool::new(false));
    let (tx, rx) = T::Unbounded::new();
    let start = Instant::now();
    let handles: Vec<_> = (0..crowd)
        .map(|_| {
            let (arrived, released, tx) = (arrived.clone(), released.clone(), tx.clone());
            T::spawn(move || {
                if arrived.fetch_add(1, Ordering::AcqRel) + 1 == crowd {
                    T::Unbounded::send(&tx, crowd as u64);
                }
                while !released.load(Ordering::Acquire) {
                    T::park();
                }
                1
            })
        })
        .collect();
    assert_eq!(T::Unbounded::recv(&rx), crowd as u64, "tasks were lost");
    let took = start.elapsed();
    let held = held_since_start();
    released.store(true, Ordering::Release);
    handles.iter().for_each(T::unpark);
    let woken: usize = handles.into_iter().map(T::join).sum();
    assert_eq!(woken, crowd, "some did not return");
    let each = |total: f64| total / crowd as f64;
    vec![each(took.as_nanos() as f64), each(held as f64)]
}
