//! The wait word: `sched/waitword.rs`. A goroutine arms, shows its ticket and parks; several try to end the wait.
//!
//! Leaving the goroutine's stack is done by `sched::switch` in place of the runtime's: the registers are a tracked
//! place, written by the goroutine before it publishes, and read by whoever makes it runnable.
//!
//! Asserted: one waker ends the wait; the goroutine goes on, once, after it was saved; what that waker wrote before is
//! visible to it.

use crate::debug::why::Why;
use crate::engine::{keep, spawn, Tracked};
use crate::sched;
use crate::sched::g::{Claim, Ticket, G};
use crate::sched::wake;
use core::cell::Cell;

fn end(ticket: &Ticket, timed_out: bool) -> bool {
    match ticket.claim(timed_out) {
        Claim::Lost => false,
        Claim::Running => true,
        Claim::Owned(g) => {
            // SAFETY: the claim made it ours.
            wake::ready(unsafe { &raw const (*g).task }, true);
            true
        }
    }
}

/// A waker and a timer.
pub(super) fn waker_and_timer() {
    let g = G::goroutine();
    let news = keep([Tracked::new(0), Tracked::new(0)]);
    let ended = keep(Cell::new(0));
    let ticket = g.arm(Why::UNPARK); // by the goroutine, before anybody knows of it
    let waiter = g.go(move |g| {
        let timed_out = sched::park(g);
        assert_eq!(news[usize::from(timed_out)].read(|n| *n), 1);
        assert!(!ticket.is_open());
    });
    let wake = move |timed_out: bool| {
        news[usize::from(timed_out)].write(|n| *n = 1);
        if end(&ticket, timed_out) {
            ended.set(ended.get() + 1);
        }
    };
    let timer = spawn(move || wake(true));
    wake(false);
    timer.join().expect("it has not panicked");
    waiter.join().expect("it has not panicked");
    assert_eq!(ended.get(), 1);
}

/// A waker that comes too late, when the goroutine waits for something else.
pub(super) fn late_waker() {
    let g = G::goroutine();
    let (first, late) = (g.arm(Why::UNPARK), keep(Cell::new(false)));
    assert!(end(&first, false));
    let second = g.arm(Why::UNPARK);
    let waiter = g.go(move |g| {
        assert!(!sched::park(g), "by the waker, not by the timer of another wait");
        assert!(!second.is_open());
        late.set(true);
    });
    let timer = spawn(move || assert!(!end(&first, true)));
    assert!(end(&second, false));
    timer.join().expect("it has not panicked");
    waiter.join().expect("it has not panicked");
    assert!(late.get());
}
