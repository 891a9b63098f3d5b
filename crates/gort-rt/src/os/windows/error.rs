//! The calling thread's last error.

use windows_sys::Win32::Foundation::{GetLastError, SetLastError};

/// Why the latest call of the system's has failed; never 0.
pub(super) fn last() -> i32 {
    // SAFETY: no preconditions.
    match unsafe { GetLastError() } as i32 {
        0 => super::code::INVALID,
        error => error,
    }
}

/// Runs `f`, and leaves the last error as it was before.
#[inline]
pub(super) fn kept<T>(f: impl FnOnce() -> T) -> T {
    // SAFETY: no preconditions.
    let before = unsafe { GetLastError() };
    let value = f();
    // SAFETY: no preconditions.
    unsafe { SetLastError(before) };
    value
}
