//! Descriptors: what makes them, closes them, and changes their mode.
//!
//! The netpoller keeps what it knows by number. Whatever gives a number to another file tells it, on a goroutine or not: of a
//! new number nothing is known; who waits for one that is closed is woken, and told so.
//!
//! | File | Subject |
//! |---|---|
//! | this one | what makes descriptors, and does not wait |
//! | `open` | opening files, which may wait |
//! | `close` | closing, and giving a number to another file |
//! | `mode` | `fcntl`, `ioctl` |

pub(crate) mod close;
pub(crate) mod mode;
pub(crate) mod open;

use crate::hand_off::hooks;
use crate::kind::{self, Kind};
use crate::next::next;
use crate::switch::may_park;
use crate::sys::raw;
use crate::Ours;
use gort_rt::hook;
use libc::{c_char, c_int, c_uint, sigset_t};

hooks! { HOOKS, made:
    c"dup" dup(fd: c_int) -> c_int;
    c"eventfd" eventfd(start: c_uint, flags: c_int) -> c_int;
    c"timerfd_create" timerfd_create(clock: c_int, flags: c_int) -> c_int;
    c"epoll_create" epoll_create(size: c_int) -> c_int;
    c"epoll_create1" epoll_create1(flags: c_int) -> c_int;
    c"inotify_init" inotify_init() -> c_int;
    c"inotify_init1" inotify_init1(flags: c_int) -> c_int;
    c"signalfd" signalfd(fd: c_int, set: *const sigset_t, flags: c_int) -> c_int;
}

/// What this file defines beside [`HOOKS`].
pub(crate) static OTHERS: &[Ours] = &[
    Ours::new(c"socket", socket as *const ()),
    Ours::new(c"socketpair", socketpair as *const ()),
    Ours::new(c"pipe", pipe as *const ()),
    Ours::new(c"pipe2", pipe2 as *const ()),
    Ours::new(c"memfd_create", memfd_create as *const ()),
    Ours::new(c"pidfd_open", pidfd_open as *const ()),
];

/// Makes a descriptor by `make` and tells the netpoller of its number.
#[inline]
fn made(make: impl FnOnce() -> c_int) -> c_int {
    let fd = make();
    if fd >= 0 {
        hook::opened(fd);
    }
    fd
}

/// Tells the netpoller of a number and, as only goroutines profit from it, of its kind on a goroutine.
fn made_kind(fd: c_int, kind: Kind) {
    hook::opened(fd);
    if may_park() {
        kind::made(fd, kind);
    }
}

/// Tells the netpoller of two numbers.
///
/// # Safety
/// If `result` is 0, two numbers are readable at `pair`.
unsafe fn made_pair(result: c_int, pair: *const c_int, kind: Kind) -> c_int {
    if result == 0 {
        // SAFETY: the caller's promise.
        unsafe { [*pair, *pair.add(1)] }.into_iter().for_each(|fd| made_kind(fd, kind));
    }
    result
}

/// libc's `socket`.
///
/// # Safety
/// As for that function.
#[no_mangle]
pub unsafe extern "C" fn socket(domain: c_int, kind: c_int, protocol: c_int) -> c_int {
    // SAFETY: the caller's promise, passed on.
    let fd = unsafe { next!(c"socket", fn(c_int, c_int, c_int) -> c_int)(domain, kind, protocol) };
    if fd >= 0 {
        made_kind(fd, Kind::of_socket(domain, kind, protocol));
    }
    fd
}

/// libc's `socketpair`.
///
/// # Safety
/// As for that function.
#[no_mangle]
pub unsafe extern "C" fn socketpair(domain: c_int, kind: c_int, protocol: c_int, pair: *mut c_int) -> c_int {
    // SAFETY: the caller's promise, passed on.
    unsafe {
        let next = next!(c"socketpair", fn(c_int, c_int, c_int, *mut c_int) -> c_int);
        made_pair(next(domain, kind, protocol, pair), pair, Kind::of_socket(domain, kind, protocol))
    }
}

/// libc's `pipe`.
///
/// # Safety
/// As for that function.
#[no_mangle]
pub unsafe extern "C" fn pipe(pair: *mut c_int) -> c_int {
    // SAFETY: the caller's promise, passed on.
    unsafe { made_pair(next!(c"pipe", fn(*mut c_int) -> c_int)(pair), pair, Kind::Pipe) }
}

/// libc's `pipe2`.
///
/// # Safety
/// As for that function.
#[no_mangle]
pub unsafe extern "C" fn pipe2(pair: *mut c_int, flags: c_int) -> c_int {
    // SAFETY: the caller's promise, passed on.
    unsafe { made_pair(next!(c"pipe2", fn(*mut c_int, c_int) -> c_int)(pair, flags), pair, Kind::Pipe) }
}

// The next two make the system call themselves: not every libc that programs run with has them, and callers who look for
// them find ours.

/// libc's `memfd_create`.
///
/// # Safety
/// As for that function.
#[no_mangle]
pub unsafe extern "C" fn memfd_create(name: *const c_char, flags: c_uint) -> c_int {
    let args = [name as usize, flags as usize, 0, 0, 0, 0];
    // SAFETY: the caller's promise, passed on.
    made(|| unsafe { raw(libc::SYS_memfd_create, args) as c_int })
}

/// libc's `pidfd_open`.
///
/// # Safety
/// As for that function.
#[no_mangle]
pub unsafe extern "C" fn pidfd_open(pid: libc::pid_t, flags: c_uint) -> c_int {
    let args = [pid as usize, flags as usize, 0, 0, 0, 0];
    // SAFETY: the caller's promise, passed on.
    made(|| unsafe { raw(libc::SYS_pidfd_open, args) as c_int })
}
