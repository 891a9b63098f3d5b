//! Connecting.
//!
//! There is no flag that keeps one `connect` from waiting. On a TCP socket in blocking mode `O_NONBLOCK` is therefore set for
//! the time of that one system call, which does not wait then. The socket is not connected yet, so hardly anybody else has
//! it; but who shares it and looks in this moment sees the flag. When the connection is made or has failed, `connect` is called
//! once more, in blocking mode: the kernel says how it went and brings the socket into the state that a blocking call leaves.
//!
//! Other sockets connect at once, or not before somebody accepts (`AF_UNIX`, when many wait already): the kernel's own
//! blocking call, handed off.

use crate::kind::{ready, status_flags, About, Kind};
use crate::next::next;
use crate::retry::{error, until_done, Step, AGAIN};
use crate::switch::may_park;
use crate::sys::{as_libc, kernel};
use crate::Ours;
use gort_rt::ffi::blocking;
use gort_rt::hook::Interest;
use libc::{c_int, sockaddr, socklen_t};

/// What this file defines.
pub(crate) static HOOKS: &[Ours] = &[Ours::new(c"connect", connect as *const ())];

const BEGUN: isize = error(libc::EINPROGRESS);
/// An earlier call has begun it.
const BEGUN_BEFORE: isize = error(libc::EALREADY);

/// `connect` on a goroutine, with the kernel's convention for errors.
///
/// # Safety
/// As for `connect`.
unsafe fn reach(fd: c_int, to: *const sockaddr, to_len: socklen_t) -> isize {
    // SAFETY: the caller's promise.
    let call = || unsafe { kernel(libc::SYS_connect, [fd as usize, to as usize, to_len as usize, 0, 0, 0]) };
    let Some(mut about) = About::of(fd) else { return blocking(call) };
    if about.kind() != Kind::Tcp {
        return blocking(call);
    }
    let flags = status_flags(fd);
    if flags < 0 || flags & libc::O_NONBLOCK as isize != 0 {
        return call();
    }
    let set_flags = |flags: isize| {
        // SAFETY: the call takes no pointers. That it may fail is without consequence: then `connect` waits.
        unsafe { kernel(libc::SYS_fcntl, [fd as usize, libc::F_SETFL as usize, flags as usize, 0, 0, 0]) };
    };
    set_flags(flags | libc::O_NONBLOCK as isize);
    let first = blocking(call);
    set_flags(flags);
    if first != BEGUN && first != BEGUN_BEFORE {
        return first;
    }
    let result = until_done(&mut about, Interest::Write, |_| match ready(fd, libc::POLLOUT) {
        true => Step::Done(blocking(call)),
        false => Step::Empty,
    });
    match result {
        None => blocking(call),
        Some(AGAIN) => first, // the socket's time-out: the connection is being made still
        Some(result) => result,
    }
}

/// libc's `connect`.
///
/// # Safety
/// As for that function.
#[no_mangle]
pub unsafe extern "C" fn connect(fd: c_int, to: *const sockaddr, to_len: socklen_t) -> c_int {
    // SAFETY: the caller's promise, passed on.
    unsafe {
        if may_park() {
            return as_libc(reach(fd, to, to_len)) as c_int;
        }
        next!(c"connect", fn(c_int, *const sockaddr, socklen_t) -> c_int)(fd, to, to_len)
    }
}
