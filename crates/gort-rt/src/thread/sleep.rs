//! Sleeping.

use super::park::deadline;
use crate::debug::why::Why;
use crate::os;
use crate::sched;
use crate::sched::g::G;
use crate::time;
use std::time::{Duration, Instant};

/// Waits for at least `duration`; other goroutines run meanwhile.
pub fn sleep(duration: Duration) {
    match sched::parkable() {
        Some(g) => on_goroutine(g, deadline(duration)),
        None => std::thread::sleep(duration),
    }
}

/// Waits until `when`, at least.
pub fn sleep_until(when: Instant) {
    let left = when.saturating_duration_since(Instant::now());
    if !left.is_zero() {
        sleep(left);
    }
}

/// Makes the running goroutine wait until `when`, in nanoseconds of [`os::now`].
pub(crate) fn on_goroutine(g: &G, when: u64) {
    if when <= os::now() {
        return sched::yield_now(g);
    }
    let ticket = g.arm(Why::MOMENT);
    time::set(g, ticket, when);
    sched::park(g); // only the timer knows the ticket
}
