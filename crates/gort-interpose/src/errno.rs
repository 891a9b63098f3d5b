//! errno around what a hook does on its own account.

use libc::c_int;

/// Runs `f`, and leaves errno as it was before.
pub(crate) fn kept<T>(f: impl FnOnce() -> T) -> T {
    let before = get();
    let value = f();
    set(before);
    value
}

fn get() -> c_int {
    // SAFETY: the location is the calling thread's or goroutine's own.
    unsafe { *libc::__errno_location() }
}

fn set(code: c_int) {
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = code }
}
