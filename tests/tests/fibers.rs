//! Hosts with fibers of their own: a callback may be entered on one stack while another is in a callback too, and they
//! may leave in any order. The runtime keeps no stack bounds of foreign threads, so it does not mind. What it cannot go
//! on with it says: a fiber that is given up in a callback, or moved to another thread.

use gort::ffi;
use gort_tests::cthreads::{at_depth, use_stack, CThread, Fiber};
use gort_tests::measure::on_goroutine;
use gort_tests::subprocess::{alone, role, Rerun};
use std::cell::{Cell, RefCell};

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

/// Row X-06.
#[test]
fn last_in_first_out() {
    alone("last_in_first_out", || {
        let log = CThread::spawn(|| two_fibers(true)).join();
        assert_eq!(log, ["a in", "b in", "b out", "a out"]);
        assert_eq!(counts(), (0, 0));
    });
}

/// Row X-06.
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

/// Row R-51.
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

/// A fiber on the way to another thread.
struct Passed(Fiber<'static>);

// SAFETY: the fibers' closures have only data that may go to another thread.
unsafe impl Send for Passed {}

#[test]
fn a_fiber_moves_between_threads() {
    // Begun on one thread outside of callbacks, ended on another: each call in uses the M of the thread that it is on.
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

/// Fibers that are in callbacks, some of them nested, entered and left in an order that a seed decides.
fn many_in_any_order(seed: u64, memory: &mut [u8]) {
    const FIBERS: usize = 8;
    let size = memory.len() / FIBERS;
    let (entered, left) = (Cell::new(0), Cell::new(0));
    let mut fibers: Vec<_> = memory
        .chunks_mut(size)
        .map(|stack| {
            let (entered, left) = (&entered, &left);
            // SAFETY: each fiber's memory is its own.
            unsafe {
                Fiber::new(stack.as_mut_ptr(), size, move |leave| {
                    for nested in 0..3 {
                        entered.set(entered.get() + 1);
                        ffi::callback(|| {
                            leave.leave();
                            if nested > 0 {
                                at_depth(500, || ffi::callback(|| leave.leave()));
                            }
                        });
                        left.set(left.get() + 1);
                        leave.leave();
                    }
                })
            }
        })
        .collect();
    let mut random = seed;
    while !fibers.is_empty() {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let i = (random >> 33) as usize % fibers.len();
        // Within a callback of this stack's, by turns.
        let ended = if random >> 63 == 0 { fibers[i].run() } else { ffi::callback(|| fibers[i].run()) };
        if ended {
            drop(fibers.swap_remove(i));
        }
    }
    assert_eq!((entered.get(), left.get()), (24, 24));
}

#[test]
fn many_fibers_in_any_order() {
    fn rounds() {
        let mut memory = vec![0u8; 8 * (64 << 10)];
        (1..=50).for_each(|seed| many_in_any_order(seed, &mut memory));
    }
    alone("many_fibers_in_any_order", || {
        CThread::spawn(rounds).join();
        rounds();
        assert_eq!(counts().1, 0);
        on_goroutine(rounds);
    });
}

/// Memory for fibers in the frame of the function that runs them: their stacks are part of the thread's own.
#[test]
fn stacks_within_a_stack() {
    fn rounds() {
        let mut memory = [0u8; 8 * (48 << 10)];
        (1..=50).for_each(|seed| many_in_any_order(seed, &mut memory));
    }
    alone("stacks_within_a_stack", || {
        CThread::spawn(rounds).join();
        CThread::spawn(|| ffi::callback(rounds)).join();
        gort::thread::Builder::new().stack_size(2 << 20).spawn(rounds).unwrap().join().unwrap();
    });
}

#[test]
fn a_fiber_that_is_given_up_or_moved_in_a_callback_ends_the_process() {
    const NAME: &str = "a_fiber_that_is_given_up_or_moved_in_a_callback_ends_the_process";
    /// A fiber of its own, which has entered a callback and not left it.
    fn inside() -> Passed {
        let stack = Box::leak(vec![0u8; SIZE].into_boxed_slice());
        // SAFETY: the memory is the fiber's for ever.
        let mut fiber = unsafe { Fiber::new(stack.as_mut_ptr(), SIZE, |leave| ffi::callback(|| leave.leave())) };
        assert!(!fiber.run());
        Passed(fiber)
    }
    match role().as_deref() {
        None => {
            Rerun::of(NAME, "given up").run().died_of(libc::SIGABRT).says("gort: a thread ended within a callback");
            Rerun::of(NAME, "moved").run().died_of(libc::SIGABRT).says("gort: a callback returned on another thread");
        }
        Some("given up") => CThread::spawn(|| std::mem::forget(inside())).join(),
        Some(_) => {
            let (to, from) = std::sync::mpsc::channel();
            drop(CThread::spawn(move || {
                to.send(inside()).unwrap();
                // Its thread is there still.
                loop {
                    gort::thread::park();
                }
            }));
            let mut passed = from.recv().unwrap();
            CThread::spawn(move || {
                ffi::callback(|| ());
                let Passed(fiber) = { &mut passed };
                fiber.run()
            })
            .join();
        }
    }
}
