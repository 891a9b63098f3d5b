//! Panics in callbacks stop at the boundary: C gets the declared value and goes on, or the process ends and says why.

use gort::ffi;
use gort_tests::cthreads::{each, through_c, CThread};
use gort_tests::subprocess::{is_child, Rerun};
use std::ffi::c_void;
use std::panic::panic_any;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Panics at every odd `i`.
#[gort::callback(on_panic = -1000)]
extern "C" fn odd_is_bad(_arg: *mut c_void, i: u64) -> i64 {
    assert!(i.is_multiple_of(2), "{i} is odd");
    1
}

/// Gives C a value that depends on the arguments.
#[gort::callback(on_panic = -(i as i64))]
extern "C" fn minus_i(_arg: *mut c_void, i: u64) -> i64 {
    panic!("always")
}

/// Panics at 3.
#[gort::callback(on_panic = abort)]
extern "C" fn three_is_fatal(_arg: *mut c_void, i: u64) -> i64 {
    if i == 3 {
        panic!("the payload is {i}");
    }
    1
}

/// Panics, and so does the value for C.
#[gort::callback(on_panic = panic!("the value panics"))]
extern "C" fn value_panics(_arg: *mut c_void, _i: u64) -> i64 {
    panic!("the body panics")
}

/// Runs `f` on a C thread, in a callback on a C thread, and on a goroutine.
fn everywhere(f: fn()) {
    CThread::spawn(f).join();
    CThread::spawn(move || ffi::callback(|| through_c(f))).join();
    gort::thread::spawn(f).join().unwrap();
}

#[test]
fn c_gets_the_value_and_goes_on() {
    everywhere(|| {
        assert_eq!(each(odd_is_bad, &(), 10), 5 - 5000);
        assert_eq!(each(minus_i, &(), 5), -10);
        assert!(!std::thread::panicking());
        assert_eq!(each(odd_is_bad, &(), 1), 1, "later callbacks are as good");
    });
}

#[test]
fn the_text_is_kept_until_taken() {
    everywhere(|| {
        assert_eq!(ffi::take_last_panic(), None);
        each(odd_is_bad, &(), 10);
        assert_eq!(ffi::take_last_panic().as_deref(), Some("9 is odd"), "the last one");
        assert_eq!(ffi::take_last_panic(), None, "taken");
        each(odd_is_bad, &(), 1);
        assert_eq!(ffi::take_last_panic(), None, "no panic, no text");
        each(minus_i, &(), 1);
        assert_eq!(ffi::take_last_panic().as_deref(), Some("always"), "a literal");
        assert!(ffi::try_callback(|| panic_any(7)).is_err());
        assert!(ffi::take_last_panic().is_some(), "a payload without a text");
    });
}

#[test]
fn the_text_is_each_threads_own() {
    let theirs = CThread::spawn(|| {
        assert!(ffi::try_callback(|| panic!("theirs")).is_err());
        let other = CThread::spawn(|| (ffi::take_last_panic(), ffi::callback(ffi::take_last_panic))).join();
        assert_eq!(other, (None, None));
        let goroutine = gort::thread::spawn(ffi::take_last_panic).join().unwrap();
        assert_eq!(goroutine, None);
        ffi::take_last_panic()
    });
    assert_eq!(theirs.join().as_deref(), Some("theirs"));
}

#[test]
fn the_payload_is_given_back() {
    everywhere(|| {
        let payload = through_c(|| ffi::try_callback(|| panic_any(42u64))).unwrap_err();
        assert_eq!(payload.downcast_ref(), Some(&42u64));
        assert_eq!(ffi::try_callback(|| 5).unwrap(), 5);
    });
}

#[test]
fn an_inner_panic_stays_inside() {
    everywhere(|| {
        let outer = ffi::try_callback(|| {
            // Rust, C, Rust, C, Rust; through_c checks that the C frames are whole.
            let inner = through_c(|| {
                ffi::callback_or(|| through_c(|| ffi::callback_or(|| panic!("innermost"), || 3)) + 1, || 100)
            });
            assert_eq!(inner, 4);
            panic!("outer")
        });
        let outer: Result<(), _> = outer;
        assert_eq!(outer.unwrap_err().downcast_ref(), Some(&"outer"));
        assert_eq!(ffi::take_last_panic().as_deref(), Some("outer"));
    });
}

/// Calls back through C, and panics there, when dropped.
struct PanicsInC<'a>(&'a AtomicUsize);

impl Drop for PanicsInC<'_> {
    fn drop(&mut self) {
        let count = self.0;
        let value = through_c(|| ffi::callback_or(|| panic!("while another one unwinds"), || 1));
        count.fetch_add(value, Ordering::Relaxed);
    }
}

#[test]
fn while_another_panic_unwinds() {
    everywhere(|| {
        let count = AtomicUsize::new(0);
        let result = ffi::try_callback(|| {
            let _guards = (PanicsInC(&count), PanicsInC(&count));
            panic!("the first");
        });
        let result: Result<(), _> = result;
        assert_eq!(result.unwrap_err().downcast_ref(), Some(&"the first"));
        assert_eq!(count.into_inner(), 2);
        assert!(!std::thread::panicking());
    });
}

/// A payload that panics when dropped.
struct BadPayload;

impl Drop for BadPayload {
    fn drop(&mut self) {
        panic!("in the payload's drop");
    }
}

/// Runs `body` in a child, which must die of SIGABRT and write `texts`; C must not have gone on.
fn aborts(test: &str, texts: &[&str], body: impl FnOnce()) {
    if is_child() {
        body();
        eprintln!("C went on");
        return;
    }
    let outcome = Rerun::of(test, "child").inherit_all().run();
    outcome.died_of(libc::SIGABRT).does_not_say("C went on");
    for text in texts {
        outcome.says(text);
    }
}

/// Row R-08.
#[test]
fn abort_names_function_and_payload() {
    let texts = ["panic in panics::three_is_fatal", "into its C caller: the payload is 3"];
    aborts("abort_names_function_and_payload", &texts, || {
        CThread::spawn(|| each(three_is_fatal, &(), 10)).join();
    });
}

#[test]
fn abort_on_a_goroutine() {
    let texts = ["panic in panics::three_is_fatal", "into its C caller: the payload is 3"];
    aborts("abort_on_a_goroutine", &texts, || {
        gort::thread::spawn(|| each(three_is_fatal, &(), 10)).join().unwrap();
    });
}

#[test]
fn no_panic_no_abort() {
    everywhere(|| assert_eq!(each(three_is_fatal, &(), 3), 3));
}

#[test]
fn a_value_that_panics_aborts() {
    let texts = ["the body panics", "its on_panic value, or dropping"];
    aborts("a_value_that_panics_aborts", &texts, || {
        CThread::spawn(|| each(value_panics, &(), 1)).join();
    });
}

#[test]
fn a_payload_that_panics_aborts() {
    let texts = ["in the payload's drop", "its on_panic value, or dropping"];
    aborts("a_payload_that_panics_aborts", &texts, || {
        CThread::spawn(|| through_c(|| ffi::callback_or(|| panic_any(BadPayload), || ()))).join();
    });
}

#[test]
fn a_goroutines_own_panic_goes_to_its_joiner() {
    // Spawned, and joined, from a callback.
    let payload = CThread::spawn(|| {
        ffi::callback(|| gort::thread::spawn(|| through_c(|| ffi::callback(|| panic_any(9u8)))).join().unwrap_err())
    });
    assert_eq!(payload.join().downcast_ref(), Some(&9u8));
}
