//! What `gort-capi` needs of the runtime: not for users, and without promises of stability.
//!
//! C has no closures, guards that drop, or types that keep misuse from compiling. So these are the halves of what the public
//! interface has in one piece, and the questions by which misuse is recognised before it does harm.

use crate::error::Error;
use crate::ffi::{blocking, callback, guard};
use crate::fork;
use crate::gate;
use crate::os::code;
use crate::start;
use crate::thread::{self, JoinHandle, Thread};
use core::any::Any;
use std::time::Duration;

pub use crate::ffi::callback::Refused;

/// Whether the process is the child of a fork of one in which the runtime ran. Async-signal-safe.
pub fn is_child() -> bool {
    fork::is_child()
}

/// Whether there are, or may be, goroutines: from the start until the end of shutdown.
pub fn is_running() -> bool {
    gate::is_running()
}

/// Whether the runtime has been shut down and not been started again, or is being shut down.
pub fn is_shut() -> bool {
    gate::is_shut()
}

/// Whether the caller is a goroutine, or in a callback or guard: shutdown waits for it.
pub fn is_inside() -> bool {
    start::is_inside()
}

/// What an error is about, so far as C is told by a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// A setting that has no meaning.
    Invalid,
    /// There is no runtime any more.
    Shut,
    /// Somebody has to go first.
    Busy,
    /// Memory, address space or kernel threads are used up.
    Exhausted,
    /// The system refused something else.
    System,
}

/// What this error is about.
pub fn cause(error: &Error) -> Cause {
    match error.errno() {
        Some(code::INVALID) => Cause::Invalid,
        Some(code::SHUT) => Cause::Shut,
        Some(code::BUSY) => Cause::Busy,
        Some(number) if code::EXHAUSTED.contains(&number) => Cause::Exhausted,
        _ => Cause::System,
    }
}

/// The number of a handle, as reports show it.
pub fn id(thread: &Thread) -> u64 {
    thread.number()
}

/// Waits until the goroutine has ended, thread-local destructors included, for `patience` at most. Whether it has.
pub fn wait_for_end<T>(goroutine: &mut JoinHandle<T>, patience: Duration) -> bool {
    goroutine.wait_until(thread::deadline(patience))
}

/// Enters as a callback does, until [`leave`] on the same thread or goroutine.
///
/// # Errors
/// The runtime has been shut down; or a signal handler calls on a thread that enters for the first time.
pub fn enter() -> Result<(), Refused> {
    guard::enter()
}

/// Undoes one [`enter`]. False: there is none to undo here.
pub fn leave() -> bool {
    guard::leave()
}

/// Declares that what follows, until [`end_blocking`], may block its kernel thread.
pub fn begin_blocking() {
    blocking::begin();
}

/// Ends what the latest [`begin_blocking`] has begun. False: there is nothing to end here.
pub fn end_blocking() -> bool {
    blocking::end()
}

/// Keeps what a panic says for [`crate::ffi::take_last_panic`], and drops the payload.
pub fn keep_panic(payload: Box<dyn Any + Send>) {
    callback::keep(callback::text(payload.as_ref()));
}

/// Keeps this text as that of the last panic.
pub fn keep_panic_text(text: &str) {
    callback::keep(text);
}
