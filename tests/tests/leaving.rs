//! C threads that end by `pthread_exit` and `pthread_cancel`. In frames of C they may, before, between and after
//! callbacks; frames of Rust are not unwound by either.

use gort::{ffi, thread};
use gort_rt::embed;
use gort_tests::cthreads::{eventually, through_c, CThread, Fn1};
use gort_tests::jumps::{cancellation_point, cancelled, exit_after, exit_now};
use gort_tests::needs_goroutines;
use gort_tests::subprocess::{alone, role, Rerun};
use std::ffi::c_void;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering::SeqCst};

/// Extra Ms in use, and callbacks under way.
fn counts() -> (usize, usize) {
    (gort::stats().extra_ms_in_use, gort::stats().callbacks)
}

/// A plain C thread: its first frame is C's, so that nothing of Rust's lies above `f` but a function with nothing to drop.
fn plain(f: Fn1, arg: *mut c_void) -> libc::pthread_t {
    extern "C" {
        fn ct_start(thread: *mut libc::pthread_t, stack: usize, f: Fn1, arg: *mut c_void) -> i32;
    }
    let mut thread = 0;
    // SAFETY: `thread` is ours to write, and the callers' `f` takes that argument.
    assert_eq!(unsafe { ct_start(&raw mut thread, 0, f, arg) }, 0);
    thread
}

fn join(thread: libc::pthread_t) {
    // SAFETY: the thread was made joinable and is joined once.
    assert_eq!(unsafe { libc::pthread_join(thread, std::ptr::null_mut()) }, 0);
}

/// Row X-08.
#[test]
fn pthread_exit_in_frames_of_c_gives_the_m_back() {
    static CLEANED: AtomicI32 = AtomicI32::new(0);
    static CALLED: AtomicUsize = AtomicUsize::new(0);
    fn call() {
        ffi::callback(|| through_c(|| ffi::callback(|| CALLED.fetch_add(1, SeqCst))));
        assert_eq!(counts().1, 0, "in C");
    }
    unsafe extern "C" fn thread(_: *mut c_void) {
        // SAFETY: `exit_after` may unwind this frame, which has nothing to drop.
        unsafe { exit_after(10, CLEANED.as_ptr(), &call) }
    }
    alone("pthread_exit_in_frames_of_c_gives_the_m_back", || {
        for n in 1..=100 {
            join(plain(thread, std::ptr::null_mut()));
            assert_eq!(CLEANED.load(SeqCst), 10 * n, "handlers of all frames have run");
            assert_eq!(CALLED.load(SeqCst), n as usize);
            assert_eq!(counts(), (0, 0));
            assert_eq!(gort::stats().extra_ms, 1, "each thread gets the same M");
        }
    });
}

#[test]
fn pthread_exit_below_a_callback_ends_the_process_with_a_message() {
    const NAME: &str = "pthread_exit_below_a_callback_ends_the_process_with_a_message";
    // SAFETY: the process is meant to die.
    let exit = || ffi::callback(|| through_c(|| unsafe { exit_now() }));
    match role().as_deref() {
        None => {
            for role in ["a C thread", "nested", "a goroutine"] {
                let outcome = Rerun::of(NAME, role).run();
                outcome.died_of(libc::SIGABRT).says("gort: pthread_exit below a callback").does_not_say("went on");
            }
        }
        Some("a C thread") => CThread::spawn(exit).join(),
        Some("nested") => CThread::spawn(move || ffi::callback(|| through_c(exit))).join(),
        Some(_) => thread::spawn(exit).join().unwrap(),
    }
    if role().is_some() {
        eprintln!("the process went on");
    }
}

/// A value of Rust's that must be dropped.
struct Whole<'a>(&'a AtomicUsize);

impl Drop for Whole<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, SeqCst);
    }
}

/// In a callback, with values to drop: cancellation points of C, and waits for goroutines, in which nothing may end.
fn in_rust(request: impl Fn() + Sync, dropped: &AtomicUsize) {
    ffi::callback(|| {
        let _outer = Whole(dropped);
        request();
        through_c(cancellation_point);
        through_c(|| {
            ffi::callback(|| {
                let _inner = Whole(dropped);
                cancellation_point();
                thread::scope(|s| s.spawn(thread::yield_now).join().unwrap());
            });
        });
        std::thread::sleep(std::time::Duration::from_micros(10));
        cancellation_point();
    });
}

/// Has a thread cancelled in a callback, before it, or just after: `requested` and `at_once` as for `cancelled`.
fn cancel_around_a_callback(requested: bool, at_once: bool) {
    let dropped = AtomicUsize::new(0);
    let how = cancelled(requested, at_once, || {
        // SAFETY: no preconditions.
        let own = unsafe { libc::pthread_self() };
        let request = || {
            // From another thread, and twice: requests are not counted.
            let by = move || {
                // SAFETY: the thread waits for us.
                (0..2).for_each(|_| assert_eq!(unsafe { libc::pthread_cancel(own) }, 0));
            };
            if !requested {
                std::thread::spawn(by).join().unwrap();
            }
        };
        in_rust(request, &dropped);
    });
    assert_eq!(how, (true, true), "cancelled in C, after the callback");
    assert_eq!(dropped.load(SeqCst), 2, "and not in Rust");
    assert_eq!(counts(), (0, 0));
}

#[test]
fn a_request_to_cancel_waits_for_the_callback_to_return() {
    // The first request of a process finds a callback that entered before there was any.
    for at_once in [false, true] {
        let name = "a_request_to_cancel_waits_for_the_callback_to_return";
        if role().is_none() {
            Rerun::of(name, if at_once { "at once" } else { "later" }).inherit("GORT_PROCS").run().success();
        }
    }
    let Some(role) = role() else { return };
    for _ in 0..50 {
        cancel_around_a_callback(false, role == "at once");
    }
}

#[test]
fn a_request_made_before_the_callback_waits_too() {
    alone("a_request_made_before_the_callback_waits_too", || {
        for _ in 0..50 {
            cancel_around_a_callback(true, false);
        }
    });
}

#[test]
fn a_request_by_the_thread_itself_waits_too() {
    alone("a_request_by_the_thread_itself_waits_too", || {
        for at_once in [false, true] {
            let dropped = AtomicUsize::new(0);
            let how = cancelled(false, at_once, || {
                // SAFETY: the calling thread's own number.
                in_rust(|| assert_eq!(unsafe { libc::pthread_cancel(libc::pthread_self()) }, 0), &dropped);
            });
            assert_eq!((how, dropped.load(SeqCst)), ((true, true), 2));
        }
        assert_eq!(counts(), (0, 0));
    });
}

/// A guard is left by its thread's end, and keeps no request waiting: callbacks within it do.
#[test]
fn a_thread_that_has_entered_is_cancelled_in_c() {
    fn request() {
        // SAFETY: the calling thread's own number.
        assert_eq!(unsafe { libc::pthread_cancel(libc::pthread_self()) }, 0);
    }
    alone("a_thread_that_has_entered_is_cancelled_in_c", || {
        for at_once in [false, true] {
            for guards in 1..=2 {
                let dropped = AtomicUsize::new(0);
                let how = cancelled(false, at_once, || {
                    (0..guards).for_each(|_| embed::enter().unwrap());
                    in_rust(request, &dropped);
                });
                assert_eq!((how, dropped.load(SeqCst)), ((true, true), 2), "when the callback has returned");
                assert_eq!(counts(), (0, 0), "its guards are left");
            }
        }
        let how = cancelled(false, false, || {
            embed::enter().unwrap();
            ffi::callback(|| ());
            request();
        });
        assert_eq!(how, (true, true), "between callbacks");
        let how = cancelled(true, false, || embed::enter().unwrap());
        assert_eq!(how, (true, true), "requested before");
        let dropped = AtomicUsize::new(0);
        let how = cancelled(false, false, || {
            let leaves = || {
                embed::enter().unwrap();
                request();
                assert!(embed::leave());
            };
            in_rust(leaves, &dropped);
        });
        assert_eq!((how, dropped.load(SeqCst)), ((true, true), 2), "a guard within a callback changes nothing");
        assert_eq!(counts(), (0, 0));
    });
}

/// Threads that call in all the time, cancelled at any moment: each ends in C.
#[test]
fn threads_that_call_in_are_cancelled_at_any_moment() {
    static ENTERED: AtomicUsize = AtomicUsize::new(0);
    static LEFT: AtomicUsize = AtomicUsize::new(0);
    unsafe extern "C" fn calls_in(_: *mut c_void) {
        loop {
            // Two, so that a request may come between them, before a callback and not at a cancellation point.
            for _ in 0..2 {
                ffi::callback(|| {
                    ENTERED.fetch_add(1, SeqCst);
                    // No request is acted on here. If one were, destructors would run all the same: so not by one.
                    cancellation_point();
                    LEFT.fetch_add(1, SeqCst);
                });
                (0..1000).for_each(|_| std::hint::spin_loop());
            }
            cancellation_point();
        }
    }
    alone("threads_that_call_in_are_cancelled_at_any_moment", || {
        for round in 0..20 {
            let threads = [(); 8].map(|()| plain(calls_in, std::ptr::null_mut()));
            eventually("they call in", || ENTERED.load(SeqCst) > 20 * round);
            for thread in threads {
                // SAFETY: the thread has not been joined.
                assert_eq!(unsafe { libc::pthread_cancel(thread) }, 0);
            }
            threads.into_iter().for_each(join);
            assert_eq!(ENTERED.load(SeqCst), LEFT.load(SeqCst), "round {round}");
            assert_eq!(counts(), (0, 0));
        }
    });
}

#[test]
fn a_goroutine_is_not_cancelled() {
    needs_goroutines!("a thread may be");
    // SAFETY: the number of a goroutine that lives.
    let by_itself = || unsafe { libc::pthread_cancel(libc::pthread_self()) };
    assert_eq!(thread::spawn(by_itself).join().unwrap(), libc::ESRCH);
    assert_eq!(thread::spawn(move || ffi::callback(|| through_c(by_itself))).join().unwrap(), libc::ESRCH);
}
