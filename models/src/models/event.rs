//! The event: `sync/event.rs`, what `join` waits on.
//!
//! Asserted: the waiter goes on, after the event, and sees what the setter did before.

use crate::debug::why::Why;
use crate::engine::{keep, spawn, Tracked};
use crate::sched::g::G;
use crate::sync::event::Event;

/// A goroutine waits.
pub(super) fn goroutine() {
    let (event, result) = (keep(Event::new()), keep(Tracked::new(0)));
    let waiter = G::goroutine().go(move |_| {
        event.wait(Why::SCOPE);
        assert_eq!(result.read(|n| *n), 1);
    });
    result.write(|n| *n = 1);
    // SAFETY: it lives as long as the execution.
    unsafe { Event::set(event) };
    waiter.join().expect("it has not panicked");
}

/// A plain thread waits.
pub(super) fn plain_thread() {
    let (event, result) = (keep(Event::new()), keep(Tracked::new(0)));
    let setter = spawn(move || {
        result.write(|n| *n = 1);
        // SAFETY: as above.
        unsafe { Event::set(event) };
    });
    event.wait(Why::SCOPE);
    assert_eq!(result.read(|n| *n), 1);
    setter.join().expect("it has not panicked");
}
