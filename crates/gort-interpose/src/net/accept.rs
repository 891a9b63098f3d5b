//! Accepting.
//!
//! `accept4` cannot be asked not to wait once. So the kernel says first whether there is a connection, and the call follows
//! inside a declared blocking call, since somebody else may take the connection in between: a kernel thread is lost to that
//! race only, and until the next connection.
//!
//! A TCP listener even says how many there are. Who takes the only one needs no second look to know that nothing is left: what
//! came after the look is reported after it, and the look came after the netpoller's count of reports was sampled.

use crate::kind::{connections_at, is_nonblocking, ready, About, Kind};
use crate::next::next;
use crate::retry::{in_parts, until_accepted, Step};
use crate::switch::may_park;
use crate::sys::{as_libc, kernel};
use crate::Ours;
use gort_rt::ffi::blocking;
use gort_rt::hook;
use libc::{c_int, sockaddr, socklen_t};

/// What this file defines.
pub(crate) static HOOKS: &[Ours] =
    &[Ours::new(c"accept", accept as *const ()), Ours::new(c"accept4", accept4 as *const ())];

/// `accept4` on a goroutine, with the kernel's convention for errors.
///
/// # Safety
/// As for `accept4`.
unsafe fn take(fd: c_int, from: *mut sockaddr, from_len: *mut socklen_t, flags: c_int) -> isize {
    let args = [fd as usize, from as usize, from_len as usize, flags as usize, 0, 0];
    // SAFETY: the caller's promise.
    let call = || unsafe { kernel(libc::SYS_accept4, args) };
    let Some(mut about) = About::of(fd) else { return blocking(call) };
    if !about.surely_waits() && is_nonblocking(fd) {
        return call();
    }
    let result = until_accepted(&mut about, |about| {
        let connections = if about.kind() == Kind::Tcp { connections_at(fd) } else { 0 };
        if connections > 0 || ready(fd, libc::POLLIN) {
            match blocking(call) {
                taken @ 0.. if connections == 1 && about.listens() => Step::Drained(taken),
                other => Step::Done(other),
            }
        } else if about.listens() {
            Step::Empty
        } else {
            Step::Done(call()) // refused
        }
    });
    let result = in_parts(result, 0, || blocking(call));
    if result >= 0 {
        hook::opened(result as c_int);
        about.has_given(result as c_int, flags & libc::SOCK_NONBLOCK == 0);
    }
    result
}

/// libc's `accept4`.
///
/// # Safety
/// As for that function.
#[no_mangle]
pub unsafe extern "C" fn accept4(fd: c_int, from: *mut sockaddr, from_len: *mut socklen_t, flags: c_int) -> c_int {
    // SAFETY: the caller's promise, passed on.
    unsafe {
        if may_park() {
            return as_libc(take(fd, from, from_len, flags)) as c_int;
        }
        let next = next!(c"accept4", fn(c_int, *mut sockaddr, *mut socklen_t, c_int) -> c_int);
        made(next(fd, from, from_len, flags))
    }
}

/// libc's `accept`.
///
/// # Safety
/// As for that function.
#[no_mangle]
pub unsafe extern "C" fn accept(fd: c_int, from: *mut sockaddr, from_len: *mut socklen_t) -> c_int {
    // SAFETY: the caller's promise, passed on.
    unsafe {
        if may_park() {
            return as_libc(take(fd, from, from_len, 0)) as c_int;
        }
        made(next!(c"accept", fn(c_int, *mut sockaddr, *mut socklen_t) -> c_int)(fd, from, from_len))
    }
}

fn made(fd: c_int) -> c_int {
    if fd >= 0 {
        hook::opened(fd);
    }
    fd
}
