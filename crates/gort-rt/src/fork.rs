//! fork: the child has one thread and none of ours, so its goroutines' code goes on as plain code.
//!
//! In the child the goroutine that forked (if one did) is told that it cannot park: hooks pass through to the kernel, and
//! spawning is a clear error. `fork` followed by `exec` therefore works from anywhere. A child that was forked before the
//! runtime started, or after it was shut down, has lost nothing and may start it.

use crate::ffi::extra_m;
use crate::gate;
use crate::identity;
use crate::os;
use crate::phase;
use crate::tls::{self, SLOT_PARK};
use core::ptr;
use core::sync::atomic::{AtomicBool, Ordering};
use std::sync::Once;

static CHILD: AtomicBool = AtomicBool::new(false);

/// Registers for the child's side of fork; before the first goroutine and the first callback.
pub(crate) fn init() {
    static DONE: Once = Once::new();
    DONE.call_once(|| os::at_fork(in_child));
}

/// What a child does that was made past the handlers (`_Fork`). Async-signal-safe.
pub(crate) extern "C" fn in_child() {
    extra_m::in_child();
    gate::alone();
    if phase::is_off() {
        return;
    }
    CHILD.store(true, Ordering::Relaxed);
    // SAFETY: the current goroutine, if there is one, is the code that runs here; its block is its own.
    if let Some(g) = unsafe { tls::current_goroutine().as_ref() } {
        g.tls.set(SLOT_PARK, ptr::null());
        // SAFETY: the M that ran the goroutine when it forked; Ms are never freed.
        identity::forget_native(unsafe { &*g.m.get() }.g0.tp.get());
    }
}

/// True in a process that was forked from one with a runtime.
#[inline]
pub(crate) fn is_child() -> bool {
    CHILD.load(Ordering::Relaxed)
}
