//! What happens between two instructions: signal handlers that call in at every one of their thread's way in and out, and
//! threads that change while another requests that one be cancelled.

#![cfg(target_arch = "x86_64")] // has a trap flag that programs may set

use gort::ffi;
use gort_tests::cthreads::{through_c, CThread};
use gort_tests::jumps::{cancellation_point, cancelled};
use gort_tests::raw::{futex_wait, futex_wake};
use gort_tests::steps;
use gort_tests::subprocess::alone;
use std::ffi::c_void;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::SeqCst};

static SERVED: AtomicUsize = AtomicUsize::new(0);
static REFUSED: AtomicUsize = AtomicUsize::new(0);

/// So many extra Ms for handlers to find without an allocation, which they must not make.
fn make_extra_ms(n: usize) {
    fn nested(n: usize) {
        if n > 0 {
            ffi::callback(|| CThread::spawn(move || nested(n - 1)).join());
        }
    }
    CThread::spawn(move || nested(n)).join();
    assert_eq!(gort::stats().extra_ms, n);
}

/// Row X-28.
#[test]
fn a_handler_that_calls_in_is_served_or_refused() {
    fn calls_in(_: usize, _: usize) -> bool {
        match ffi::callback_or(|| 1 + ffi::callback(|| 1), || 0) {
            2 => SERVED.fetch_add(1, SeqCst),
            _ => REFUSED.fetch_add(1, SeqCst),
        };
        true
    }
    /// Destructor of a key that was made after the runtime's: the runtime's has run.
    unsafe extern "C" fn enough(_: *mut c_void) {
        steps::end();
    }
    alone("a_handler_that_calls_in_is_served_or_refused", || {
        make_extra_ms(2);
        let mut key = 0;
        // SAFETY: the key is ours to write.
        assert_eq!(unsafe { libc::pthread_key_create(&raw mut key, Some(enough)) }, 0);
        steps::install(calls_in);
        for early in [false, true] {
            CThread::spawn(move || {
                // SAFETY: the key exists, and its destructor does not look at the value.
                assert_eq!(unsafe { libc::pthread_setspecific(key, ptr::from_ref(&SERVED).cast()) }, 0);
                if early {
                    steps::begin(); // the handler is the first to call in
                    ffi::callback(|| ());
                } else {
                    ffi::callback(steps::begin);
                }
                through_c(|| ffi::callback(|| ()));
            })
            .join();
            let stats = gort::stats();
            assert_eq!((stats.extra_ms, stats.extra_ms_in_use, stats.callbacks), (2, 0, 0));
        }
        assert!(REFUSED.load(SeqCst) > 10, "amid dropm");
        assert!(SERVED.load(SeqCst) > 10 * REFUSED.load(SeqCst), "elsewhere");
    });
}

/// The first request to cancel that the process makes is made by a handler, at the very instruction at which its thread has its
/// M: it waits for the handler's callback as any other.
#[test]
fn a_handler_that_calls_in_is_not_cancelled() {
    static AT: AtomicUsize = AtomicUsize::new(0);
    static REQUESTS: AtomicBool = AtomicBool::new(false);
    fn at_one(step: usize, _: usize) -> bool {
        if step < AT.load(SeqCst) {
            return true;
        }
        let serve = || {
            SERVED.fetch_add(1, SeqCst);
            if REQUESTS.load(SeqCst) {
                // SAFETY: the calling thread's own number.
                assert_eq!(unsafe { libc::pthread_cancel(libc::pthread_self()) }, 0);
                through_c(cancellation_point);
            }
        };
        ffi::callback_or(serve, || ());
        false
    }
    /// What a thread does whose handler calls in at step `at` of its first callback.
    fn call_in(at: usize) {
        AT.store(at, SeqCst);
        steps::begin();
        ffi::callback(steps::end);
    }
    /// Whether such a handler is served.
    fn is_served(at: usize) -> bool {
        let before = SERVED.load(SeqCst);
        CThread::spawn(move || call_in(at)).join();
        SERVED.load(SeqCst) > before
    }
    alone("a_handler_that_calls_in_is_not_cancelled", || {
        make_extra_ms(2);
        steps::install(at_one);
        // Handlers are served while the thread has no M, then refused, then served.
        let refused = (0..).step_by(7).find(|&at| !is_served(at)).unwrap();
        let later = (refused..).step_by(7).find(|&at| is_served(at)).unwrap();
        let first = (later - 7..).find(|&at| is_served(at)).unwrap();
        REQUESTS.store(true, SeqCst);
        let before = SERVED.load(SeqCst);
        assert_eq!(cancelled(false, false, || call_in(first)), (true, true), "in C");
        assert_eq!(SERVED.load(SeqCst), before + 1);
        let stats = gort::stats();
        assert_eq!((stats.extra_ms, stats.extra_ms_in_use, stats.callbacks), (2, 0, 0));
    });
}

/// While a thread requests that another be cancelled, which is in a callback, that one leaves and ends, and the M goes to the one
/// that requests, whose handlers call in, from every thirteenth instruction in turn on: it is not cancelled in its place.
#[test]
fn a_request_to_cancel_is_not_the_next_owners() {
    static AT: AtomicUsize = AtomicUsize::new(0);
    static LIBCS: AtomicUsize = AtomicUsize::new(0);
    static STATE: AtomicU32 = AtomicU32::new(0);
    // The states, in order.
    const INSIDE: u32 = 1;
    const LEAVE: u32 = 2;
    const ENDED: u32 = 3;
    fn reach(state: u32) {
        loop {
            let now = STATE.load(SeqCst);
            if now >= state {
                return;
            }
            futex_wait(&STATE, now, None);
        }
    }
    fn change_to(state: u32) {
        STATE.store(state, SeqCst);
        futex_wake(&STATE, i32::MAX);
    }
    fn end_the_owner() {
        change_to(LEAVE);
        reach(ENDED);
    }
    fn from_one_on(step: usize, instruction: usize) -> bool {
        if step == AT.load(SeqCst) {
            end_the_owner();
        }
        if step >= AT.load(SeqCst) {
            ffi::callback(|| ());
        }
        instruction != LIBCS.load(SeqCst) // which blocks signals
    }
    /// Destructor of a key that was made after the runtime's.
    unsafe extern "C" fn has_ended(_: *mut c_void) {
        change_to(ENDED);
    }
    alone("a_request_to_cancel_is_not_the_next_owners", || {
        make_extra_ms(1);
        let mut key = 0;
        // SAFETY: the key is ours to write.
        assert_eq!(unsafe { libc::pthread_key_create(&raw mut key, Some(has_ended)) }, 0);
        // SAFETY: a name with its end.
        let libcs = unsafe { libc::dlsym(libc::RTLD_NEXT, c"pthread_cancel".as_ptr()) };
        LIBCS.store(libcs as usize, SeqCst);
        // The first request opens a library, under the loader's lock, which threads take that end.
        // SAFETY: the calling thread's own number.
        let request = || assert_eq!(unsafe { libc::pthread_cancel(libc::pthread_self()) }, 0);
        assert_eq!(cancelled(false, false, || ffi::callback(request)), (true, true));
        steps::install(from_one_on);
        loop {
            STATE.store(0, SeqCst);
            let owner = CThread::spawn(move || {
                // SAFETY: the key exists, and its destructor does not look at the value.
                assert_eq!(unsafe { libc::pthread_setspecific(key, ptr::from_ref(&AT).cast()) }, 0);
                ffi::callback(|| {
                    change_to(INSIDE);
                    reach(LEAVE);
                });
            });
            let thread = owner.number();
            let requester = CThread::spawn(move || {
                reach(INSIDE);
                steps::begin();
                // SAFETY: the thread is joined after this. (It may have ended, of which libc may tell.)
                unsafe { libc::pthread_cancel(thread) };
                let made = steps::end();
                cancellation_point();
                made
            });
            let over = requester.join() <= AT.load(SeqCst);
            if over {
                end_the_owner();
            }
            owner.join();
            if over {
                break;
            }
            AT.fetch_add(13, SeqCst);
        }
        assert_eq!(gort::stats().extra_ms, 1, "all had the same");
    });
}
