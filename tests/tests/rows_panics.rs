//! Panics in callbacks: what they leave behind, which is nothing, and whose text they bring. After Go's tests of cgo.

use gort::ffi::{self, lock_os_thread, unlock_os_thread};
use gort::thread;
use gort_tests::cthreads::{each, through_c, tid, CThread};
use gort_tests::measure::resident_kib;
use gort_tests::rows::{everywhere, texts, unlocked};
use gort_tests::subprocess::{alone, is_child, Rerun};
use std::ffi::{c_char, c_long, c_void, CStr};
use std::fmt;
use std::panic::resume_unwind;

/// Row W-10, W-12, C-03, C-05.
#[test]
fn a_panic_leaves_locks_on_threads_as_they_are() {
    let panics = || through_c(|| ffi::try_callback(|| resume_unwind(Box::new(7)))).map(drop);
    let goroutine = thread::spawn(move || {
        assert_eq!(panics().unwrap_err().downcast_ref(), Some(&7));
        assert!(unlocked(), "none before, none after");
        lock_os_thread();
        let home = tid();
        for _ in 0..20 {
            panics().unwrap_err();
            thread::yield_now();
            assert_eq!(tid(), home, "locked before, locked after");
        }
        // One that locks and panics has locked all the same.
        let locks: Result<(), _> = through_c(|| {
            ffi::try_callback(|| {
                lock_os_thread();
                resume_unwind(Box::new(8))
            })
        });
        locks.unwrap_err();
        unlock_os_thread();
        thread::yield_now();
        assert_eq!(tid(), home);
        unlock_os_thread();
        assert!(unlocked());
    });
    goroutine.join().unwrap();
}

/// Row W-11, C-04.
#[test]
fn a_hundred_thousand_panics_leave_nothing() {
    alone("a_hundred_thousand_panics_leave_nothing", || {
        let rounds = |n: usize| {
            for i in 0..n {
                let result: Result<(), _> = through_c(|| ffi::try_callback(|| resume_unwind(Box::new(i))));
                assert_eq!(result.unwrap_err().downcast_ref(), Some(&i));
            }
        };
        let grows = move || {
            rounds(1000);
            let before = resident_kib();
            rounds(50_000);
            resident_kib().saturating_sub(before)
        };
        for grown in [thread::spawn(grows).join().unwrap(), CThread::spawn(grows).join()] {
            assert!(grown < 1024, "{grown} KiB more");
        }
    });
}

/// Panics with the text that C passes.
#[gort::callback(on_panic = -1)]
unsafe extern "C" fn panics_with(_arg: *mut c_void, text: *const c_char) -> c_long {
    // SAFETY: C passes a text.
    let text = unsafe { CStr::from_ptr(text) }.to_str().unwrap();
    panic!("C says: {}", &text[..text.len().min(10)])
}

/// Row C-06.
#[test]
fn c_asks_for_a_panic_by_two_routes() {
    everywhere(|| {
        assert_eq!(texts(panics_with, &()), -3, "by the macro");
        assert_eq!(ffi::take_last_panic().as_deref(), Some("C says: xxxxxxxxxx"), "the last of the three");
        let value = through_c(|| ffi::callback_or(|| panic!("C says: {}", 5), || 9));
        assert_eq!((value, ffi::take_last_panic().as_deref()), (9, Some("C says: 5")), "by the function");
    });
}

/// A payload whose text is made by C, which calls back, and by a goroutine.
struct Asks;

impl fmt::Display for Asks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let n = through_c(|| ffi::callback(|| thread::spawn(|| 42).join().unwrap()));
        write!(f, "the answer is {n}")
    }
}

#[gort::callback(on_panic = abort)]
extern "C" fn panics_with_an_answer(_arg: *mut c_void, _i: u64) -> i64 {
    panic!("{Asks}")
}

/// Row R-15.
#[test]
fn a_panic_whose_text_calls_c() {
    const NAME: &str = "a_panic_whose_text_calls_c";
    if is_child() {
        CThread::spawn(|| each(panics_with_an_answer, &(), 1)).join();
        return;
    }
    everywhere(|| {
        let result: Result<(), _> = ffi::try_callback(|| panic!("{Asks}"));
        result.unwrap_err();
        assert_eq!(ffi::take_last_panic().as_deref(), Some("the answer is 42"));
    });
    let outcome = Rerun::of(NAME, "child").inherit_all().run();
    outcome.died_of(libc::SIGABRT).says("may not unwind into its C caller: the answer is 42");
}
