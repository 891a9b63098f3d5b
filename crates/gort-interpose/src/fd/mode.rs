//! `fcntl` and `ioctl`: duplicates, the mode, locks.

use crate::hand_off::hand_off;
use crate::kind;
use crate::next::next;
use crate::Ours;
use gort_rt::hook;
use libc::{c_int, c_ulong};

/// What this file defines.
pub(crate) static HOOKS: &[Ours] = &[
    Ours::new(c"fcntl", fcntl as *const ()),
    Ours::new(c"fcntl64", fcntl64 as *const ()),
    Ours::new(c"ioctl", ioctl as *const ()),
];

/// libc's `fcntl`. C declares it variadic; its argument, a number or a pointer, travels as that of this signature,
/// and where a caller left it out nobody looks at it.
///
/// # Safety
/// As for that function.
#[no_mangle]
pub unsafe extern "C" fn fcntl(fd: c_int, command: c_int, argument: usize) -> c_int {
    let next = next!(c"fcntl", fn(c_int, c_int; ...) -> c_int);
    // SAFETY: the caller's promise, passed on.
    let call = || unsafe { next(fd, command, argument) };
    match command {
        libc::F_DUPFD | libc::F_DUPFD_CLOEXEC => {
            let made = call();
            if made >= 0 {
                hook::opened(made);
            }
            made
        }
        libc::F_SETFL => {
            let result = call();
            if result == 0 && argument as c_int & libc::O_NONBLOCK != 0 {
                kind::mode_changed();
            }
            result
        }
        libc::F_SETLKW | libc::F_OFD_SETLKW => hand_off(call),
        _ => call(),
    }
}

/// The name of [`fcntl`] for programs with 64-bit offsets, which all are here.
///
/// # Safety
/// As for that function.
#[no_mangle]
pub unsafe extern "C" fn fcntl64(fd: c_int, command: c_int, argument: usize) -> c_int {
    // SAFETY: the caller's promise, passed on.
    unsafe { fcntl(fd, command, argument) }
}

/// libc's `ioctl`. What is said of [`fcntl`]'s argument is true of this one's.
///
/// # Safety
/// As for that function.
#[no_mangle]
pub unsafe extern "C" fn ioctl(fd: c_int, request: c_ulong, argument: usize) -> c_int {
    // SAFETY: the caller's promise, passed on.
    let result = unsafe { next!(c"ioctl", fn(c_int, c_ulong; ...) -> c_int)(fd, request, argument) };
    // SAFETY: the kernel has read an `int` there.
    if request == libc::FIONBIO && result == 0 && unsafe { *(argument as *const c_int) } != 0 {
        kind::mode_changed();
    }
    result
}
