//! A small lock whose waiting goes straight to the kernel.
//!
//! A `std::sync::Mutex` would wait through libc's `syscall`, which the interposition crate turns into parking the
//! goroutine. Code in this module may run where there is no goroutine to park: on its way out, or in the scheduler.

use core::sync::atomic::{AtomicU32, Ordering};

use rustix::thread::futex;

const FREE: u32 = 0;
const HELD: u32 = 1;
/// Held, and somebody may be asleep.
const CONTENDED: u32 = 2;

/// A mutual exclusion that is released when its guard goes.
pub(super) struct Lock(AtomicU32);

/// Proof that the lock is held.
pub(super) struct Guard<'a>(&'a Lock);

impl Lock {
    pub(super) const fn new() -> Lock {
        Lock(AtomicU32::new(FREE))
    }

    /// Waits for the lock on the kernel thread itself.
    pub(super) fn lock(&self) -> Guard<'_> {
        if self.0.compare_exchange(FREE, HELD, Ordering::Acquire, Ordering::Relaxed).is_err() {
            while self.0.swap(CONTENDED, Ordering::Acquire) != FREE {
                // Woken, interrupted or changed meanwhile: in each case the swap decides.
                let _ = futex::wait(&self.0, futex::Flags::PRIVATE, CONTENDED, None);
            }
        }
        Guard(self)
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if self.0 .0.swap(FREE, Ordering::Release) == CONTENDED {
            let _ = futex::wake(&self.0 .0, futex::Flags::PRIVATE, 1);
        }
    }
}
