//! C threads on Windows that call in: the word that says who runs, from a thread's first look to its end.

#![cfg(windows)]

mod c_threads;

use c_threads::{child, is_child, one_at_a_time, CThread};
use gort_rt::testing::{is_none, stray_store};
use gort_rt::{ffi, stats, thread};
use std::cell::Cell;
use std::sync::mpsc;
use windows_sys::Win32::Foundation::{GetLastError, SetLastError, EXCEPTION_ACCESS_VIOLATION};
use windows_sys::Win32::System::Diagnostics::Debug::{
    AddVectoredExceptionHandler, EXCEPTION_CONTINUE_SEARCH, EXCEPTION_POINTERS,
};
use windows_sys::Win32::System::Threading::{ExitProcess, TlsAlloc};

/// Row W-14.
#[test]
fn a_c_thread_is_bound_from_its_first_callback_to_its_end() {
    let _one = one_at_a_time();
    let before = stats().extra_ms_in_use;
    let (to_us, from_it) = mpsc::channel();
    let (to_it, from_us) = mpsc::channel::<()>();
    let c = CThread::start(move || {
        assert!(is_none(), "the first look finds none");
        to_us.send(stats().extra_ms_in_use).unwrap();
        assert_eq!(ffi::callback(|| 6 * 7), 42);
        assert!(!is_none());
        ffi::callback(|| assert_eq!(ffi::callback(|| stats().callbacks), 1, "nested"));
        to_us.send(stats().extra_ms_in_use).unwrap();
        from_us.recv().unwrap();
    });
    assert_eq!(from_it.recv().unwrap(), before);
    assert_eq!(from_it.recv().unwrap(), before + 1, "bound while it is in C");
    to_it.send(()).unwrap();
    assert_eq!(c.join(), 123, "what it returned");
    assert_eq!(stats().extra_ms_in_use, before, "given back at its end");
}

#[test]
fn ms_are_used_again() {
    let _one = one_at_a_time();
    CThread::start(|| ffi::callback(|| ())).join();
    let made = stats().extra_ms;
    for _ in 0..50 {
        CThread::start(|| ffi::callback(|| ())).join();
    }
    assert_eq!(stats().extra_ms, made);
}

/// The last thing that a thread does may be a call in: a thread-local variable's destructor, before ours has run.
#[test]
fn a_destructor_may_call_in_too() {
    let _one = one_at_a_time();
    struct Late(mpsc::Sender<usize>);
    impl Drop for Late {
        fn drop(&mut self) {
            let _ = self.0.send(ffi::callback(|| stats().callbacks));
        }
    }
    thread_local! {
        static LATE: Cell<Option<Late>> = const { Cell::new(None) };
    }
    let before = stats().extra_ms_in_use;
    for first in [false, true] {
        let (sender, receiver) = mpsc::channel();
        let c = CThread::start(move || {
            LATE.set(Some(Late(sender)));
            if first {
                ffi::callback(|| ());
            }
        });
        assert_eq!(receiver.recv().unwrap(), 1);
        c.join();
        assert_eq!(stats().extra_ms_in_use, before);
    }
}

/// Row X-15.
#[test]
fn a_stray_store_before_the_first_callback_is_an_access_violation() {
    const NAME: &str = "a_stray_store_before_the_first_callback_is_an_access_violation";
    const SEEN: u32 = 77;
    /// A vectored handler.
    unsafe extern "system" fn seen(pointers: *mut EXCEPTION_POINTERS) -> i32 {
        // SAFETY: the system passes a valid record.
        let record = unsafe { &*(*pointers).ExceptionRecord };
        const WRITE: usize = 1;
        if record.ExceptionCode == EXCEPTION_ACCESS_VIOLATION && record.ExceptionInformation[0] == WRITE {
            // SAFETY: the process is meant to end.
            unsafe { ExitProcess(SEEN) };
        }
        EXCEPTION_CONTINUE_SEARCH
    }
    if is_child(NAME) {
        CThread::start(|| {
            assert!(is_none());
            // SAFETY: the handler ends the process; the store is what is tried.
            unsafe {
                AddVectoredExceptionHandler(1, Some(seen));
                stray_store();
            }
            println!("the store went through");
        })
        .join();
        return;
    }
    let (code, text) = child(NAME);
    assert_eq!(code, SEEN as i32, "{text}");
}

#[test]
fn after_the_end_of_a_callback_for_one_call_there_is_none_again() {
    let _one = one_at_a_time();
    struct Ends(mpsc::Sender<bool>);
    impl Drop for Ends {
        fn drop(&mut self) {
            ffi::callback(|| ());
            let _ = self.0.send(!is_none());
        }
    }
    thread_local! {
        static ENDS: Cell<Option<Ends>> = const { Cell::new(None) };
    }
    let (sender, receiver) = mpsc::channel();
    CThread::start(move || ENDS.set(Some(Ends(sender)))).join();
    assert!(receiver.recv().unwrap(), "bound until the thread's end, which is after its variables' destructors");
}

/// The word that programs, debuggers and Go use, `ArbitraryUserPointer`, is nobody's to change. Row X-14.
#[test]
fn the_shared_word_of_the_threads_block_survives() {
    fn shared(new: Option<usize>) -> usize {
        let old;
        // SAFETY: the word at gs:0x28 is for programs to use as they like; nobody else in this test does.
        unsafe {
            core::arch::asm!("mov {}, gs:[0x28]", out(reg) old, options(nostack, preserves_flags));
            if let Some(new) = new {
                core::arch::asm!("mov gs:[0x28], {}", in(reg) new, options(nostack, preserves_flags));
            }
        }
        old
    }
    let _one = one_at_a_time();
    CThread::start(|| {
        shared(Some(0xdead));
        for _ in 0..3 {
            ffi::callback(|| {
                assert_eq!(shared(None), 0xdead);
                thread::spawn(|| assert_ne!(shared(None), 0xdead)).join().unwrap();
            });
            assert_eq!(shared(None), 0xdead);
        }
        shared(Some(0));
    })
    .join();
}

/// Go's `TestIssue59213`: a host that has taken the 64 slots of a thread's block before it loads the library. Row W-05.
#[test]
fn a_host_may_have_taken_all_near_slots() {
    const NAME: &str = "a_host_may_have_taken_all_near_slots";
    if !is_child(NAME) {
        let (code, text) = child(NAME);
        assert_eq!(code, 0, "{text}");
        assert!(text.contains("beyond the near slots: 42"), "{text}");
        return;
    }
    // SAFETY: no preconditions.
    while unsafe { TlsAlloc() } < 64 {}
    CThread::start(|| {
        assert!(is_none());
        for _ in 0..3 {
            let g = ffi::callback(|| thread::spawn(|| ffi::callback(|| 42)));
            println!("beyond the near slots: {}", g.join().unwrap());
        }
        assert!(!is_none());
    })
    .join();
    assert_eq!(stats().extra_ms_in_use, 0);
}

#[test]
fn the_last_error_is_the_callers() {
    let _one = one_at_a_time();
    CThread::start(|| {
        // SAFETY: no preconditions.
        let last = || unsafe { GetLastError() };
        for error in 70..73 {
            // SAFETY: no preconditions.
            unsafe { SetLastError(error) };
            assert_eq!(ffi::callback(last), error);
            assert_eq!(last(), error);
        }
    })
    .join();
}

#[test]
fn a_dump_shows_goroutines_and_threads_that_have_called_in() {
    const NAME: &str = "a_dump_shows_goroutines_and_threads_that_have_called_in";
    if !is_child(NAME) {
        let (code, text) = child(NAME);
        assert_eq!(code, 0, "{text}");
        assert!(text.contains("the sleeper") && text.contains("1 bound to a thread, 1 in a callback"), "{text}");
        return;
    }
    let (begun, begins) = mpsc::channel();
    let sleeper = thread::Builder::new().name("the sleeper".into());
    let sleeper = sleeper.spawn(move || {
        begun.send(()).unwrap();
        thread::park();
    });
    begins.recv().unwrap();
    CThread::start(|| ffi::callback(|| gort_rt::dump(2).unwrap())).join();
    let sleeper = sleeper.unwrap();
    sleeper.thread().unpark();
    sleeper.join().unwrap();
}
