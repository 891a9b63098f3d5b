//! Hosts with fibers of their own: a callback may be entered on one stack while another is in a callback too. The
//! runtime keeps no stack bounds of foreign threads, so it neither minds nor notices.

use gort::ffi;
use gort_tests::cthreads::{use_stack, CThread, Fiber};
use gort_tests::subprocess::alone;
use std::cell::RefCell;

const SIZE: usize = 256 << 10;

fn counts() -> (usize, usize) {
    (gort::stats().extra_ms_in_use, gort::stats().callbacks)
}

/// Enters on fiber A, switches away in the callback, enters on fiber B, and leaves in the order given.
fn two_fibers(b_leaves_first: bool) -> Vec<&'static str> {
    let log = RefCell::new(Vec::new());
    let say = |what| log.borrow_mut().push(what);
    let mut stacks = [vec![0u8; SIZE], vec![0u8; SIZE]];
    let [stack_a, stack_b] = &mut stacks;
    // SAFETY: each fiber's memory is its own.
    let mut a = unsafe {
        Fiber::new(stack_a.as_mut_ptr(), SIZE, |leave| {
            ffi::callback(|| {
                say("a in");
                leave.leave();
                assert_eq!(counts(), (1, 1), "a is in a callback still");
                say("a out");
            });
        })
    };
    // SAFETY: as above.
    let mut b = unsafe {
        Fiber::new(stack_b.as_mut_ptr(), SIZE, |leave| {
            ffi::callback(|| {
                say("b in");
                leave.leave();
                say("b out");
            });
        })
    };
    assert!(!a.run());
    assert_eq!(counts(), (1, 1), "a is in a callback");
    assert!(!b.run());
    let (first, last) = if b_leaves_first { (&mut b, &mut a) } else { (&mut a, &mut b) };
    assert!(first.run());
    assert_eq!(counts(), (1, 1), "one of them is in a callback still");
    assert!(last.run());
    assert_eq!(counts(), (1, 0), "none is");
    drop((a, b));
    log.into_inner()
}

#[test]
fn last_in_first_out() {
    alone("last_in_first_out", || {
        let log = CThread::spawn(|| two_fibers(true)).join();
        assert_eq!(log, ["a in", "b in", "b out", "a out"]);
        assert_eq!(counts(), (0, 0));
    });
}

#[test]
fn in_any_order() {
    alone("in_any_order", || {
        let log = CThread::spawn(|| two_fibers(false)).join();
        assert_eq!(log, ["a in", "b in", "a out", "b out"]);
        assert_eq!(counts(), (0, 0));
    });
}

/// Calls in from a fiber on the memory at `stack` and uses most of it.
fn call_in_on(stack: *mut u8, size: usize) {
    let mut called = 0;
    // SAFETY: the callers' memory is used by one fiber at a time.
    let mut fiber = unsafe {
        Fiber::new(stack, size, |_| {
            called += ffi::callback(|| use_stack(64 << 10) / (64 << 10));
        })
    };
    assert!(fiber.run());
    drop(fiber);
    assert_eq!(called, 1);
}

#[test]
fn from_the_threads_stack_then_from_others() {
    let mut memory = vec![0u8; 3 * SIZE];
    let address = memory.as_mut_ptr() as usize;
    let first = CThread::spawn(move || {
        assert_eq!(ffi::callback(|| 1), 1);
        call_in_on(address as *mut u8, SIZE);
        call_in_on((address + 2 * SIZE) as *mut u8, SIZE);
        assert_eq!(ffi::callback(|| use_stack(256 << 10)), 256 << 10, "the thread's own stack again");
    });
    first.join();
    // Another thread, which gets the same M, on a stack that overlaps the first one's by half.
    CThread::spawn(move || call_in_on((address + SIZE / 2) as *mut u8, SIZE)).join();
    drop(memory);
}

#[test]
fn a_fiber_moves_between_threads() {
    // Begun on one thread outside of callbacks, ended on another: each call in uses the M of the thread that it is on.
    struct Passed(Fiber<'static>);
    // SAFETY: the fiber's closure has only data that may go to another thread.
    unsafe impl Send for Passed {}
    let stack = Box::leak(vec![0u8; SIZE].into_boxed_slice());
    // SAFETY: the memory is the fiber's for ever.
    let fiber = unsafe {
        Fiber::new(stack.as_mut_ptr(), SIZE, |leave| {
            for _ in 0..4 {
                // In a function of its own, so that nothing about the thread is kept over `leave`.
                call_in();
                leave.leave();
            }
        })
    };
    #[inline(never)]
    fn call_in() {
        assert!(!ffi::callback(gort::testing::is_none));
    }
    let mut passed = Passed(fiber);
    for _ in 0..4 {
        passed = CThread::spawn(move || {
            let mut passed = passed;
            let Passed(fiber) = &mut passed;
            assert!(!fiber.run());
            passed
        })
        .join();
    }
    assert!(passed.0.run());
}
