//! C threads that call in, and calls out to C.
//!
//! * [`callback`] and its kin: run Rust on whatever thread C calls from.
//! * [`blocking`]: declare that a call blocks, so that it does not hold a P.
//! * [`on_system_stack`]: run a call on the kernel thread's own stack and thread-local storage.
//! * [`lock_os_thread`]: stay on one kernel thread.
//!
//! A plain call to C from a goroutine needs none of these: it runs in place, at the price of a function call. The stack is
//! large, the thread-local storage C sees is the goroutine's own, and if it blocks after all sysmon takes the P away.

pub(crate) mod blocking;
pub(crate) mod boundary;
pub(crate) mod callback;
#[cfg_attr(windows, path = "cancel_windows.rs")]
pub(crate) mod cancel;
pub(crate) mod extra_m;
pub(crate) mod guard;
mod lock;
mod system_stack;

pub use blocking::blocking;
pub use callback::{callback, callback_or, callback_or_abort, take_last_panic, try_callback};
pub use lock::{lock_os_thread, unlock_os_thread};
pub use system_stack::on_system_stack;
