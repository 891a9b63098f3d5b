//! The event: `sync/event.rs`, what `join` waits on.
//!
//! Asserted: the waiter goes on, after the event, and sees what the setter did before; with a deadline it may go on without
//! the event, and finds it when it waits again, or another does.

use crate::debug::why::Why;
use crate::engine::{keep, spawn, Tracked};
use crate::sched::g::G;
use crate::sync::event::Event;
use crate::time;

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

/// A deadline passes, or the event happens, or both; then another goroutine waits.
pub(super) fn deadline() {
    let (event, result) = (keep(Event::new()), keep(Tracked::new(0)));
    let timer = spawn(time::ring);
    let waiter = G::goroutine().go(move |_| {
        if event.wait_until(Why::SCOPE, Some(1)) {
            assert_eq!(result.read(|n| *n), 1);
            return;
        }
        let next = G::goroutine().go(move |_| {
            event.wait(Why::SCOPE);
            assert_eq!(result.read(|n| *n), 1);
        });
        next.join().expect("it has not panicked");
    });
    result.write(|n| *n = 1);
    // SAFETY: as above.
    unsafe { Event::set(event) };
    timer.join().expect("it has not panicked");
    waiter.join().expect("it has not panicked");
}
