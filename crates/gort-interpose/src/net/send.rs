//! Sending.
//!
//! A blocking call on a stream returns when all bytes are with the kernel. Where that takes several tries and a later one
//! fails, the call returns what was sent, and raises no signal: the next call is to find the error, as the kernel has it.

use crate::iov;
use crate::kind::About;
use crate::next::next;
use crate::retry::{socket_call, Step, AGAIN};
use crate::switch::may_park;
use crate::sys::{as_libc, kernel};
use crate::Ours;
use core::{mem, ptr};
use gort_rt::hook::Interest;
use libc::{c_int, c_void, msghdr, sockaddr, socklen_t};

/// What this file defines.
pub(crate) static HOOKS: &[Ours] = &[
    Ours::new(c"send", send as *const ()),
    Ours::new(c"sendto", sendto as *const ()),
    Ours::new(c"sendmsg", sendmsg as *const ()),
];

/// To be made by the kernel in one piece: the first connects, and of the second the kernel counts the calls.
const WHOLE: c_int = libc::MSG_FASTOPEN | libc::MSG_ZEROCOPY;

/// Looks at what a try to send gave; `done` bytes of `wanted` went before.
fn sent(about: &mut About, result: isize, done: &mut usize, wanted: usize) -> Step {
    match result {
        AGAIN => Step::Empty,
        ..0 => Step::Done(result),
        _ => {
            *done += result as usize;
            // A message is never sent in part: what was taken for a socket of messages is another one.
            let goes_on = *done < wanted && result > 0 && (about.kind().is_stream() || about.learn().is_stream());
            if goes_on {
                Step::Partly
            } else {
                Step::Done(*done as isize)
            }
        }
    }
}

/// Of a call in several parts only the first raises a signal.
fn flags_after(done: usize, flags: c_int) -> c_int {
    flags | if done > 0 { libc::MSG_NOSIGNAL } else { 0 }
}

/// `sendto` on a goroutine, with the kernel's convention for errors.
///
/// # Safety
/// As for `sendto`.
pub(crate) unsafe fn transmit(
    fd: c_int,
    from: *const c_void,
    len: usize,
    flags: c_int,
    to: *const sockaddr,
    to_len: socklen_t,
) -> isize {
    let call = |done: usize, flags: c_int| {
        let at = from.wrapping_byte_add(done) as usize;
        let flags = flags_after(done, flags) as usize;
        // SAFETY: the caller's promise; of the buffer only what is not sent yet.
        unsafe { kernel(libc::SYS_sendto, [fd as usize, at, len - done, flags, to as usize, to_len as usize]) }
    };
    if flags & libc::MSG_DONTWAIT != 0 {
        return call(0, flags);
    }
    socket_call(fd, Interest::Write, flags & WHOLE != 0, flags, call, |about, result, done| {
        sent(about, result, done, len.min(iov::MOST))
    })
}

/// `sendmsg` on a goroutine, with the kernel's convention for errors.
///
/// # Safety
/// As for `sendmsg`.
pub(crate) unsafe fn transmit_message(fd: c_int, message: *const msghdr, flags: c_int) -> isize {
    let call = |done: usize, flags: c_int| {
        let flags = flags_after(done, flags) as usize;
        if done == 0 {
            // SAFETY: the caller's promise.
            return unsafe { kernel(libc::SYS_sendmsg, [fd as usize, message as usize, flags, 0, 0, 0]) };
        }
        // SAFETY: the kernel has accepted the message, so its buffers are readable.
        let mut rest = unsafe { iov::after((*message).msg_iov, (*message).msg_iovlen, done) };
        // SAFETY: all zero is a valid value. What goes along with a message has gone with its first bytes.
        let mut part: msghdr = unsafe { mem::zeroed() };
        (part.msg_iov, part.msg_iovlen) = (rest.buffers.as_mut_ptr(), rest.n as _);
        // SAFETY: the caller's promise, for a part of the buffers.
        unsafe { kernel(libc::SYS_sendmsg, [fd as usize, &raw const part as usize, flags, 0, 0, 0]) }
    };
    if flags & libc::MSG_DONTWAIT != 0 {
        return call(0, flags);
    }
    socket_call(fd, Interest::Write, flags & WHOLE != 0, flags, call, |about, result, done| {
        // SAFETY: a message that was sent is one that the kernel has accepted.
        let wanted = if result > 0 { unsafe { iov::length((*message).msg_iov, (*message).msg_iovlen) } } else { 0 };
        sent(about, result, done, wanted)
    })
}

/// libc's `send`.
///
/// # Safety
/// As for that function.
#[no_mangle]
pub unsafe extern "C" fn send(fd: c_int, from: *const c_void, len: usize, flags: c_int) -> isize {
    // SAFETY: the caller's promise, passed on.
    unsafe {
        if may_park() {
            return as_libc(transmit(fd, from, len, flags, ptr::null(), 0));
        }
        next!(c"send", fn(c_int, *const c_void, usize, c_int) -> isize)(fd, from, len, flags)
    }
}

/// libc's `sendto`.
///
/// # Safety
/// As for that function.
#[no_mangle]
pub unsafe extern "C" fn sendto(
    fd: c_int,
    from: *const c_void,
    len: usize,
    flags: c_int,
    to: *const sockaddr,
    to_len: socklen_t,
) -> isize {
    // SAFETY: the caller's promise, passed on.
    unsafe {
        if may_park() {
            return as_libc(transmit(fd, from, len, flags, to, to_len));
        }
        let next = next!(c"sendto", fn(c_int, *const c_void, usize, c_int, *const sockaddr, socklen_t) -> isize);
        next(fd, from, len, flags, to, to_len)
    }
}

/// libc's `sendmsg`.
///
/// # Safety
/// As for that function.
#[no_mangle]
pub unsafe extern "C" fn sendmsg(fd: c_int, message: *const msghdr, flags: c_int) -> isize {
    // SAFETY: the caller's promise, passed on.
    unsafe {
        if may_park() {
            return as_libc(transmit_message(fd, message, flags));
        }
        next!(c"sendmsg", fn(c_int, *const msghdr, c_int) -> isize)(fd, message, flags)
    }
}
