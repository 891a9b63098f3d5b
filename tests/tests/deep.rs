//! Rust, C, Rust, C, many times over: with waits on the way and at the bottom, after which a goroutine may be on
//! another kernel thread. What C keeps in frames, in thread-local variables and in errno is as before.

use gort::{ffi, thread};
use gort_tests::cthreads::{tid, CThread};
use gort_tests::jumps::{kept, levels};
use gort_tests::needs_goroutines;
use gort_tests::subprocess::{is_child, Rerun};
use gort_tests::waiting::{errno, set_errno};
use std::cell::Cell;
use std::sync::mpsc;
use std::time::Duration;

/// How often it goes through C and back.
const LEVELS: i32 = 10_000;
/// Stack for that, in a build without optimisation.
const STACK: usize = 96 << 20;

/// Goes down `LEVELS` levels, and waits for an answer of somebody else's at every thousandth.
fn deep(ask: &mpsc::Sender<(i32, thread::Thread)>) {
    let waits = Cell::new(0);
    let as_before = levels(LEVELS, |level| {
        if level % 1000 == 0 {
            ask.send((level, thread::current())).unwrap();
            thread::park();
            thread::yield_now();
            waits.set(waits.get() + 1);
        }
    });
    assert_eq!((as_before, waits.get()), (LEVELS, 10));
}

/// Wakes all who ask; the number of those who did.
fn answer(asked: mpsc::Receiver<(i32, thread::Thread)>) -> usize {
    asked.into_iter().map(|(_, who)| who.unpark()).count()
}

#[test]
fn ten_thousand_levels_of_callbacks() {
    if is_child() {
        let (ask, asked) = mpsc::channel();
        let answers = thread::spawn(move || answer(asked));
        let goroutines: Vec<_> = (0..2)
            .map(|_| {
                let ask = ask.clone();
                thread::Builder::new().stack_size(STACK).spawn(move || deep(&ask)).unwrap()
            })
            .collect();
        CThread::sized(STACK, move || deep(&ask)).join();
        goroutines.into_iter().for_each(|g| g.join().unwrap());
        assert_eq!(answers.join().unwrap(), 3 * 10);
        assert_eq!(gort::stats().callbacks, 0);
        return;
    }
    for (chaos, procs) in [("", 1), ("", 2), ("5", 1), ("6", 2)] {
        let child = Rerun::of("ten_thousand_levels_of_callbacks", "child").inherit("GORT_IDENTITY");
        child.env("GORT_CHAOS", chaos).env("GORT_PROCS", procs).run().success();
    }
}

/// Ways for a goroutine to wait.
fn waits() -> [fn(); 6] {
    [
        thread::yield_now,
        || thread::sleep(Duration::from_micros(50)),
        || std::thread::sleep(Duration::from_micros(50)),
        || thread::spawn(thread::yield_now).join().unwrap(),
        || {
            let (to, from) = mpsc::channel();
            thread::spawn(move || to.send(5).unwrap());
            assert_eq!(from.recv(), Ok(5));
        },
        || ffi::blocking(|| ffi::callback(thread::yield_now)),
    ]
}

/// Waits may fail on their way, and then say why.
fn leave_errno(wait: impl FnOnce()) {
    let before = errno();
    wait();
    set_errno(before);
}

#[test]
fn what_c_keeps_over_a_wait() {
    let all = || {
        for (i, wait) in waits().into_iter().enumerate() {
            (0..20).for_each(|n| kept(100 * n + i as i32 + 1, || ffi::callback(|| leave_errno(wait))));
        }
        for n in 1..100 {
            kept(n, || ffi::callback(thread::yield_now));
            kept(n, || ffi::callback(|| leave_errno(|| thread::park_timeout(Duration::from_micros(10)))));
        }
    };
    thread::spawn(all).join().unwrap();
    CThread::spawn(all).join();
}

#[test]
fn what_c_keeps_over_a_move() {
    needs_goroutines!("they do not migrate");
    if is_child() {
        let crowd: Vec<_> = (1..=16)
            .map(|i| {
                thread::spawn(move || {
                    let moves = Cell::new(0);
                    for n in 0..50 {
                        kept(100 * i + n, || {
                            ffi::callback(|| {
                                let before = tid();
                                thread::yield_now();
                                moves.set(moves.get() + usize::from(tid() != before));
                            });
                        });
                    }
                    moves.get()
                })
            })
            .collect();
        let moves: usize = crowd.into_iter().map(|g| g.join().unwrap()).sum();
        assert!(moves > 0, "the seed moved nobody");
        return;
    }
    for seed in 1..=3 {
        for procs in [1, 2] {
            let child = Rerun::of("what_c_keeps_over_a_move", "child").inherit_all();
            child.env("GORT_CHAOS", seed).env("GORT_PROCS", procs).run().success();
        }
    }
}
