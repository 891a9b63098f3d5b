//! The frame below a start routine, by which `pthread_exit` leaves.
//!
//! `pthread_exit` unwinds the stack frame by frame, running the handlers of `pthread_cleanup_push` and C++'s
//! destructors, until it comes to the buffer of saved registers that the thread block names, and jumps there. Its own
//! threads' first frame saves registers in such a buffer, and so does every use of `pthread_cleanup_push`, by functions
//! that are part of the C library's interface because that macro calls them. [`call`] uses the same functions, so to
//! `pthread_exit` a goroutine's start routine lies inside one more `pthread_cleanup_push`.
//!
//! The value to leave with goes another way, since glibc keeps it in its block: the hook stores it first ([`exiting`]).

use super::{Record, Start};
use crate::arch;
use crate::ffi::boundary;
use crate::os;
use crate::sched::g::Kind;
use crate::tls;
use core::ffi::c_void;
use core::sync::atomic::Ordering;

/// Calls a start routine and returns its value, or that of the `pthread_exit` that ended it.
///
/// # Safety
/// `record` is that of the goroutine which calls, and `start` may be called with `arg`.
pub(super) unsafe fn call(record: &Record, start: Start, arg: *mut c_void) -> *mut c_void {
    record.exitable.store(true, Ordering::Relaxed);
    let mut left = false;
    // SAFETY: the caller's promise; a panic cannot leave a C function.
    let value = unsafe { arch::call_leavable(start, arg, &mut left) };
    record.exitable.store(false, Ordering::Relaxed);
    if left {
        record.result()
    } else {
        value
    }
}

/// What a caller of `pthread_exit` may do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Leaving {
    /// Go on to libc's function: it is a thread, or a goroutine with a frame to leave to.
    Libc,
    /// Nothing: there is no such frame, or frames of Rust lie before it, and libc or std would fall over that.
    Nowhere,
}

/// The caller wants to leave by `pthread_exit` with `value`, which is kept for the one who joins.
pub fn exiting(value: *mut c_void) -> Leaving {
    // SAFETY: the current G lives.
    match unsafe { tls::getg().as_ref() } {
        Some(_) if tls::block().is_some_and(boundary::is_inside) => {
            os::write_stderr(
                b"gort: pthread_exit below a callback: frames of Rust are not to be unwound by it. Return from the callback first.\n",
            );
            Leaving::Nowhere
        }
        Some(g) if g.kind == Kind::Goroutine && g.pthread.exitable.load(Ordering::Relaxed) => {
            g.pthread.leave_result(value);
            Leaving::Libc
        }
        None => Leaving::Libc,
        Some(g) if g.kind == Kind::Foreign => Leaving::Libc,
        Some(_) => {
            os::write_stderr(
                b"gort: pthread_exit in a goroutine that pthread_create did not make, at the end of one, or on the system \
                  stack: there is nothing to exit from. Return from the function in place of that.\n",
            );
            Leaving::Nowhere
        }
    }
}
