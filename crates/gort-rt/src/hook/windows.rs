//! What `gort-redirect` needs of the runtime: not for users, and without promises of stability.
//!
//! Every function here may be called from any thread, inside a function of the system's: none allocates, panics, or touches the
//! last error.

use crate::config;
use crate::error::Error;
use crate::os;
use crate::sched;
use crate::start;
use crate::sync::futex;
use crate::thread;

pub use crate::debug::why::Why;
pub use crate::os::imports::{redirect, Function};
pub use crate::poll::{closing, look_again, look_again_where, opened, socket, Interest, Socket, Stamp, Turn, Waited};
pub use crate::sync::futex::{KernelWait, Wait};

/// The crate `gort` is in this process: it is an application, and its settings default to what applications want. Before the
/// start.
pub fn declare_application() {
    config::declare_application();
}

/// Starts the runtime with the default settings, if it does not run.
///
/// # Errors
/// It cannot start, or was shut down.
pub fn start_runtime() -> Result<(), Error> {
    start::runtime().map(drop)
}

/// Whether the caller runs on a goroutine that may park here.
#[inline(always)]
pub fn may_park() -> bool {
    sched::parkable().is_some()
}

/// Parks the calling goroutine until a wake of `key`, or until `deadline`, unless `ready` says that it need not (`Changed`).
/// `ready` is called at most once, as `sync::futex::wait_unless` says; [`may_park`] has said yes. `why` says what is there.
pub fn wait_unless(why: Why, key: usize, deadline: Option<u64>, ready: impl FnOnce() -> bool) -> Wait {
    let g = sched::parkable().expect("the caller has asked");
    futex::wait_unless(g, why, key, u32::MAX, deadline, ready, || true)
}

/// Wakes up to `n` goroutines that wait on the word at this address; returns how many.
#[inline]
pub fn futex_wake(word: usize, n: u32) -> u32 {
    let (woken, others) = futex::wake(word, n, u32::MAX);
    if woken > 0 {
        if let Some(g) = sched::parkable() {
            sched::after_wake(g, others);
        }
    }
    woken
}

/// Whether this wake of the word at this address should go to the system's waiters too.
#[inline]
pub fn kernels_turn(word: usize) -> bool {
    futex::kernels_turn(word)
}

/// Parks the calling goroutine until `deadline`, in nanoseconds of the monotonic clock. False: it may not park here.
pub fn sleep_until(deadline: u64) -> bool {
    match sched::parkable() {
        Some(g) => {
            thread::sleep_until_ns(g, deadline);
            true
        }
        None => false,
    }
}

/// Lets other goroutines run. False: the caller is no goroutine that may.
pub fn yield_now() -> bool {
    match sched::parkable() {
        Some(g) => {
            sched::yield_now(g);
            true
        }
        None => false,
    }
}

/// The monotonic clock, in nanoseconds.
pub fn now() -> u64 {
    os::now()
}
