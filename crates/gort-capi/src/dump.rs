//! The dump.

use crate::code::{GORT_ESYSTEM, GORT_OK};
use core::ffi::c_int;

/// Writes what the runtime does at this moment, as text for people: processors, kernel threads, and of each goroutine its number and
/// name and what it does or waits for. Nothing is stopped for it. The text, which docs/debugging.md explains, may change from one
/// version to the next; it says so if the runtime does not run, or the process is a fork.
///
/// From anywhere. Async-signal-safe, under the condition of gort_unpark(): it neither allocates nor takes a lock, and leaves errno
/// alone. It waits for the descriptor only, blocking the kernel thread.
///
/// @param fd  an open descriptor, for example 2; on Windows one of the C runtime that gort is linked with.
/// @return GORT_OK; GORT_ESYSTEM: not all of it could be written.
#[no_mangle]
pub extern "C" fn gort_dump(fd: c_int) -> c_int {
    // Not by `run`, which may keep a text: here is nothing that panics, and the error is a number.
    match gort_rt::dump(fd) {
        Ok(()) => GORT_OK,
        Err(_) => GORT_ESYSTEM,
    }
}
