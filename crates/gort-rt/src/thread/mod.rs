//! Goroutines with the interface of [`std::thread`].
//!
//! Replace `use std::thread` by `use gort::thread`: the names, signatures and promises are std's. A goroutine is a thread
//! to all code that runs in it: it has its own stack, `thread_local!` variables, errno and [`std::thread::ThreadId`], and
//! it may move to another kernel thread only where it blocks.
//!
//! ```
//! use gort_rt::thread;
//!
//! let sum: u64 = (0..1000u64).map(|i| thread::spawn(move || i * i)).map(|g| g.join().unwrap()).sum();
//! assert_eq!(sum, 332_833_500);
//! ```

mod builder;
mod current;
mod join;
mod park;
mod scope;
mod sleep;

pub use builder::{spawn, Builder};
pub use current::{current, Thread, ThreadId};
pub use join::JoinHandle;
pub(crate) use park::deadline;
pub use park::{park, park_timeout};
pub use scope::{scope, Scope, ScopedJoinHandle};
pub use sleep::{sleep, sleep_until};
pub use std::thread::{panicking, AccessError, LocalKey, Result};

pub(crate) use current::{new_id, Inner};
pub(crate) use sleep::on_goroutine as sleep_until_ns;

use crate::backend::Runtime;
use crate::fork;
use crate::sched;

/// Lets other goroutines of this P run first; on a thread that is no goroutine, `sched_yield`.
pub fn yield_now() {
    match sched::parkable() {
        Some(g) => sched::yield_now(g),
        None => crate::os::sched_yield(),
    }
}

/// How many goroutines run in parallel: the number of Ps.
///
/// # Errors
/// A setting in the environment has no meaning.
pub fn available_parallelism() -> std::io::Result<std::num::NonZeroUsize> {
    let n = match Runtime::chosen() {
        Some(runtime) => runtime.procs(),
        None => crate::Config::new().settle()?.procs,
    };
    Ok(std::num::NonZeroUsize::new(n).expect("there is a P at least"))
}

/// True when the caller runs on a goroutine. (In a forked child there are none.)
pub fn is_goroutine() -> bool {
    !fork::is_child() && sched::goroutine().is_some()
}
