//! `read`, `write` and their kin.
//!
//! | Behind the descriptor | On a goroutine |
//! |---|---|
//! | a socket | as `recv`, `send` |
//! | a pipe, or another file that knows `RWF_NOWAIT` | tried with it; the goroutine parks while there is nothing |
//! | a FIFO, a terminal, anything else with a readiness | `poll` says whether the call would wait; then the call, handed off |
//! | a regular file | the call, handed off |
//!
//! A blocking `write` to a pipe returns when all is written. Up to `PIPE_BUF` bytes go into a pipe in one piece, also between
//! several writers; so these are never divided.
//!
//! | File | Subject |
//! |---|---|
//! | `pollable` | pipes and whatever else is no socket and no regular file |
//! | `offsets` | `pread`, `pwrite`, `preadv2` and so on |
//! | `transfer` | `sendfile`, `splice` and so on: from one descriptor to another |

pub(crate) mod offsets;
mod pollable;
pub(crate) mod transfer;

use crate::kind::{About, Kind};
use crate::net::receive::{receive, receive_message};
use crate::net::send::{transmit, transmit_message};
use crate::next::next;
use crate::retry::error;
use crate::switch::may_park;
use crate::sys::{as_libc, kernel};
use crate::Ours;
use core::{mem, ptr};
use gort_rt::ffi::blocking;
use libc::{c_int, c_void, iovec, msghdr};

/// What this file defines.
pub(crate) static HOOKS: &[Ours] = &[
    Ours::new(c"read", read as *const ()),
    Ours::new(c"__read_chk", __read_chk as *const ()),
    Ours::new(c"readv", readv as *const ()),
    Ours::new(c"write", write as *const ()),
    Ours::new(c"writev", writev as *const ()),
];

/// Runs `by_kind` with what is known of `fd`, and once more with what the kernel says if that was no socket after all. None
/// of `by_kind`: it is no socket, and nothing to wait for; `plain` then makes the call.
#[inline]
fn dispatch(fd: c_int, plain: impl Fn() -> isize, mut by_kind: impl FnMut(Kind, &mut About) -> Option<isize>) -> isize {
    let Some(mut about) = About::of(fd) else { return blocking(plain) };
    let kind = about.kind();
    let mut result = by_kind(kind, &mut about);
    if kind.is_socket() && result == Some(error(libc::ENOTSOCK)) {
        let kind = about.learn();
        result = by_kind(kind, &mut about);
    }
    result.unwrap_or_else(|| blocking(plain))
}

/// `read` on a goroutine, with the kernel's convention for errors.
///
/// # Safety
/// As for `read`.
unsafe fn read_one(fd: c_int, to: *mut c_void, len: usize) -> isize {
    // SAFETY: the caller's promise.
    let plain = || unsafe { kernel(libc::SYS_read, [fd as usize, to as usize, len, 0, 0, 0]) };
    if len == 0 {
        return blocking(plain); // does not wait, of a socket either
    }
    dispatch(fd, plain, |kind, about| match kind {
        // SAFETY: the caller's promise.
        _ if kind.is_socket() => Some(unsafe { receive(fd, to, len, 0, ptr::null_mut(), ptr::null_mut()) }),
        Kind::Pipe | Kind::Other => {
            let buffer = iovec { iov_base: to, iov_len: len };
            // SAFETY: the caller's promise, of one buffer.
            Some(unsafe { pollable::read(about, &raw const buffer, 1, plain) })
        }
        _ => None,
    })
}

/// `readv` on a goroutine, with the kernel's convention for errors.
///
/// # Safety
/// As for `readv`.
unsafe fn read_several(fd: c_int, buffers: *const iovec, n: c_int) -> isize {
    // SAFETY: the caller's promise.
    let plain = || unsafe { kernel(libc::SYS_readv, [fd as usize, buffers as usize, n as usize, 0, 0, 0]) };
    dispatch(fd, plain, |kind, about| match kind {
        _ if kind.is_socket() => {
            let mut message = message(buffers, n)?;
            // SAFETY: the caller's promise.
            Some(unsafe { receive_message(fd, &raw mut message, 0) })
        }
        // SAFETY: the caller's promise.
        Kind::Pipe | Kind::Other => Some(unsafe { pollable::read(about, buffers, n as usize, plain) }),
        _ => None,
    })
}

/// `write` on a goroutine, with the kernel's convention for errors.
///
/// # Safety
/// As for `write`.
unsafe fn write_one(fd: c_int, from: *const c_void, len: usize) -> isize {
    // SAFETY: the caller's promise.
    let plain = || unsafe { kernel(libc::SYS_write, [fd as usize, from as usize, len, 0, 0, 0]) };
    dispatch(fd, plain, |kind, about| match kind {
        // SAFETY: the caller's promise.
        _ if kind.is_socket() => Some(unsafe { transmit(fd, from, len, 0, ptr::null(), 0) }),
        Kind::Pipe | Kind::Other => {
            let buffer = iovec { iov_base: from.cast_mut(), iov_len: len };
            // SAFETY: the caller's promise, of one buffer.
            Some(unsafe { pollable::write(about, &raw const buffer, 1, true, plain) })
        }
        _ => None,
    })
}

/// `writev` on a goroutine, with the kernel's convention for errors.
///
/// # Safety
/// As for `writev`.
unsafe fn write_several(fd: c_int, buffers: *const iovec, n: c_int) -> isize {
    // SAFETY: the caller's promise.
    let plain = || unsafe { kernel(libc::SYS_writev, [fd as usize, buffers as usize, n as usize, 0, 0, 0]) };
    dispatch(fd, plain, |kind, about| match kind {
        _ if kind.is_socket() => {
            let message = message(buffers, n)?;
            // SAFETY: the caller's promise.
            Some(unsafe { transmit_message(fd, &raw const message, 0) })
        }
        // SAFETY: the caller's promise.
        Kind::Pipe | Kind::Other => Some(unsafe { pollable::write(about, buffers, n as usize, false, plain) }),
        _ => None,
    })
}

/// A message of these buffers and nothing else. None: so many that `readv` and `writev` refuse them, or none at all.
fn message(buffers: *const iovec, n: c_int) -> Option<msghdr> {
    if !(1..=libc::UIO_MAXIOV).contains(&n) {
        return None;
    }
    // SAFETY: all zero is a valid value.
    let mut message: msghdr = unsafe { mem::zeroed() };
    (message.msg_iov, message.msg_iovlen) = (buffers.cast_mut(), n as _);
    Some(message)
}

/// libc's `read`.
///
/// # Safety
/// As for that function.
#[no_mangle]
pub unsafe extern "C" fn read(fd: c_int, to: *mut c_void, len: usize) -> isize {
    // SAFETY: the caller's promise, passed on.
    unsafe {
        if may_park() {
            return as_libc(read_one(fd, to, len));
        }
        next!(c"read", fn(c_int, *mut c_void, usize) -> isize)(fd, to, len)
    }
}

/// `read` in programs compiled with `_FORTIFY_SOURCE`.
///
/// # Safety
/// As for `read`; `size` is that of the buffer.
#[no_mangle]
pub unsafe extern "C" fn __read_chk(fd: c_int, to: *mut c_void, len: usize, size: usize) -> isize {
    // SAFETY: the caller's promise, passed on. libc's function ends the process if the buffer is too small.
    unsafe {
        if len <= size {
            return read(fd, to, len);
        }
        next!(c"__read_chk", fn(c_int, *mut c_void, usize, usize) -> isize)(fd, to, len, size)
    }
}

/// libc's `readv`.
///
/// # Safety
/// As for that function.
#[no_mangle]
pub unsafe extern "C" fn readv(fd: c_int, buffers: *const iovec, n: c_int) -> isize {
    // SAFETY: the caller's promise, passed on.
    unsafe {
        if may_park() {
            return as_libc(read_several(fd, buffers, n));
        }
        next!(c"readv", fn(c_int, *const iovec, c_int) -> isize)(fd, buffers, n)
    }
}

/// libc's `write`.
///
/// # Safety
/// As for that function.
#[no_mangle]
pub unsafe extern "C" fn write(fd: c_int, from: *const c_void, len: usize) -> isize {
    // SAFETY: the caller's promise, passed on.
    unsafe {
        if may_park() {
            return as_libc(write_one(fd, from, len));
        }
        next!(c"write", fn(c_int, *const c_void, usize) -> isize)(fd, from, len)
    }
}

/// libc's `writev`.
///
/// # Safety
/// As for that function.
#[no_mangle]
pub unsafe extern "C" fn writev(fd: c_int, buffers: *const iovec, n: c_int) -> isize {
    // SAFETY: the caller's promise, passed on.
    unsafe {
        if may_park() {
            return as_libc(write_several(fd, buffers, n));
        }
        next!(c"writev", fn(c_int, *const iovec, c_int) -> isize)(fd, buffers, n)
    }
}
