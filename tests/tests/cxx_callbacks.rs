//! Exceptions of C++ and callbacks. On each side of a callback they are C++'s own affair, on goroutines that move while
//! one is being handled too; they do not pass through a callback.

use gort::{ffi, thread};
use gort_tests::cthreads::{through_c, CThread};
use gort_tests::jumps::{catch, rethrow, throw};
use gort_tests::measure::{everywhere, on_goroutine};
use gort_tests::subprocess::{is_child, role, Rerun};
use std::sync::mpsc;

#[test]
fn handlers_call_in_and_throw_on() {
    let all = || {
        for id in 1..20 {
            // Nested: each handler calls in, and there another exception is thrown, caught, and thrown on.
            rethrow(id, || ffi::callback(|| rethrow(100 * id, || ffi::callback(thread::yield_now))));
        }
    };
    everywhere(all);
    CThread::spawn(all).join();
    CThread::spawn(move || ffi::callback(|| through_c(all))).join();
}

#[test]
fn handlers_move_to_other_kernel_threads() {
    if is_child() {
        let crowd: Vec<_> = (1..=16)
            .map(|id| {
                thread::spawn(move || {
                    let (to, from) = mpsc::channel();
                    for round in 0..20 {
                        rethrow(id * 1000 + round, || {
                            ffi::callback(|| {
                                to.send(id).unwrap();
                                thread::yield_now();
                                assert_eq!(from.recv(), Ok(id));
                            })
                        });
                    }
                })
            })
            .collect();
        crowd.into_iter().for_each(|g| g.join().unwrap());
        return;
    }
    for (seed, procs) in [(1, 1), (2, 2)] {
        let child = Rerun::of("handlers_move_to_other_kernel_threads", "child").inherit("GORT_IDENTITY");
        child.env("GORT_CHAOS", seed).env("GORT_PROCS", procs).run().success();
    }
}

#[test]
fn an_exception_through_a_callback_ends_the_process() {
    const NAME: &str = "an_exception_through_a_callback_ends_the_process";
    // SAFETY: the process is meant to die of the callback between the two; where there is none, C++ catches what C++
    // has thrown, and the closures between have nothing to drop.
    let through = || unsafe { catch(|| ffi::callback_or(|| throw(7), || ())) };
    let Some(role) = role() else {
        for role in ["a C thread", "a goroutine"] {
            let outcome = Rerun::of(NAME, role).inherit("GORT_CHAOS").run();
            outcome.died_of(libc::SIGABRT).says("Rust cannot catch foreign exceptions").does_not_say("went on");
        }
        return;
    };
    match &*role {
        "a C thread" => _ = CThread::spawn(through).join(),
        _ => _ = on_goroutine(through),
    }
    eprintln!("the process went on");
}

#[test]
fn an_exception_caught_below_or_above_all_callbacks() {
    everywhere(|| {
        for id in 1..20 {
            // SAFETY: nothing but closures without anything to drop lies between the two.
            assert_eq!(ffi::callback(|| unsafe { catch(|| throw(id)) }), id);
            // SAFETY: as above; the callback has returned when C++ throws.
            assert_eq!(unsafe { catch(|| throw(ffi::callback(|| id))) }, id);
        }
    });
}
