//! `longjmp`. Among frames of C it is nobody's business, on goroutines too, and with callbacks that have returned in
//! between. Over frames of a callback it is an error of the host's that no safe code can survive: the process ends and
//! says why.

use gort::{ffi, thread};
use gort_tests::cthreads::{through_c, CThread};
use gort_tests::jumps::{from_handler, over, over_now, within, Calls};
use gort_tests::measure::{everywhere, on_goroutine};
use gort_tests::subprocess::{is_child, role, Rerun};
use std::sync::mpsc;

/// Jumps among C's own frames, from each depth, with a callback at the bottom that lets others run.
fn jump_within() {
    for fortified in [false, true] {
        for depth in [0, 1, 5, 40] {
            within(fortified, depth, 5, || ffi::callback(thread::yield_now));
            let calls = Calls::default();
            through_c(|| within(fortified, depth, 5, || calls.count()));
            assert_eq!(calls.get(), 5);
        }
    }
}

#[test]
fn jumps_among_frames_of_c() {
    everywhere(jump_within);
    CThread::spawn(jump_within).join();
    CThread::spawn(|| ffi::callback(|| through_c(jump_within))).join();
    on_goroutine(|| ffi::callback(|| through_c(jump_within)));
    on_goroutine(|| ffi::on_system_stack(jump_within));
    assert_eq!(gort::stats().callbacks, 0);
}

#[test]
fn jumps_while_goroutines_move() {
    if is_child() {
        let crowd: Vec<_> = (0..16)
            .map(|i| {
                thread::spawn(move || {
                    let (to, from) = mpsc::channel();
                    within(i % 2 == 0, i, 20, || {
                        ffi::callback(|| {
                            to.send(i).unwrap();
                            thread::yield_now();
                            assert_eq!(from.recv(), Ok(i));
                        })
                    });
                })
            })
            .collect();
        crowd.into_iter().for_each(|g| g.join().unwrap());
        return;
    }
    for (seed, procs) in [(1, 1), (2, 2)] {
        let child = Rerun::of("jumps_while_goroutines_move", "child").inherit("GORT_IDENTITY");
        child.env("GORT_CHAOS", seed).env("GORT_PROCS", procs).run().success();
    }
}

#[test]
fn a_handler_on_the_alternate_stack_jumps_back() {
    everywhere(|| from_handler(20, || ffi::callback(thread::yield_now)));
    CThread::spawn(|| from_handler(20, || ffi::callback(thread::yield_now))).join();
}

/// What a jump over a callback ends in, by the role of the child.
fn jump_over(how: &str) {
    // SAFETY: the process is meant to die.
    let jump = || unsafe { over_now() };
    match how {
        // From the same frame again, and from one further up.
        "the next call" => {
            ffi::callback(|| ()); // a thread's first callback has more frames than later ones
            let calls = Calls::default();
            over(2, 0, || {
                ffi::callback(|| {
                    calls.count();
                    assert_eq!(calls.get(), 1, "the second call went on");
                    jump()
                })
            });
        }
        "a later call" => {
            over(1, 20_000, || ffi::callback(jump));
            through_c(|| ffi::callback(|| ()));
        }
        "the return of an outer one" => ffi::callback(|| assert_eq!(over(1, 0, || ffi::callback(jump)), 1)),
        "many" => {
            _ = over(1, 0, || ffi::callback(|| through_c(|| ffi::callback(|| through_c(|| ffi::callback(jump))))))
        }
        "the end" => _ = over(1, 0, || ffi::callback(jump)),
        other => panic!("{other:?}"),
    }
}

/// Row X-24.
#[test]
fn a_jump_over_a_callback_aborts_with_a_message() {
    const HOWS: [&str; 5] = ["the next call", "a later call", "the return of an outer one", "many", "the end"];
    const WHERES: [&str; 3] = ["a C thread", "a callback", "a goroutine"];
    let Some(role) = role() else {
        for how in HOWS {
            for (i, place) in WHERES.iter().enumerate() {
                let child = Rerun::of("a_jump_over_a_callback_aborts_with_a_message", &format!("{how}, {place}"));
                let outcome = child.inherit("GORT_CHAOS").inherit("GORT_IDENTITY").env("GORT_PROCS", i % 2 + 1).run();
                outcome
                    .died_of(libc::SIGABRT)
                    .says("gort: a ")
                    .says("longjmp has jumped over it")
                    .does_not_say("went on");
            }
        }
        return;
    };
    let (how, place) = role.split_once(", ").unwrap();
    let (how, place) = (how.to_string(), place.to_string());
    match &*place {
        "a C thread" => CThread::spawn(move || jump_over(&how)).join(),
        "a callback" => CThread::spawn(move || ffi::callback(|| through_c(|| jump_over(&how)))).join(),
        _ => on_goroutine(|| jump_over(&how)),
    }
    eprintln!("the process went on");
}
