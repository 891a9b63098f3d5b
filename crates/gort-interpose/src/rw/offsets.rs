//! Reading and writing at an offset, which only files have that are never waited for: handed off.

use super::{read_several, write_several};
use crate::hand_off::{hand_off, hooks};
use crate::switch::may_park;
use crate::sys::{as_libc, kernel};
use crate::Ours;
use libc::{c_int, c_long, c_void, iovec, off_t};

hooks! { HOOKS, hand_off:
    c"pread" pread(fd: c_int, to: *mut c_void, len: usize, offset: off_t) -> isize;
    c"pread64" pread64(fd: c_int, to: *mut c_void, len: usize, offset: off_t) -> isize;
    c"__pread_chk" __pread_chk(fd: c_int, to: *mut c_void, len: usize, offset: off_t, size: usize) -> isize;
    c"__pread64_chk" __pread64_chk(fd: c_int, to: *mut c_void, len: usize, offset: off_t, size: usize) -> isize;
    c"pwrite" pwrite(fd: c_int, from: *const c_void, len: usize, offset: off_t) -> isize;
    c"pwrite64" pwrite64(fd: c_int, from: *const c_void, len: usize, offset: off_t) -> isize;
    c"preadv" preadv(fd: c_int, buffers: *const iovec, n: c_int, offset: off_t) -> isize;
    c"preadv64" preadv64(fd: c_int, buffers: *const iovec, n: c_int, offset: off_t) -> isize;
    c"pwritev" pwritev(fd: c_int, buffers: *const iovec, n: c_int, offset: off_t) -> isize;
    c"pwritev64" pwritev64(fd: c_int, buffers: *const iovec, n: c_int, offset: off_t) -> isize;
}

/// What this file defines beside [`HOOKS`].
pub(crate) static WITH_FLAGS: &[Ours] = &[
    Ours::new(c"preadv2", preadv2 as *const ()),
    Ours::new(c"preadv64v2", preadv64v2 as *const ()),
    Ours::new(c"pwritev2", pwritev2 as *const ()),
    Ours::new(c"pwritev64v2", pwritev64v2 as *const ()),
];

// The following make the system call themselves: not every libc that programs run with has these functions, and callers who
// look for them find ours.

/// One of the two calls, as the program made it, with the kernel's convention for errors.
///
/// # Safety
/// As for that call.
unsafe fn plain(number: c_long, fd: c_int, buffers: *const iovec, n: c_int, offset: off_t, flags: c_int) -> isize {
    // The offset's upper half is an argument of its own, which is ignored where a register holds it all.
    let args = [fd as usize, buffers as usize, n as usize, offset as usize, 0, flags as usize];
    // SAFETY: the caller's promise.
    let call = || unsafe { kernel(number, args) };
    if flags & libc::RWF_NOWAIT != 0 {
        call()
    } else {
        hand_off(call)
    }
}

/// libc's `preadv2`. Without an offset and flags it is `readv`.
///
/// # Safety
/// As for that function.
#[no_mangle]
pub unsafe extern "C" fn preadv2(fd: c_int, buffers: *const iovec, n: c_int, offset: off_t, flags: c_int) -> isize {
    // SAFETY: the caller's promise, passed on.
    as_libc(unsafe {
        match (offset, flags) {
            (-1, 0) if may_park() => read_several(fd, buffers, n),
            _ => plain(libc::SYS_preadv2, fd, buffers, n, offset, flags),
        }
    })
}

/// libc's `pwritev2`. Without an offset and flags it is `writev`.
///
/// # Safety
/// As for that function.
#[no_mangle]
pub unsafe extern "C" fn pwritev2(fd: c_int, buffers: *const iovec, n: c_int, offset: off_t, flags: c_int) -> isize {
    // SAFETY: the caller's promise, passed on.
    as_libc(unsafe {
        match (offset, flags) {
            (-1, 0) if may_park() => write_several(fd, buffers, n),
            _ => plain(libc::SYS_pwritev2, fd, buffers, n, offset, flags),
        }
    })
}

/// The name of [`preadv2`] for programs with 64-bit offsets, which all are here.
///
/// # Safety
/// As for that function.
#[no_mangle]
pub unsafe extern "C" fn preadv64v2(fd: c_int, buffers: *const iovec, n: c_int, offset: off_t, flags: c_int) -> isize {
    // SAFETY: the caller's promise, passed on.
    unsafe { preadv2(fd, buffers, n, offset, flags) }
}

/// The name of [`pwritev2`] for programs with 64-bit offsets, which all are here.
///
/// # Safety
/// As for that function.
#[no_mangle]
pub unsafe extern "C" fn pwritev64v2(fd: c_int, buffers: *const iovec, n: c_int, offset: off_t, flags: c_int) -> isize {
    // SAFETY: the caller's promise, passed on.
    unsafe { pwritev2(fd, buffers, n, offset, flags) }
}
