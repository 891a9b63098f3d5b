//! Who a stack belongs to, for the report of a stack overflow.

use crate::sched::g::G;
use crate::stack::{overflow, Slot};
use crate::tls;

/// Registers the description.
pub(crate) fn init() {
    overflow::set_describe(describe);
}

/// The goroutine that runs on `slot`: id, name, bytes of stack. Runs in a signal handler.
fn describe(slot: &Slot) -> Option<(u64, &'static [u8], usize)> {
    // A goroutine that overflows its stack is the one that is running.
    // SAFETY: the current goroutine lives.
    let g: &G = unsafe { tls::current_goroutine().as_ref() }?;
    if g.slot().index != slot.index {
        return None;
    }
    // SAFETY: the handle lives while the goroutine does, and the report ends the process.
    match unsafe { g.thread.get().as_ref() } {
        Some(thread) => Some((thread.id(), thread.name_bytes(), g.usable())),
        // One that `pthread_create` made: has no handle, but perhaps a name.
        None => Some((u64::from(slot.index), g.pthread.name_bytes(), g.usable())),
    }
}
