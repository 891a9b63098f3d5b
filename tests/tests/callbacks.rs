//! C threads that call in: their sums are right, many of them at a time, from any depth of stack, with or without a
//! runtime that has been started; and a callback is the C thread that it was called on.

use gort::ffi;
use gort_tests::cthreads::{at_depth, block_then, crowd, each, through_c, tid, CThread};
use gort_tests::subprocess::{alone, is_child, Rerun};
use std::ffi::c_void;
use std::panic::catch_unwind;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{mpsc, Arc, Barrier, Condvar, Mutex};

/// Adds `i` to the sum at `arg`.
#[gort::callback(on_panic = -1)]
unsafe extern "C" fn add(arg: *mut c_void, i: u64) -> i64 {
    // SAFETY: the tests pass a sum that outlives the calls.
    let sum = unsafe { &*arg.cast::<AtomicI64>() };
    sum.fetch_add(i as i64, Ordering::Relaxed);
    assert!(catch_unwind(|| panic!("one that the callback handles itself")).is_err());
    i as i64
}

/// Returns 1.
#[gort::callback(on_panic = -1_000_000)]
extern "C" fn one(_arg: *mut c_void, _i: u64) -> i64 {
    1
}

/// Row C-14.
#[test]
fn six_threads_add_up() {
    let sum = AtomicI64::new(0);
    assert_eq!(crowd(6, add, &sum, 10), 270, "what C got");
    assert_eq!(sum.into_inner(), 270, "what Rust did");
}

/// Row X-01.
#[test]
fn a_crowd_at_once() {
    alone("a_crowd_at_once", || {
        assert_eq!(gort::stats().extra_ms, 0);
        assert_eq!(crowd(250, one, &(), 1000), 250_000);
        let stats = gort::stats();
        assert!((1..=250).contains(&stats.extra_ms), "{stats:?}");
        assert_eq!((stats.extra_ms_in_use, stats.callbacks), (0, 0), "{stats:?}");
        // A second crowd is served from what the first one left.
        assert_eq!(crowd(stats.extra_ms as u32, one, &(), 1), stats.extra_ms as i64);
        assert_eq!(gort::stats().extra_ms, stats.extra_ms);
    });
}

#[test]
fn callbacks_do_not_need_a_started_runtime() {
    alone("callbacks_do_not_need_a_started_runtime", || {
        assert_eq!(CThread::spawn(|| each(one, &(), 100)).join(), 100);
        let stats = gort::stats();
        assert_eq!((stats.kernel_threads, stats.goroutines, stats.extra_ms), (0, 0, 1), "nothing was started");
        // The first goroutine of the process is made and awaited in a callback.
        let value = CThread::spawn(|| ffi::callback(|| gort::thread::spawn(|| 6 * 7).join().unwrap())).join();
        assert_eq!(value, 42);
        assert!(gort::Config::new().start().is_err(), "the runtime was started");
    });
}

/// Row C-40.
#[test]
fn callbacks_while_another_thread_starts_the_runtime() {
    alone("callbacks_while_another_thread_starts_the_runtime", || {
        let gate = Arc::new(Barrier::new(9));
        let threads: Vec<_> = (0..8u64)
            .map(|i| {
                let gate = gate.clone();
                CThread::spawn(move || {
                    gate.wait();
                    ffi::callback(|| gort::thread::spawn(move || i * i).join().unwrap())
                })
            })
            .collect();
        gate.wait();
        let started = gort::Config::new().procs(2).start();
        let sum: u64 = threads.into_iter().map(CThread::join).sum();
        assert_eq!(sum, 140);
        // Either side may have been first; the loser is told, or has joined in.
        assert!(started.is_ok() || started.unwrap_err().to_string().contains("runs already"));
    });
}

/// Row C-13.
#[test]
fn from_every_depth_of_stack() {
    fn sweep() -> u64 {
        let mut calls = 0;
        for bytes in (4..=5000).step_by(4) {
            at_depth(bytes, || ffi::callback(|| calls += 1));
        }
        calls
    }
    assert_eq!(CThread::spawn(sweep).join(), 1250);
    assert_eq!(gort::thread::spawn(sweep).join().unwrap(), 1250);
}

/// Row C-38.
#[test]
fn the_signal_mask_is_the_threads_own() {
    fn blocked(signal: i32) -> bool {
        // SAFETY: `mask` is ours to write, and is written by the call; null: change nothing.
        unsafe {
            let mut mask = std::mem::zeroed();
            assert_eq!(libc::pthread_sigmask(libc::SIG_BLOCK, std::ptr::null(), &raw mut mask), 0);
            libc::sigismember(&raw const mask, signal) == 1
        }
    }
    let seen = CThread::spawn(|| {
        // SAFETY: a valid set, written before it is used.
        unsafe {
            let mut set = std::mem::zeroed();
            libc::sigemptyset(&raw mut set);
            libc::sigaddset(&raw mut set, libc::SIGIO);
            assert_eq!(libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()), 0);
        }
        let inside = [1, 2].map(|_| ffi::callback(|| (blocked(libc::SIGIO), blocked(libc::SIGUSR1))));
        (inside, (blocked(libc::SIGIO), blocked(libc::SIGUSR1)))
    });
    let (inside, after) = seen.join();
    assert_eq!(inside, [(true, false); 2], "in the callback");
    assert_eq!(after, (true, false), "after it");
}

/// Row C-39.
#[test]
fn a_callback_is_its_c_thread() {
    thread_local!(static MINE: AtomicUsize = const { AtomicUsize::new(0) });
    let threads: Vec<_> = (0..4)
        .map(|_| {
            CThread::spawn(|| {
                let (outside, std_id) = (tid(), std::thread::current().id());
                for round in 0..1000 {
                    ffi::callback(|| {
                        ffi::lock_os_thread();
                        assert_eq!(tid(), outside);
                        assert_eq!(std::thread::current().id(), std_id);
                        assert!(!gort::thread::is_goroutine());
                        assert_eq!(MINE.with(|n| n.fetch_add(1, Ordering::Relaxed)), round);
                        gort::thread::yield_now();
                        assert_eq!(tid(), outside);
                        ffi::unlock_os_thread();
                    });
                }
                MINE.with(|n| n.load(Ordering::Relaxed))
            })
        })
        .collect();
    for thread in threads {
        assert_eq!(thread.join(), 1000);
    }
}

/// Uses some stack and memory `depth` calls deep, and lets others run on the way.
fn recurse(depth: u64) -> u64 {
    let room = std::hint::black_box([depth; 64]);
    let heap = vec![depth; 100];
    if depth == 0 {
        gort::thread::yield_now();
        return 0;
    }
    1 + recurse(depth - 1) + std::hint::black_box(room[7] - heap[99])
}

/// Row R-04.
#[test]
fn goroutines_that_make_c_threads() {
    alone("goroutines_that_make_c_threads", || {
        let grown: Vec<_> = (0..100).map(|_| gort::thread::spawn(|| recurse(100))).collect();
        assert!(grown.into_iter().all(|g| g.join().unwrap() == 100));
        assert_eq!(gort::stats().extra_ms_in_use, 0, "before");
        let goroutines: Vec<_> = (0..100)
            .map(|_| {
                gort::thread::spawn(|| {
                    let thread = CThread::sized(256 << 10, || {
                        ffi::callback(|| {
                            assert!(gort::stats().extra_ms_in_use > 0, "in a callback");
                            assert!(gort::stats().callbacks > 0, "in a callback");
                            let spawned = gort::thread::spawn(|| recurse(10));
                            recurse(100) + spawned.join().unwrap()
                        })
                    });
                    thread.join()
                })
            })
            .collect();
        assert!(goroutines.into_iter().all(|g| g.join().unwrap() == 110));
        let stats = gort::stats();
        assert_eq!((stats.extra_ms_in_use, stats.callbacks), (0, 0), "after: {stats:?}");
        assert!((1..=100).contains(&stats.extra_ms), "{stats:?}");
    });
}

/// Row R-17.
#[test]
fn blocking_c_calls_that_call_back() {
    const NAME: &str = "blocking_c_calls_that_call_back";
    if !is_child() {
        Rerun::of(NAME, "child").inherit_all().env("GORT_PROCS", 16).run().success();
        return;
    }
    let calls = Arc::new(AtomicUsize::new(0));
    let goroutines: Vec<_> = (0..64)
        .map(|_| {
            let calls = calls.clone();
            gort::thread::spawn(move || {
                for _ in 0..100 {
                    ffi::blocking(|| block_then(50, || ffi::callback(|| calls.fetch_add(1, Ordering::Relaxed))));
                }
            })
        })
        .collect();
    goroutines.into_iter().for_each(|g| g.join().unwrap());
    assert_eq!(calls.load(Ordering::Relaxed), 6400);
    assert_eq!(gort::stats().extra_ms, 0, "goroutines need no extra M");
}

#[test]
fn c_threads_and_goroutines_share_channels_and_locks() {
    let (to, from) = mpsc::sync_channel::<u64>(1);
    let consumers: Vec<_> = {
        let from = Arc::new(Mutex::new(from));
        let consumer = |from: Arc<Mutex<mpsc::Receiver<u64>>>| {
            move || {
                let next = || from.lock().unwrap().recv().ok();
                std::iter::from_fn(next).sum::<u64>()
            }
        };
        (0..4).map(|_| gort::thread::spawn(consumer(from.clone()))).collect()
    };
    let producers: Vec<_> = (0..4u64)
        .map(|n| {
            let to = to.clone();
            CThread::spawn(move || (0..500).for_each(|i| ffi::callback(|| to.send(n * 500 + i).unwrap())))
        })
        .collect();
    drop(to);
    producers.into_iter().for_each(CThread::join);
    let sum: u64 = consumers.into_iter().map(|g| g.join().unwrap()).sum();
    assert_eq!(sum, 2000 * 1999 / 2);
}

#[test]
fn a_callback_and_a_goroutine_take_turns() {
    let turns = Arc::new((Mutex::new(0u32), Condvar::new()));
    let play = |parity: u32, turns: Arc<(Mutex<u32>, Condvar)>| {
        for _ in 0..500 {
            let mut turn = turns.1.wait_while(turns.0.lock().unwrap(), |t| *t % 2 != parity).unwrap();
            *turn += 1;
            turns.1.notify_all();
        }
    };
    let theirs = turns.clone();
    let thread = CThread::spawn(move || ffi::callback(|| through_c(|| ffi::callback(|| play(0, theirs)))));
    let theirs = turns.clone();
    let goroutine = gort::thread::spawn(move || play(1, theirs));
    thread.join();
    goroutine.join().unwrap();
    assert_eq!(*turns.0.lock().unwrap(), 1000);
}

#[test]
fn park_and_unpark_over_the_border() {
    let (to, from) = mpsc::channel();
    let thread = CThread::spawn(move || {
        ffi::callback(|| {
            to.send(gort::thread::current()).unwrap();
            gort::thread::park();
            let sleeper = gort::thread::spawn(|| {
                gort::thread::park();
                gort::thread::is_goroutine()
            });
            sleeper.thread().unpark();
            sleeper.join().unwrap()
        })
    });
    let waker = gort::thread::spawn(move || from.recv().unwrap().unpark());
    waker.join().unwrap();
    assert!(thread.join());
}
