//! Goroutines that have ended: their threads end too.

use crate::arch;
use crate::sched::g::G;
use crate::sched::m::M;

pub(crate) fn put(_: &M, g: *const G) {
    // SAFETY: the goroutine has left for the last time, and is ours.
    unsafe { arch::end((*g).sp.get()) };
}

pub(crate) fn trim() {}
