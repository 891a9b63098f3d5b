//! `syscall`, by which std and parking_lot reach the futex.

use crate::futex;
use crate::Ours;
use libc::{c_int, c_long, nfds_t, pollfd, timespec};

/// A system call, with the kernel's convention for errors: minus their number. errno stays as it is.
pub(crate) use gort_rt::hook::system_call as kernel;

/// What this file defines.
pub(crate) static HOOKS: &[Ours] = &[Ours::new(c"syscall", syscall as *const ())];

/// Leaves `code` in errno and returns -1, as libc's functions do.
pub(crate) fn fail(code: c_int) -> c_long {
    // SAFETY: the location is the calling thread's or goroutine's own.
    unsafe { *libc::__errno_location() = code };
    -1
}

/// `poll` that does not wait, with the kernel's convention for errors: minus their number.
///
/// # Safety
/// As for `poll`.
pub(crate) unsafe fn poll_now(fds: *mut pollfd, n: nfds_t) -> isize {
    let mut at_once = timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the caller's promise; the time lives, and there is no mask of signals.
    unsafe { kernel(libc::SYS_ppoll, [fds as usize, n as usize, &raw mut at_once as usize, 0, 0, 0]) }
}

/// From the kernel's convention for errors to libc's.
#[inline]
pub(crate) fn as_libc(result: isize) -> isize {
    if (-4095..0).contains(&result) {
        fail(-result as c_int) as isize
    } else {
        result
    }
}

/// A system call, with libc's convention for errors.
///
/// # Safety
/// As for the call in question.
#[inline]
pub(crate) unsafe fn raw(number: c_long, args: [usize; 6]) -> c_long {
    // SAFETY: the caller's promise, passed on.
    as_libc(unsafe { kernel(number, args) }) as c_long
}

/// libc's `syscall`. C declares it variadic; its integer arguments travel as those of this signature, and those
/// that a caller left out are read from registers or stack and not used.
///
/// # Safety
/// As for the call in question.
#[no_mangle]
pub unsafe extern "C" fn syscall(number: c_long, a: usize, b: usize, c: usize, d: usize, e: usize, f: usize) -> c_long {
    // SAFETY: the caller's promise, passed on.
    unsafe {
        if number == libc::SYS_futex {
            futex::futex([a, b, c, d, e, f])
        } else {
            raw(number, [a, b, c, d, e, f])
        }
    }
}
