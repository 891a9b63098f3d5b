//! Tests of the report. Each fault needs a process to die in, or a handler that gets the test out of it.

use super::super::{alloc, testing};
use super::*;
use crate::os;
use core::ptr;
use std::mem::MaybeUninit;
use std::os::unix::process::ExitStatusExt;
use std::process::Output;

/// Runs `entry` on a slot, as a thread whose stack it is, and waits for its end. The slot is given to `entry` as well.
fn run_on(slot: &Slot, entry: extern "C" fn(*mut c_void) -> *mut c_void) {
    let mut attributes = MaybeUninit::uninit();
    let mut thread = MaybeUninit::uninit();
    // SAFETY: an initialised attribute object with a stack that is this test's own and outlives the thread.
    unsafe {
        assert_eq!(libc::pthread_attr_init(attributes.as_mut_ptr()), 0);
        assert_eq!(libc::pthread_attr_setstack(attributes.as_mut_ptr(), slot.lo.cast(), slot.usable()), 0);
        let arg = (&raw const *slot).cast_mut().cast();
        assert_eq!(libc::pthread_create(thread.as_mut_ptr(), attributes.as_ptr(), entry, arg), 0);
        assert_eq!(libc::pthread_join(thread.assume_init(), ptr::null_mut()), 0);
    }
}

/// Uses up the stack it runs on.
#[allow(unconditional_recursion)]
fn recurse(depth: u64) -> u64 {
    let frame = core::hint::black_box([depth; 64]);
    recurse(depth + 1) + frame[(depth % 64) as usize]
}

extern "C" fn overflow(_: *mut c_void) -> *mut c_void {
    let _altstack = thread_altstack().unwrap();
    recurse(0) as *mut c_void
}

/// Writes to a guard while running on another stack.
fn touch_guard(slot: &Slot) {
    // SAFETY: the guard exists to fault; the process that does this exists to die of it.
    unsafe { slot.lo.wrapping_sub(1).write_volatile(1) };
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn an_overflow_is_reported() {
    if !testing::is_child() {
        let output = testing::run_child("stack::overflow::tests::an_overflow_is_reported");
        let expected = "\ngort: goroutine 'worker' (id 77) has overflowed its stack of 240 KiB\n\
            gort: raise it with Builder::stack_size or GORT_STACK_SIZE\n";
        assert!(text(&output).contains(expected), "{}", text(&output));
        assert_eq!(output.status.signal(), Some(libc::SIGABRT));
        return;
    }
    set_describe(|slot| Some((77, b"worker", slot.usable())));
    super::super::init(None);
    install().unwrap();
    run_on(&alloc(super::super::DEFAULT_USABLE).unwrap(), overflow);
}

#[test]
fn an_overflow_of_nobody_we_know_with_mprotect() {
    if !testing::is_child() {
        let output = testing::run_child("stack::overflow::tests::an_overflow_of_nobody_we_know_with_mprotect");
        assert!(text(&output).contains("\ngort: goroutine '<unnamed>' (stack 0) has overflowed its stack of 240 KiB\n"));
        assert_eq!(output.status.signal(), Some(libc::SIGABRT), "{}", text(&output));
        return;
    }
    super::super::init(Some(super::super::Guard::Protect));
    install().unwrap();
    install().unwrap();
    run_on(&alloc(super::super::DEFAULT_USABLE).unwrap(), overflow);
}

#[test]
fn a_wild_pointer_is_an_ordinary_fault() {
    if !testing::is_child() {
        let output = testing::run_child("stack::overflow::tests::a_wild_pointer_is_an_ordinary_fault");
        assert_eq!(output.status.signal(), Some(libc::SIGSEGV));
        assert!(!text(&output).contains("gort:"), "{}", text(&output));
        return;
    }
    super::super::init(None);
    install().unwrap();
    touch_guard(&alloc(0).unwrap());
}

extern "C" fn touch_another_guard(_: *mut c_void) -> *mut c_void {
    touch_guard(&alloc(0).unwrap());
    ptr::null_mut()
}

#[test]
fn a_wild_pointer_from_one_slot_into_another_is_too() {
    if !testing::is_child() {
        let output = testing::run_child("stack::overflow::tests::a_wild_pointer_from_one_slot_into_another_is_too");
        assert_eq!(output.status.signal(), Some(libc::SIGSEGV));
        assert!(!text(&output).contains("gort:"), "{}", text(&output));
        return;
    }
    super::super::init(None);
    install().unwrap();
    run_on(&alloc(super::super::DEFAULT_USABLE).unwrap(), touch_another_guard);
}

#[test]
fn ignored_and_default_actions_still_die_of_faults() {
    if !testing::is_child() {
        let output = testing::run_child("stack::overflow::tests::ignored_and_default_actions_still_die_of_faults");
        assert_eq!(output.status.signal(), Some(libc::SIGSEGV));
        assert!(text(&output).contains("survived a signal that was sent"), "{}", text(&output));
        return;
    }
    // SAFETY: ignoring a signal and sending it to ourselves harm nobody but this process, which is this test's own.
    unsafe {
        libc::signal(libc::SIGSEGV, libc::SIG_IGN);
        install().unwrap();
        libc::raise(libc::SIGSEGV);
    }
    eprintln!("survived a signal that was sent");
    super::super::init(None);
    touch_guard(&alloc(0).unwrap());
}

#[test]
fn a_signal_that_was_sent_kills_by_default() {
    if !testing::is_child() {
        let output = testing::run_child("stack::overflow::tests::a_signal_that_was_sent_kills_by_default");
        assert_eq!(output.status.signal(), Some(libc::SIGBUS), "{}", text(&output));
        return;
    }
    // SAFETY: as above.
    unsafe {
        libc::signal(libc::SIGBUS, libc::SIG_DFL);
        install().unwrap();
        libc::raise(libc::SIGBUS);
    }
    unreachable!("the signal is delivered before raise returns");
}

extern "C" fn plain_handler(signal: c_int) {
    os::write_stderr(b"the previous handler\n");
    // SAFETY: _exit may be called in a signal handler.
    unsafe { libc::_exit(40 + signal) };
}

#[test]
fn previous_handlers_are_called_and_come_back() {
    if !testing::is_child() {
        let output = testing::run_child("stack::overflow::tests::previous_handlers_are_called_and_come_back");
        assert_eq!(output.status.code(), Some(40 + libc::SIGSEGV), "{}", text(&output));
        assert!(text(&output).contains("the previous handler"));
        return;
    }
    let current = || {
        let mut action = MaybeUninit::<libc::sigaction>::uninit();
        // SAFETY: the call fills in the record.
        unsafe {
            assert_eq!(libc::sigaction(libc::SIGSEGV, ptr::null(), action.as_mut_ptr()), 0);
            action.assume_init().sa_sigaction
        }
    };
    let plain = plain_handler as *const () as usize;
    // SAFETY: the handler is async-signal-safe.
    unsafe { libc::signal(libc::SIGSEGV, plain) };
    install().unwrap();
    assert_ne!(current(), plain);
    assert!(uninstall());
    assert_eq!(current(), plain);
    assert!(uninstall(), "nothing to do");
    super::super::init(None);
    install().unwrap();
    touch_guard(&alloc(0).unwrap());
}
