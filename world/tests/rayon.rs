//! rayon called by goroutines: its pool consists of real threads, or of goroutines with `GORT_THREADS=1`.

use gort_world::crowd::{crowd, scaled, Watch};
use gort_world::process::with_threads_as_goroutines;
use rayon::prelude::*;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Goroutines.
const CLIENTS: usize = 1_000;
/// Threads in the pool.
const POOL: usize = 4;
/// Bytes of their stacks. A worker of rayon's that waits for a part of its own work takes up other work meanwhile, on the same
/// stack: with a crowd of callers it may come to nest hundreds deep.
const STACK: usize = 64 << 20;

fn fibonacci(n: u64) -> u64 {
    if n < 2 {
        return n;
    }
    let (a, b) = rayon::join(|| fibonacci(n - 1), || fibonacci(n - 2));
    a + b
}

fn all_of_it() {
    let n = scaled(CLIENTS);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(POOL).stack_size(STACK).build().expect("threads");
    let tasks = AtomicUsize::new(0);
    crowd(n, |i| {
        let numbers: Vec<u64> = (0..1000).map(|k| (k * 7919 + i as u64) % 1009).collect();
        let mut sorted = numbers.clone();
        sorted.sort_unstable();
        let squares: u64 = numbers.iter().map(|k| k * k).sum();
        pool.install(|| {
            assert_eq!(numbers.par_iter().map(|k| k * k).sum::<u64>(), squares);
            let mut by_rayon = numbers.clone();
            by_rayon.par_sort_unstable();
            assert_eq!(by_rayon, sorted);
            assert_eq!(fibonacci(10), 55);
        });
        pool.scope(|s| {
            (0..10).for_each(|_| {
                s.spawn(|_| {
                    tasks.fetch_add(1, Relaxed);
                })
            })
        });
    });
    assert_eq!(tasks.into_inner(), 10 * n);
    // A panic in the pool comes out at the caller, a goroutine.
    let caught = crowd(4, |i| {
        let refuse_two = || pool.install(|| assert_ne!(i, 2, "as intended"));
        catch_unwind(AssertUnwindSafe(refuse_two)).is_err()
    });
    assert_eq!(caught, [false, false, true, false]);
}

#[test]
fn a_pool_of_threads() {
    let watch = Watch::start("rayon, a pool of threads");
    all_of_it();
    watch.few();
}

#[test]
fn a_pool_of_goroutines() {
    with_threads_as_goroutines("a_pool_of_goroutines", || {
        let watch = Watch::start("rayon, a pool of goroutines");
        all_of_it();
        watch.few();
    });
}

/// The global pool, on which rayon's functions run by themselves.
#[test]
fn the_global_pool() {
    let watch = Watch::start("rayon, the global pool");
    rayon::ThreadPoolBuilder::new().stack_size(STACK).build_global().expect("nobody was first");
    let sums = crowd(scaled(CLIENTS), |i| (0..1000u64).into_par_iter().map(|k| k + i as u64).sum::<u64>());
    assert!(sums.iter().enumerate().all(|(i, sum)| *sum == 499_500 + 1000 * i as u64));
    watch.few();
}
