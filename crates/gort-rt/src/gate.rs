//! The gate: who may come in, from the start of the runtime to its end.
//!
//! Two kinds of callers come from outside: a thread that is no goroutine and spawns one (it takes a [`Pass`] while it does),
//! and a C thread that calls back (its M's `depth` is not zero while it is inside). Who is inside may do anything, also
//! while the gate is being closed; what goroutines do is never asked about here.
//!
//! ```text
//!   NEVER ──start──▶ OPEN ──shutdown──▶ CLOSING ──all have left──▶ CLOSED ──start──▶ OPEN
//!                      ▲                   │
//!                      └─── not in time ───┘
//! ```
//!
//! Before the first start callbacks are let in, since they need no P, and a spawn starts the runtime.
//!
//! # Why nobody is inside when it is closed, and shutdown does not sleep too long
//! ```text
//!   who comes in                            shutdown
//!   PASSING + 1, or depth = 1               CLOSING
//!   fence                                   fence
//!   CLOSING ?  out again, an error          PASSING == 0 and all depths == 0, then no goroutine ?
//!
//!   who leaves                              shutdown
//!   PASSING - 1, depth = 0, or buried       n = LEFT
//!   fence                                   look as above: somebody is inside
//!   CLOSING ?  LEFT + 1, wake               sleep while LEFT == n
//! ```
//! Each pair is a store, a fence and a load of the other's word on both sides: one of the two sees the other. Callbacks and
//! burials are frequent, so their fence is the asymmetric one of `revoke`: it costs them nothing, and shutdown a `membarrier`.
//! Outsiders are looked at before goroutines, because an outsider may make a goroutine before it leaves; once no outsider is
//! in, only goroutines make goroutines, and "nobody" is final.

use crate::atomic::{AtomicU32, AtomicUsize, Ordering};
use crate::error::Error;
use crate::os;
use crate::sched::m;
use crate::sched::revoke::{heavy_fence, light_fence};
use crate::tls;
use core::ptr;
use crossbeam_utils::CachePadded;

const NEVER: u32 = 0;
const OPEN: u32 = 1;
const CLOSING: u32 = 2;
const CLOSED: u32 = 3;

/// On a cache line of its own: every callback and every burial reads it, and hardly anybody writes it.
static STATE: CachePadded<AtomicU32> = CachePadded::new(AtomicU32::new(NEVER));
/// Threads that are about to spawn from outside.
static PASSING: AtomicUsize = AtomicUsize::new(0);
/// Departures while the gate was being closed; what [`close`] sleeps on.
static LEFT: AtomicU32 = AtomicU32::new(0);

/// Whether a callback from outside, which has counted itself in, may go on.
#[inline(always)]
pub(crate) fn admits() -> bool {
    light_fence();
    STATE.load(Ordering::Relaxed) <= OPEN
}

/// Somebody has left: a callback, or a goroutine for good.
#[inline(always)]
pub(crate) fn left() {
    light_fence();
    if STATE.load(Ordering::Relaxed) == CLOSING {
        tell();
    }
}

#[cold]
fn tell() {
    LEFT.fetch_add(1, Ordering::SeqCst);
    os::futex_wake(&LEFT, 1);
}

/// What a thread holds that is about to spawn from outside.
pub(crate) struct Pass(());

/// Lets a thread in that is about to spawn; unless the runtime is not there, or about to go.
pub(crate) fn pass() -> Option<Pass> {
    PASSING.fetch_add(1, Ordering::SeqCst);
    let pass = Pass(());
    (STATE.load(Ordering::SeqCst) == OPEN).then_some(pass)
}

impl Drop for Pass {
    fn drop(&mut self) {
        PASSING.fetch_sub(1, Ordering::SeqCst);
        if STATE.load(Ordering::SeqCst) == CLOSING {
            tell();
        }
    }
}

/// Whether the runtime has been shut down and not been started again, or is being shut down.
pub(crate) fn is_shut() -> bool {
    STATE.load(Ordering::SeqCst) >= CLOSING
}

/// Whether there are, or may be, goroutines and threads to run them.
pub(crate) fn is_running() -> bool {
    matches!(STATE.load(Ordering::SeqCst), OPEN | CLOSING)
}

/// The runtime runs.
pub(crate) fn open() {
    STATE.store(OPEN, Ordering::SeqCst);
}

/// Why nobody is let in.
pub(crate) fn shut() -> Error {
    Error::shut("the runtime has been shut down; start it again by Config::start".into())
}

/// The process is a fork, and the other threads, which may have been inside, are gone. Async-signal-safe.
pub(crate) fn alone() {
    PASSING.store(0, Ordering::SeqCst);
    // SAFETY: the current G lives while its thread does.
    let me = unsafe { tls::getg().as_ref() }.map_or(ptr::null(), |g| g.m.get());
    for m in m::all().filter(|m| !ptr::eq(*m, me)) {
        m.depth.store(0, Ordering::SeqCst);
        m.pthread.store(0, Ordering::Relaxed); // a thread of this process may get the number
    }
}

/// Closes the gate of the running runtime and waits until everybody has left, at most until `deadline` (nanoseconds of the
/// monotonic clock). False: somebody is inside still, and the gate is open again. `nobody`: whether there was a moment, since
/// the call, without any goroutine.
pub(crate) fn close(nobody: impl Fn() -> bool, deadline: u64) -> bool {
    STATE.store(CLOSING, Ordering::SeqCst);
    heavy_fence();
    loop {
        let left = LEFT.load(Ordering::SeqCst);
        let outsiders = PASSING.load(Ordering::SeqCst) != 0 || callbacks() != 0;
        if !outsiders && nobody() {
            STATE.store(CLOSED, Ordering::SeqCst);
            return true;
        }
        if os::now() >= deadline {
            open();
            return false;
        }
        os::futex_wait(&LEFT, left, (deadline != u64::MAX).then_some(deadline));
    }
}

/// Foreign threads that are in a callback.
pub(crate) fn callbacks() -> usize {
    m::all().filter(|m| m.depth.load(Ordering::Acquire) > 0).count()
}
