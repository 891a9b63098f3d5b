//! Ms of foreign threads: `ffi/extra_m.rs`, with the real M and thread-local word.
//!
//! Asserted: an M is with one thread at a time, who sees what the one before it wrote; a thread that has given its M
//! back has none, in the rounds of destructors after that too; none is lost.

use crate::atomic::Ordering;
use crate::engine::{keep, spawn, Tracked};
use crate::ffi::extra_m::{self, Bound};
use crate::os;
use crate::sched::m::M;
use crate::tls;
use core::ptr;

/// A C thread's first callback, and its use of the M.
fn call_in(ms: &[Tracked<u32>]) -> (&'static M, Bound) {
    let (m, bound) = extra_m::needm(1);
    assert!(ptr::eq(tls::getg(), &m.g0));
    m.depth.store(m.depth.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    assert_eq!(m.depth.load(Ordering::Relaxed), 1, "somebody else is inside");
    ms[m.id as usize].write(|n| *n += 1);
    m.depth.store(0, Ordering::Relaxed);
    (m, bound)
}

/// Two C threads call in, end, and call in from a destructor of their own.
pub(super) fn two_threads() {
    let ms = keep([Tracked::new(0), Tracked::new(0), Tracked::new(0)]);
    let thread = move || {
        assert!(tls::is_none());
        assert!(call_in(ms).1 == Bound::ToThread);
        os::thread_exits();
        assert!(tls::is_none());
        let (m, bound) = call_in(ms);
        assert!(bound == Bound::ToCall);
        extra_m::dropm(m);
        assert!(tls::is_none());
    };
    let other = spawn(thread);
    thread();
    other.join().expect("it has not panicked");
    let counts = extra_m::counts();
    assert_eq!(counts.in_use, 0);
    assert!(counts.made <= 2);
    let uses: u32 = ms.iter().map(|m| m.read(|n| *n)).sum();
    assert_eq!(uses, 4);
}
