//! What a forked child may still use.
//!
//! A child has one thread. Of an object of its parent's somebody who is not there any more may hold the lock, or a part; so
//! every object remembers how many forks led to the process that made it, and is refused in another. A process that was forked from
//! one in which the runtime ran is refused everything.

use crate::code::{failure, Failure, GORT_EFORKED};
use crate::os;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use gort_rt::embed;

/// Forks between the process that loaded this library and this one.
static FORKS: AtomicU32 = AtomicU32::new(0);

extern "C" fn in_child() {
    FORKS.fetch_add(1, Ordering::Relaxed);
}

/// The process that an object belongs to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Process(u32);

impl Process {
    /// The calling process, for an object that is being made.
    pub(crate) fn here() -> Process {
        static REGISTERED: AtomicBool = AtomicBool::new(false);
        // No `Once`: a child that was forked in the middle would wait for it for ever.
        if !REGISTERED.swap(true, Ordering::Relaxed) {
            os::at_fork(in_child);
        }
        Process(FORKS.load(Ordering::Relaxed))
    }

    /// Whether it is the calling process. Async-signal-safe.
    pub(crate) fn check(self) -> Result<(), Failure> {
        if self.0 == FORKS.load(Ordering::Relaxed) {
            Ok(())
        } else {
            Err(failure(GORT_EFORKED))
        }
    }
}

/// Refuses everything in a process that has lost its runtime by a fork. Async-signal-safe.
pub(crate) fn check() -> Result<(), Failure> {
    if embed::is_child() {
        Err(failure(GORT_EFORKED))
    } else {
        Ok(())
    }
}
