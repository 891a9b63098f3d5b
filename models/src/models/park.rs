//! Tokens: `thread/park.rs`, over the real wait word; for a plain thread, over the kernel of `os`.
//!
//! Asserted: a park whose token came, before or meanwhile, returns; what the unparker did before is visible then, although
//! the flags themselves order nothing; and no token is lost to a deadline that passes at the same moment.

use crate::atomic::{AtomicBool, Ordering};
use crate::engine::{keep, spawn};
use crate::sched::g::G;
use crate::thread::current::set_current;
use crate::thread::{park, Thread};
use crate::time;
use core::time::Duration;

fn until(flags: &[AtomicBool]) {
    while !flags.iter().all(|flag| flag.load(Ordering::Relaxed)) {
        park::park();
    }
}

/// A goroutine and two who unpark it.
pub(super) fn two_unparkers() {
    let g = G::goroutine();
    let handle = Thread::new(Some(g.wait));
    let flags = keep([AtomicBool::new(false), AtomicBool::new(false)]);
    let waiter = g.go(move |_| {
        set_current(handle);
        until(flags);
    });
    let unpark = move |i: usize| {
        flags[i].store(true, Ordering::Relaxed);
        handle.unpark();
    };
    let other = spawn(move || unpark(1));
    unpark(0);
    other.join().expect("it has not panicked");
    waiter.join().expect("it has not panicked");
}

/// A deadline passes, or a token comes, or both.
pub(super) fn deadline() {
    let g = G::goroutine();
    let handle = Thread::new(Some(g.wait));
    let flags = keep([AtomicBool::new(false)]);
    let waiter = g.go(move |_| {
        set_current(handle);
        park::park_timeout(Duration::from_secs(1));
        until(flags);
    });
    let timer = spawn(time::ring);
    flags[0].store(true, Ordering::Relaxed);
    handle.unpark();
    timer.join().expect("it has not panicked");
    waiter.join().expect("it has not panicked");
}

/// A plain thread parks.
pub(super) fn plain_thread() {
    let handle = Thread::new(None);
    let flags = keep([AtomicBool::new(false), AtomicBool::new(false)]);
    let unpark = move |i: usize| {
        flags[i].store(true, Ordering::Relaxed);
        handle.unpark();
    };
    let others = [0, 1].map(|i| spawn(move || unpark(i)));
    set_current(handle);
    until(flags);
    for other in others {
        other.join().expect("it has not panicked");
    }
}
