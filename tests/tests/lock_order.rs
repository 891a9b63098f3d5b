//! A mutex of C's and one of Rust's, wanted by C threads and by goroutines, in calls and in callbacks.

use gort::{ffi, thread};
use gort_tests::cthreads::{eventually, through_c, CThread};
use gort_tests::raw;
use gort_tests::subprocess::{role, Rerun};
use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering::SeqCst};
use std::sync::{mpsc, Arc, Mutex};
use std::time::Duration;

/// A mutex of C's.
struct CMutex(UnsafeCell<libc::pthread_mutex_t>);

// SAFETY: made to be shared; only libc's functions touch it.
unsafe impl Sync for CMutex {}

static C_MUTEX: CMutex = CMutex(UnsafeCell::new(libc::PTHREAD_MUTEX_INITIALIZER));
static RUST_MUTEX: Mutex<u32> = Mutex::new(0);

/// What C does with its mutex held.
fn with_c_mutex<T>(f: impl FnOnce() -> T) -> T {
    // SAFETY: a valid mutex; the thread or goroutine that locks it unlocks it.
    unsafe {
        assert_eq!(libc::pthread_mutex_lock(C_MUTEX.0.get()), 0);
        let value = through_c(f);
        assert_eq!(libc::pthread_mutex_unlock(C_MUTEX.0.get()), 0);
        value
    }
}

/// Row X-18. A C thread holds C's mutex and calls in for Rust's, which goroutines take and give up all the time; others
/// want C's mutex, and wait for it in C. Whoever waits there does not keep the P from those who must run first.
#[test]
fn a_c_mutex_wanted_by_goroutines_and_held_over_a_callback() {
    const NAME: &str = "a_c_mutex_wanted_by_goroutines_and_held_over_a_callback";
    if role().is_none() {
        for (procs, chaos) in [(1, ""), (2, ""), (1, "8"), (2, "9")] {
            // With hooks a goroutine parks on the mutex, without it blocks in the kernel.
            for hooks in [0, 1] {
                let child = Rerun::of(NAME, "child").env("GORT_PROCS", procs).env("GORT_CHAOS", chaos);
                child.env("GORT_INTERPOSE", hooks).run().success();
            }
        }
        return;
    }
    const ROUNDS: u32 = 200;
    let c_threads: Vec<_> = (0..3)
        .map(|_| {
            CThread::spawn(|| {
                for _ in 0..ROUNDS {
                    // The callback needs Rust's mutex, and a goroutine that has not run yet.
                    with_c_mutex(|| {
                        ffi::callback(|| {
                            *RUST_MUTEX.lock().unwrap() += 1;
                            thread::spawn(|| *RUST_MUTEX.lock().unwrap() += 1).join().unwrap();
                        })
                    });
                }
            })
        })
        .collect();
    let goroutines: Vec<_> = (0..6)
        .map(|i| {
            thread::spawn(move || {
                for _ in 0..ROUNDS {
                    match i % 2 {
                        0 => with_c_mutex(|| ffi::callback(|| *RUST_MUTEX.lock().unwrap() += 1)),
                        _ => {
                            let mut held = RUST_MUTEX.lock().unwrap();
                            thread::yield_now();
                            *held += 1;
                        }
                    }
                }
            })
        })
        .collect();
    c_threads.into_iter().for_each(CThread::join);
    goroutines.into_iter().for_each(|g| g.join().unwrap());
    assert_eq!(*RUST_MUTEX.lock().unwrap(), ROUNDS * (3 * 2 + 6));
}

/// Row X-18. The two in opposite orders are a dead-lock of the program's own, as with threads: these two wait, all
/// others go on.
#[test]
fn opposite_orders_stop_nobody_else() {
    const NAME: &str = "opposite_orders_stop_nobody_else";
    if role().is_none() {
        for (procs, chaos) in [(1, ""), (2, ""), (1, "8"), (2, "9")] {
            let outcome = Rerun::of(NAME, "child").env("GORT_PROCS", procs).env("GORT_CHAOS", chaos).run();
            assert_eq!(outcome.status.code(), Some(7), "{outcome:?}");
        }
        return;
    }
    static BOTH: AtomicUsize = AtomicUsize::new(0);
    static NEVER: AtomicU32 = AtomicU32::new(0);
    fn have_first() {
        BOTH.fetch_add(1, SeqCst);
        eventually("each has one of them", || BOTH.load(SeqCst) == 2);
    }
    drop(CThread::spawn(|| {
        with_c_mutex(|| {
            have_first();
            ffi::callback(|| drop(RUST_MUTEX.lock()));
            NEVER.store(1, SeqCst);
        })
    }));
    drop(thread::spawn(|| {
        let _held = RUST_MUTEX.lock().unwrap();
        have_first();
        with_c_mutex(|| NEVER.store(1, SeqCst));
    }));
    let (to, from) = mpsc::channel();
    let rounds = Arc::new(AtomicUsize::new(0));
    let theirs = rounds.clone();
    drop(thread::spawn(move || from.into_iter().for_each(|n: usize| _ = theirs.fetch_add(n, SeqCst))));
    eventually("each has one of them", || BOTH.load(SeqCst) == 2);
    raw::block_for(Duration::from_millis(20));
    for _ in 0..1000 {
        let to = to.clone();
        CThread::spawn(move || ffi::callback(|| thread::spawn(move || to.send(1).unwrap()).join().unwrap())).join();
    }
    eventually("others go on", || rounds.load(SeqCst) == 1000);
    assert_eq!(NEVER.load(SeqCst), 0);
    std::process::exit(7);
}
