//! Receiving.
//!
//! A blocking call takes what there is, and waits only while there is nothing. With `MSG_WAITALL` a stream is read until
//! everything has come, or its end, or an error. A short read from a TCP connection has emptied it, which spares the next
//! call a try. (Urgent data may end a read early too; the netpoller does not rely on emptiness once there was any.)

use crate::iov;
use crate::kind::{About, Kind};
use crate::next::next;
use crate::retry::{socket_call, Step, AGAIN};
use crate::switch::may_park;
use crate::sys::{as_libc, kernel};
use crate::Ours;
use core::{mem, ptr};
use gort_rt::hook::{self, Interest};
use libc::{c_int, c_void, msghdr, sockaddr, socklen_t};

/// What this file defines.
pub(crate) static HOOKS: &[Ours] = &[
    Ours::new(c"recv", recv as *const ()),
    Ours::new(c"__recv_chk", __recv_chk as *const ()),
    Ours::new(c"recvfrom", recvfrom as *const ()),
    Ours::new(c"__recvfrom_chk", __recvfrom_chk as *const ()),
    Ours::new(c"recvmsg", recvmsg as *const ()),
];

/// With these a call does not wait.
const AT_ONCE: c_int = libc::MSG_DONTWAIT | libc::MSG_ERRQUEUE | libc::MSG_OOB;
/// The kernel waits for all, and leaves all where it is: there is no going on after a part.
const ALL_IN_PLACE: c_int = libc::MSG_PEEK | libc::MSG_WAITALL;

/// Looks at what a try to receive gave; `done` bytes of `wanted` came before.
fn received(about: &mut About, result: isize, done: &mut usize, wanted: usize, flags: c_int) -> Step {
    match result {
        AGAIN => Step::Empty,
        ..0 => Step::Done(result),
        0 => Step::Done(*done as isize),
        _ => {
            *done += result as usize;
            if *done >= wanted || flags & libc::MSG_PEEK != 0 {
                Step::Done(*done as isize)
            } else if flags & libc::MSG_WAITALL != 0 && about.kind().is_stream() {
                Step::Partly
            } else if about.known_kind() == Some(Kind::Tcp) {
                Step::Drained(*done as isize)
            } else {
                Step::Done(*done as isize)
            }
        }
    }
}

/// `recvfrom` on a goroutine, with the kernel's convention for errors.
///
/// # Safety
/// As for `recvfrom`.
pub(crate) unsafe fn receive(
    fd: c_int,
    to: *mut c_void,
    len: usize,
    flags: c_int,
    from: *mut sockaddr,
    from_len: *mut socklen_t,
) -> isize {
    let call = |done: usize, flags: c_int| {
        let (from, from_len) = if done == 0 { (from, from_len) } else { (ptr::null_mut(), ptr::null_mut()) };
        let at = to.wrapping_byte_add(done) as usize;
        let args = [fd as usize, at, len - done, flags as usize, from as usize, from_len as usize];
        // SAFETY: the caller's promise; of the buffer only what is not filled yet.
        unsafe { kernel(libc::SYS_recvfrom, args) }
    };
    if flags & AT_ONCE != 0 {
        return call(0, flags);
    }
    let whole = flags & ALL_IN_PLACE == ALL_IN_PLACE;
    socket_call(fd, Interest::Read, whole, flags, call, |about, result, done| received(about, result, done, len, flags))
}

/// `recvmsg` on a goroutine, with the kernel's convention for errors.
///
/// # Safety
/// As for `recvmsg`.
pub(crate) unsafe fn receive_message(fd: c_int, message: *mut msghdr, flags: c_int) -> isize {
    let call = |done: usize, flags: c_int| {
        if done == 0 {
            // SAFETY: the caller's promise.
            return unsafe { kernel(libc::SYS_recvmsg, [fd as usize, message as usize, flags as usize, 0, 0, 0]) };
        }
        // SAFETY: the kernel has accepted the message, so its buffers are readable.
        let mut rest = unsafe { iov::after((*message).msg_iov, (*message).msg_iovlen, done) };
        // SAFETY: all zero is a valid value.
        let mut part: msghdr = unsafe { mem::zeroed() };
        (part.msg_iov, part.msg_iovlen) = (rest.buffers.as_mut_ptr(), rest.n as _);
        // SAFETY: the caller's promise, for a part of the buffers.
        unsafe { kernel(libc::SYS_recvmsg, [fd as usize, &raw mut part as usize, flags as usize, 0, 0, 0]) }
    };
    if flags & AT_ONCE != 0 {
        return call(0, flags);
    }
    let whole = flags & ALL_IN_PLACE == ALL_IN_PLACE;
    socket_call(fd, Interest::Read, whole, flags, call, |about, result, done| {
        if result <= 0 {
            return received(about, result, done, usize::MAX, flags);
        }
        // SAFETY: the kernel has accepted the message.
        let (wanted, control) =
            unsafe { (iov::length((*message).msg_iov, (*message).msg_iovlen), (*message).msg_controllen) };
        // What belongs to these bytes came with them: the kernel ends the call here, all or not.
        let flags = if control > 0 { flags & !libc::MSG_WAITALL } else { flags };
        received(about, result, done, wanted, flags)
    })
}

/// Tells the netpoller of the descriptors that a message has brought.
///
/// # Safety
/// `recvmsg` has filled `message`.
pub(crate) unsafe fn note_descriptors(message: *const msghdr) {
    // SAFETY: the headers are walked as the kernel wrote them, within `msg_controllen`.
    unsafe {
        if (*message).msg_controllen == 0 {
            return;
        }
        let mut header = libc::CMSG_FIRSTHDR(message);
        while let Some(&libc::cmsghdr { cmsg_len, cmsg_level, cmsg_type, .. }) = header.as_ref() {
            if cmsg_level == libc::SOL_SOCKET && cmsg_type == libc::SCM_RIGHTS {
                let data = libc::CMSG_DATA(header).cast::<c_int>();
                let n = (cmsg_len - libc::CMSG_LEN(0) as usize) / mem::size_of::<c_int>();
                (0..n).for_each(|i| hook::opened(data.add(i).read_unaligned()));
            }
            header = libc::CMSG_NXTHDR(message, header);
        }
    }
}

/// libc's `recv`.
///
/// # Safety
/// As for that function.
#[no_mangle]
pub unsafe extern "C" fn recv(fd: c_int, to: *mut c_void, len: usize, flags: c_int) -> isize {
    // SAFETY: the caller's promise, passed on.
    unsafe {
        if may_park() {
            return as_libc(receive(fd, to, len, flags, ptr::null_mut(), ptr::null_mut()));
        }
        next!(c"recv", fn(c_int, *mut c_void, usize, c_int) -> isize)(fd, to, len, flags)
    }
}

/// `recv` in programs compiled with `_FORTIFY_SOURCE`.
///
/// # Safety
/// As for `recv`; `size` is that of the buffer.
#[no_mangle]
pub unsafe extern "C" fn __recv_chk(fd: c_int, to: *mut c_void, len: usize, size: usize, flags: c_int) -> isize {
    // SAFETY: the caller's promise, passed on. libc's function ends the process if the buffer is too small.
    unsafe {
        if len <= size {
            return recv(fd, to, len, flags);
        }
        next!(c"__recv_chk", fn(c_int, *mut c_void, usize, usize, c_int) -> isize)(fd, to, len, size, flags)
    }
}

/// libc's `recvfrom`.
///
/// # Safety
/// As for that function.
#[no_mangle]
pub unsafe extern "C" fn recvfrom(
    fd: c_int,
    to: *mut c_void,
    len: usize,
    flags: c_int,
    from: *mut sockaddr,
    from_len: *mut socklen_t,
) -> isize {
    // SAFETY: the caller's promise, passed on.
    unsafe {
        if may_park() {
            return as_libc(receive(fd, to, len, flags, from, from_len));
        }
        let next = next!(c"recvfrom", fn(c_int, *mut c_void, usize, c_int, *mut sockaddr, *mut socklen_t) -> isize);
        next(fd, to, len, flags, from, from_len)
    }
}

/// `recvfrom` in programs compiled with `_FORTIFY_SOURCE`.
///
/// # Safety
/// As for `recvfrom`; `size` is that of the buffer.
#[no_mangle]
pub unsafe extern "C" fn __recvfrom_chk(
    fd: c_int,
    to: *mut c_void,
    len: usize,
    size: usize,
    flags: c_int,
    from: *mut sockaddr,
    from_len: *mut socklen_t,
) -> isize {
    // SAFETY: the caller's promise, passed on. libc's function ends the process if the buffer is too small.
    unsafe {
        if len <= size {
            return recvfrom(fd, to, len, flags, from, from_len);
        }
        let next = next!(
            c"__recvfrom_chk",
            fn(c_int, *mut c_void, usize, usize, c_int, *mut sockaddr, *mut socklen_t) -> isize
        );
        next(fd, to, len, size, flags, from, from_len)
    }
}

/// libc's `recvmsg`.
///
/// # Safety
/// As for that function.
#[no_mangle]
pub unsafe extern "C" fn recvmsg(fd: c_int, message: *mut msghdr, flags: c_int) -> isize {
    // SAFETY: the caller's promise, passed on; a message that was received is filled.
    unsafe {
        let result = if may_park() {
            as_libc(receive_message(fd, message, flags))
        } else {
            next!(c"recvmsg", fn(c_int, *mut msghdr, c_int) -> isize)(fd, message, flags)
        };
        if result >= 0 {
            note_descriptors(message);
        }
        result
    }
}
