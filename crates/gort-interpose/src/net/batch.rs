//! Several messages in one call.
//!
//! `recvmmsg` in blocking mode waits until all messages have come. Its time-out is looked at after each message only, so a
//! call that nothing reaches waits longer: that is the kernel's rule, and kept.

use super::receive::note_descriptors;
use super::send::transmit_message;
use crate::iov;
use crate::kind::About;
use crate::next::next;
use crate::retry::{in_parts, until_done, Step, AGAIN};
use crate::switch::may_park;
use crate::sys::{as_libc, kernel};
use crate::Ours;
use core::ptr;
use gort_rt::ffi::blocking;
use gort_rt::hook::{self, Interest};
use libc::{c_int, c_uint, mmsghdr, timespec};

/// What this file defines.
pub(crate) static HOOKS: &[Ours] =
    &[Ours::new(c"recvmmsg", recvmmsg as *const ()), Ours::new(c"sendmmsg", sendmmsg as *const ())];

const SECOND: u64 = 1_000_000_000;

/// `recvmmsg` on a goroutine, with the kernel's convention for errors.
///
/// # Safety
/// As for `recvmmsg`.
unsafe fn receive_all(fd: c_int, messages: *mut mmsghdr, n: c_uint, flags: c_int, timeout: *mut timespec) -> isize {
    let call = |done: usize, flags: c_int, timeout: *mut timespec| {
        let at = messages.wrapping_add(done) as usize;
        // SAFETY: the caller's promise; of the messages only those that have not come yet.
        unsafe { kernel(libc::SYS_recvmmsg, [fd as usize, at, n as usize - done, flags as usize, timeout as usize, 0]) }
    };
    if flags & (libc::MSG_DONTWAIT | libc::MSG_ERRQUEUE) != 0 {
        return call(0, flags, timeout);
    }
    // SAFETY: the caller's promise: null or readable.
    let time = match unsafe { timeout.as_ref() } {
        Some(time) => match (u64::try_from(time.tv_sec), u64::try_from(time.tv_nsec)) {
            (Ok(s), Ok(ns @ ..SECOND)) => Some(s.saturating_mul(SECOND).saturating_add(ns)),
            _ => return call(0, flags, timeout), // refused
        },
        None => None,
    };
    let about = if flags & libc::MSG_WAITALL != 0 { None } else { About::of(fd) };
    let Some(mut about) = about else { return blocking(|| call(0, flags, timeout)) };
    let deadline = time.map(|ns| hook::now().saturating_add(ns));
    let mut done = 0;
    let result =
        until_done(&mut about, Interest::Read, |_| match call(done, flags | libc::MSG_DONTWAIT, ptr::null_mut()) {
            AGAIN => Step::Empty,
            result @ ..0 => Step::Done(result),
            result => {
                done += result as usize;
                let late = || deadline.is_some_and(|when| hook::now() >= when);
                if done >= n as usize || flags & libc::MSG_WAITFORONE != 0 || result == 0 || late() {
                    Step::Done(done as isize)
                } else {
                    Step::Partly
                }
            }
        });
    let result = in_parts(result, done, || blocking(|| call(done, flags, timeout)));
    if let (Some(deadline), true) = (deadline, result > 0) {
        let left = deadline.saturating_sub(hook::now());
        // SAFETY: the caller's promise: writable, since it is not null.
        unsafe { *timeout = timespec { tv_sec: (left / SECOND) as i64, tv_nsec: (left % SECOND) as i64 } };
    }
    result
}

/// `sendmmsg` on a goroutine, with the kernel's convention for errors.
///
/// # Safety
/// As for `sendmmsg`.
unsafe fn transmit_all(fd: c_int, messages: *mut mmsghdr, n: c_uint, flags: c_int) -> isize {
    let n = n.min(libc::UIO_MAXIOV as c_uint) as usize; // as the kernel does
    let call = |done: usize, flags: c_int| {
        let at = messages.wrapping_add(done) as usize;
        // SAFETY: the caller's promise; of the messages only those that were not sent yet.
        unsafe { kernel(libc::SYS_sendmmsg, [fd as usize, at, n - done, flags as usize, 0, 0]) }
    };
    if flags & libc::MSG_DONTWAIT != 0 {
        return call(0, flags);
    }
    let Some(mut about) = About::of(fd) else { return blocking(|| call(0, flags)) };
    if about.kind().is_stream() {
        // SAFETY: the caller's promise.
        return unsafe { one_by_one(fd, messages, n, flags) };
    }
    let mut done = 0;
    let result = until_done(&mut about, Interest::Write, |_| match call(done, flags | libc::MSG_DONTWAIT) {
        AGAIN => Step::Empty,
        result @ ..0 => Step::Done(result),
        result => {
            done += result as usize;
            if done >= n || result == 0 {
                Step::Done(done as isize)
            } else {
                Step::Partly
            }
        }
    });
    in_parts(result, done, || blocking(|| call(done, flags)))
}

/// Of a stream each message has to be sent to its end before the next.
///
/// # Safety
/// As for `sendmmsg`.
unsafe fn one_by_one(fd: c_int, messages: *mut mmsghdr, n: usize, flags: c_int) -> isize {
    for i in 0..n {
        // SAFETY: the caller's promise, for one message; one that was sent has readable buffers.
        unsafe {
            let message = messages.add(i);
            let header = &raw const (*message).msg_hdr;
            let result = transmit_message(fd, header, flags);
            if result < 0 {
                return if i > 0 { i as isize } else { result };
            }
            (*message).msg_len = result as c_uint;
            if (result as usize) < iov::length((*header).msg_iov, (*header).msg_iovlen) {
                return i as isize + 1;
            }
        }
    }
    n as isize
}

/// libc's `recvmmsg`.
///
/// # Safety
/// As for that function.
#[no_mangle]
pub unsafe extern "C" fn recvmmsg(
    fd: c_int,
    messages: *mut mmsghdr,
    n: c_uint,
    flags: c_int,
    timeout: *mut timespec,
) -> c_int {
    // SAFETY: the caller's promise, passed on; messages that were received are filled.
    unsafe {
        let result = if may_park() {
            as_libc(receive_all(fd, messages, n, flags, timeout)) as c_int
        } else {
            let next = next!(c"recvmmsg", fn(c_int, *mut mmsghdr, c_uint, c_int, *mut timespec) -> c_int);
            next(fd, messages, n, flags, timeout)
        };
        for i in 0..usize::try_from(result).unwrap_or(0) {
            note_descriptors(&raw const (*messages.add(i)).msg_hdr);
        }
        result
    }
}

/// libc's `sendmmsg`.
///
/// # Safety
/// As for that function.
#[no_mangle]
pub unsafe extern "C" fn sendmmsg(fd: c_int, messages: *mut mmsghdr, n: c_uint, flags: c_int) -> c_int {
    // SAFETY: the caller's promise, passed on.
    unsafe {
        if may_park() {
            return as_libc(transmit_all(fd, messages, n, flags)) as c_int;
        }
        next!(c"sendmmsg", fn(c_int, *mut mmsghdr, c_uint, c_int) -> c_int)(fd, messages, n, flags)
    }
}
