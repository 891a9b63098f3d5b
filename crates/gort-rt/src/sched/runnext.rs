//! runnext: the one goroutine that a P runs next.
//!
//! A running goroutine has made it ready: it inherits the time slice, so a pair that passes messages runs at the cost of a
//! switch and cannot starve the ring (sysmon sets `preempt` when the slice is used up, and the next scheduling point then
//! queues it behind the others). Thieves may take it, but only in their last round.
//!
//! The owner touches it at nearly every switch and thieves hardly ever, so the thief pays for both:
//!
//! ```text
//!   owner, inside the runtime (in_runtime = 1)      thief
//!   thieves == 0 ?                                  thieves + 1    (on its way to here)
//!     yes: plain load, plain store                  membarrier
//!     no:  exchange                                 owner inside the runtime ?  yes: give up
//!                                                   compare-and-swap to null
//!                                                   thieves - 1
//! ```
//! `thieves` is the scheduler's count of spinning Ms.
//!
//! # Why each goroutine is taken once
//! An owner that read 0 before the thief counted itself either is still inside at the membarrier, and the thief gives up,
//! or has left, and its store is visible. One that enters after the membarrier reads 1 and exchanges. One that reads the 0
//! of a thief that has finished acquires its compare-and-swap with it. So a plain load and a plain store of the owner
//! never have a thief's compare-and-swap between them, and of an exchange and a compare-and-swap one comes first.
//!
//! The slot may be filled by a plain store when it is empty, thief or no thief: only its owner makes it anything but null.
//! (`revoke` explains the fence; without `membarrier` the owner always exchanges.)

use crate::atomic::{AtomicPtr, AtomicU32, Ordering};
use crate::sched::revoke;
use core::ptr;

/// See the module's head.
pub(crate) struct RunNext<T>(AtomicPtr<T>);

impl<T> RunNext<T> {
    pub(crate) const fn new() -> RunNext<T> {
        RunNext(AtomicPtr::new(ptr::null_mut()))
    }

    /// Whether nothing is there; a moment's value.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.load(Ordering::Relaxed).is_null()
    }

    /// Owner: makes `task` the next to run. Returns what was there, which is the caller's now.
    #[inline]
    pub(crate) fn put<'a>(&self, task: *const T, thieves: impl FnOnce() -> &'a AtomicU32) -> Option<*const T> {
        if self.is_empty() {
            // Thieves only ever change it to null, so it is ours to fill. Release: the goroutine's state, to a thief.
            self.0.store(task.cast_mut(), Ordering::Release);
            return None;
        }
        self.replace(task.cast_mut(), thieves)
    }

    /// Owner: takes what is there.
    #[inline]
    pub(crate) fn take<'a>(&self, thieves: impl FnOnce() -> &'a AtomicU32) -> Option<*const T> {
        if self.is_empty() {
            return None;
        }
        // Only thieves may have changed it, to null.
        self.replace(ptr::null_mut(), thieves)
    }

    /// Owner: puts `task` in the place of what is there; see the module's head.
    #[inline]
    fn replace<'a>(&self, task: *mut T, thieves: impl FnOnce() -> &'a AtomicU32) -> Option<*const T> {
        // Acquire: the theft of a thief that does not spin any more.
        let old = if revoke::others_pay() && thieves().load(Ordering::Acquire) == 0 {
            let old = self.0.load(Ordering::Relaxed);
            // Release: the goroutine's state, to a thief to come.
            self.0.store(task, Ordering::Release);
            old
        } else {
            // AcqRel: release the goroutine's state to a thief; acquire nothing that matters, but the old pointer is
            // published again.
            self.0.swap(task, Ordering::AcqRel)
        };
        (!old.is_null()).then_some(old.cast_const())
    }

    /// Thief, counted among the spinning: takes what is there if `owner_is_outside` ([`revoke::is_outside`]) says so.
    pub(crate) fn steal(&self, owner_is_outside: impl FnOnce() -> bool) -> Option<*const T> {
        let task = self.0.load(Ordering::Relaxed);
        let stolen = !task.is_null()
            && owner_is_outside()
            // Acquire: the goroutine's state. Release: to an owner that exchanges, or reads the count that we go out of.
            && self.0.compare_exchange(task, ptr::null_mut(), Ordering::AcqRel, Ordering::Relaxed).is_ok();
        stolen.then_some(task.cast_const())
    }
}
