//! C's locks, semaphores, condition variables and barriers.
//!
//! glibc makes its waits by system calls of its own, which no hook sees, and its fast paths are as good as they get. So a hook
//! on a goroutine makes libc's own attempt (`pthread_mutex_trylock` for `pthread_mutex_lock`), and where that finds that one
//! must wait the goroutine waits in the runtime's table, under the object's address, and makes the attempt again when it is
//! woken. The hooks of the releasing functions call libc's function, which sees to the waiting kernel threads, and then wake
//! a goroutine if one waits; where none does that is a load. Off a goroutine a waiting function is libc's own. The object's
//! memory is libc's throughout, so both kinds of threads can use it at the same time.
//!
//! Why no wake-up is lost: the waiter is counted under the object's address before its last attempt; the releaser makes its
//! change before it looks whether somebody is counted. Both are atomic read-modify-writes followed by loads: libc releases
//! by one, since it has to learn in the same step whether a kernel thread sleeps.
//!
//! | Object | Waits that are different |
//! |---|---|
//! | shared between processes, robust, priority-inheriting | in the kernel, in a hand-off: others than our hooks release it |
//! | condition variable | [`cond`]: it has no state that one could try; its mutex is released inside libc |
//! | barrier | [`barrier`]: it is replaced |
//! | `pthread_once`, `call_once` | in the kernel, in a hand-off |
//! | spin lock | not at all: other goroutines run between the tries |
//!
//! `pthread_mutex_trylock` and its kin wait for nothing, and are libc's own. A goroutine that waits is not interrupted by
//! signals: `sem_wait` gives no `EINTR`. Which bits of an object say what it is, is found out by looking: [`learn`].
//!
//! A library that calls these functions past the hooks (by `RTLD_DEEPBIND`, or linked with `-Bsymbolic` against a libc of its
//! own) must not share such objects with goroutines.

pub(crate) mod barrier;
pub(crate) mod c11;
pub(crate) mod cond;
mod learn;
pub(crate) mod mutex;
pub(crate) mod once;
mod own;
pub(crate) mod rwlock;
pub(crate) mod sem;
pub(crate) mod spin;

use crate::sleep::deadline;
use gort_rt::hook;
use libc::{c_int, clockid_t, timespec};

/// All bits: an object with one kind of waiters.
const ANY: u32 = u32::MAX;

/// The end of a wait as C's functions are given it: a moment of a clock.
#[derive(Clone, Copy)]
struct Limit {
    clock: clockid_t,
    at: *const timespec,
}

impl Limit {
    /// The moment on the monotonic clock, in nanoseconds; `EINVAL` if libc would refuse it.
    ///
    /// # Safety
    /// `at` is readable.
    unsafe fn when(self) -> Result<u64, c_int> {
        // SAFETY: the caller's promise.
        let at = unsafe { *self.at };
        if !matches!(self.clock, libc::CLOCK_REALTIME | libc::CLOCK_MONOTONIC)
            || !(0..1_000_000_000).contains(&at.tv_nsec)
        {
            return Err(libc::EINVAL);
        }
        // A negative number of seconds is a moment long past.
        Ok(deadline(self.clock, true, at).unwrap_or(0))
    }
}

/// [`Limit::when`] of a limit that may be missing.
///
/// # Safety
/// The limit is readable.
unsafe fn when(limit: Option<Limit>) -> Result<Option<u64>, c_int> {
    match limit {
        None => Ok(None),
        // SAFETY: the caller's promise.
        Some(limit) => unsafe { limit.when() }.map(Some),
    }
}

fn is_past(when: Option<u64>) -> bool {
    when.is_some_and(|when| when <= hook::now())
}

/// Runs `f` and leaves errno as it was.
fn keeping_errno<T>(f: impl FnOnce() -> T) -> T {
    // SAFETY: the location is the calling thread's or goroutine's own, for as long as it lives.
    unsafe {
        let errno = *libc::__errno_location();
        let value = f();
        *libc::__errno_location() = errno;
        value
    }
}
