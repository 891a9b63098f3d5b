//! `ffi::on_system_stack`: the kernel thread's own stack and thread-local storage, for calls that need them.

use gort::ffi::{self, on_system_stack};
use gort_tests::cthreads::{through_c, tid, use_stack, CThread};
use gort_tests::jumps::{elsewhere, elsewhere_now};
use gort_tests::needs_goroutines;
use gort_tests::subprocess::{is_child, Rerun};
use std::cell::Cell;
use std::panic::{catch_unwind, panic_any};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{mpsc, Arc, Mutex};

thread_local!(static MINE: Cell<u32> = const { Cell::new(0) });

/// Where this thread's `MINE` lies.
fn address() -> usize {
    MINE.with(|mine| std::ptr::from_ref(mine) as usize)
}

fn here() -> usize {
    let local = 0u8;
    std::hint::black_box(&raw const local) as usize
}

#[test]
fn storage_and_stack_are_the_kernel_threads() {
    needs_goroutines!("the system stack has no storage of its own");
    let goroutine = gort::thread::spawn(|| {
        MINE.set(5);
        let outside = (address(), here(), std::thread::current().id());
        for _ in 0..100 {
            let before = tid();
            let inside = on_system_stack(|| {
                assert_eq!(tid(), before);
                assert!(!gort::thread::is_goroutine());
                assert_eq!(MINE.get(), 0);
                (address(), here(), std::thread::current().id())
            });
            assert_ne!(inside.0, outside.0, "a thread-local variable");
            assert!(inside.1.abs_diff(outside.1) > 64 << 10, "a local variable");
            assert_ne!(inside.2, outside.2, "std's thread");
            assert_eq!((MINE.get(), address(), std::thread::current().id()), (5, outside.0, outside.2), "back again");
            gort::thread::yield_now();
        }
    });
    goroutine.join().unwrap();
}

#[test]
fn on_other_threads_it_is_a_call() {
    thread_local!(static N: Cell<u32> = const { Cell::new(0) });
    let body = || {
        N.set(5);
        on_system_stack(|| (N.get(), through_c(|| 6)))
    };
    assert_eq!(body(), (5, 6));
    assert_eq!(CThread::spawn(move || ffi::callback(body)).join(), (5, 6));
    assert_eq!(gort::thread::spawn(move || on_system_stack(body)).join().unwrap(), (5, 6), "nested");
}

#[test]
fn it_is_deep() {
    let goroutines: Vec<_> = (0..8)
        .map(|_| {
            let small = gort::thread::Builder::new().stack_size(64 << 10);
            small.spawn(|| on_system_stack(|| use_stack(1 << 20))).unwrap()
        })
        .collect();
    for goroutine in goroutines {
        assert_eq!(goroutine.join().unwrap(), 1 << 20);
    }
}

#[test]
fn a_panic_passes_through() {
    let goroutine = gort::thread::spawn(|| {
        for n in 0..50u32 {
            let caught = catch_unwind(|| on_system_stack(|| through_c(|| panic_any(n))));
            let caught: Result<(), _> = caught;
            assert_eq!(caught.unwrap_err().downcast_ref(), Some(&n));
            assert!(!std::thread::panicking());
            assert!(!on_system_stack(std::thread::panicking), "nor is the kernel thread");
            gort::thread::yield_now();
        }
        panic_any("to the joiner")
    });
    let result: Result<(), _> = goroutine.join();
    assert_eq!(result.unwrap_err().downcast_ref(), Some(&"to the joiner"));
}

#[test]
fn a_callback_inside_runs_in_place() {
    let goroutine = gort::thread::spawn(|| {
        for n in 0..50u64 {
            let value = on_system_stack(|| {
                let (home, storage) = (tid(), address());
                through_c(|| {
                    ffi::callback_or(
                        || {
                            assert_eq!((tid(), address()), (home, storage));
                            // Waiting for a goroutine here blocks the kernel thread; the P goes to others.
                            gort::thread::spawn(move || n * 2).join().unwrap()
                        },
                        || u64::MAX,
                    )
                })
            });
            assert_eq!(value, n * 2);
        }
    });
    goroutine.join().unwrap();
}

/// Goroutines that hold a lock while they yield, others that want it on the system stack.
fn locks() {
    let sum = Arc::new(Mutex::new(0u32));
    let goroutines: Vec<_> = (0..8)
        .map(|n| {
            let sum = sum.clone();
            gort::thread::spawn(move || {
                for _ in 0..20 {
                    if n % 2 == 0 {
                        let mut sum = sum.lock().unwrap();
                        gort::thread::yield_now();
                        *sum += 1;
                    } else {
                        on_system_stack(|| *sum.lock().unwrap() += 1);
                    }
                    gort::thread::yield_now();
                }
            })
        })
        .collect();
    goroutines.into_iter().for_each(|g| g.join().unwrap());
    assert_eq!(*sum.lock().unwrap(), 160);
}

/// A goroutine on the system stack that waits for one that can only run on the same P.
fn waits_for_another() {
    let (to, from) = mpsc::channel();
    let goroutine = gort::thread::spawn(move || {
        let other = gort::thread::spawn(move || to.send(7).unwrap());
        let got = on_system_stack(move || from.recv().unwrap());
        other.join().unwrap();
        got
    });
    assert_eq!(goroutine.join().unwrap(), 7);
}

#[test]
fn blocking_inside_does_not_stop_the_others() {
    if is_child() {
        locks();
        waits_for_another();
        return;
    }
    for procs in [1, 2] {
        Rerun::of("blocking_inside_does_not_stop_the_others", "child")
            .inherit_all()
            .env("GORT_PROCS", procs)
            .run()
            .success();
    }
}

#[test]
fn unpark_from_inside() {
    let woken = Arc::new(AtomicU32::new(0));
    let goroutine = gort::thread::spawn({
        let woken = woken.clone();
        move || {
            for n in 1..=50 {
                let theirs = woken.clone();
                let sleeper = gort::thread::spawn(move || {
                    while theirs.load(Ordering::Acquire) < n {
                        gort::thread::park();
                    }
                });
                on_system_stack(|| {
                    woken.store(n, Ordering::Release);
                    sleeper.thread().unpark();
                });
                sleeper.join().unwrap();
            }
        }
    });
    goroutine.join().unwrap();
    assert_eq!(woken.load(Ordering::Relaxed), 50);
}

#[test]
fn a_jump_out_of_it_ends_the_process_with_a_message() {
    const NAME: &str = "a_jump_out_of_it_ends_the_process_with_a_message";
    needs_goroutines!("the system stack is the goroutine's own");
    if !is_child() {
        Rerun::of(NAME, "child").run().died_of(libc::SIGABRT).says("gort: a call on the system stack was left");
        return;
    }
    let goroutine = gort::thread::spawn(|| {
        // SAFETY: the process is meant to die.
        assert!(elsewhere(|| on_system_stack(|| unsafe { elsewhere_now() })));
    });
    goroutine.join().unwrap();
}
