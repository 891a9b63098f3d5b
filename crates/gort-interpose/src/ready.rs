//! `poll` and `epoll_wait`: waiting for descriptors by those who have loops of their own.
//!
//! On a goroutine these park until one of the descriptors may be ready, then ask the kernel without blocking: what they
//! return is always the kernel's word. An epoll descriptor is itself ready for reading when `epoll_wait` on it would return
//! something, so event loops (mio, tokio, libuv) run inside a goroutine, and only it waits.
//!
//! Handed off are calls that change the signal mask for their duration, since the mask belongs to the kernel thread, and
//! those with a descriptor that our own epoll refuses (none that `poll` would have to wait for, as a rule).
//!
//! A signal does not end the wait of a parked goroutine. One whose handler runs while the kernel is asked may, as ever.

use crate::attempts::{self, FEW};
use crate::hand_off::hand_off;
use crate::next::next;
use crate::sleep::deadline;
use crate::switch::may_park;
use crate::sys::{as_libc, poll_now, raw};
use crate::Ours;
use core::{iter, ptr};
use gort_rt::ffi::blocking;
use gort_rt::hook::{self, Interest, Waited};
use libc::{c_int, epoll_event, nfds_t, pollfd, sigset_t, timespec};

/// What this file defines.
pub(crate) static HOOKS: &[Ours] = &[
    Ours::new(c"poll", poll as *const ()),
    Ours::new(c"__poll", __poll as *const ()),
    Ours::new(c"__poll_chk", __poll_chk as *const ()),
    Ours::new(c"ppoll", ppoll as *const ()),
    Ours::new(c"__ppoll_chk", __ppoll_chk as *const ()),
    Ours::new(c"epoll_wait", epoll_wait as *const ()),
    Ours::new(c"epoll_pwait", epoll_pwait as *const ()),
    Ours::new(c"epoll_pwait2", epoll_pwait2 as *const ()),
];

const NS_PER_MS: u64 = 1_000_000;
const NS_PER_S: u64 = 1_000_000_000;

/// The moment at which a timeout in milliseconds ends; None: never.
fn after_ms(timeout: c_int) -> Option<u64> {
    u64::try_from(timeout).ok().map(|ms| hook::now() + ms * NS_PER_MS)
}

/// Milliseconds until a moment, rounded up; -1 for never.
fn ms_until(deadline: Option<u64>) -> c_int {
    deadline.map_or(-1, |when| {
        let left = when.saturating_sub(hook::now()).div_ceil(NS_PER_MS);
        c_int::try_from(left).unwrap_or(c_int::MAX)
    })
}

/// The time until a moment.
pub(crate) fn time_until(deadline: u64) -> timespec {
    let left = deadline.saturating_sub(hook::now());
    timespec { tv_sec: (left / NS_PER_S) as i64, tv_nsec: (left % NS_PER_S) as i64 }
}

/// What to wait for on behalf of one entry of `poll`. One that asks for nothing still wants errors, which come to readers too.
fn wanted(entry: pollfd) -> impl Iterator<Item = (c_int, Interest)> + Clone {
    let writes = entry.events & (libc::POLLOUT | libc::POLLWRNORM | libc::POLLWRBAND) != 0;
    let reads = !writes || entry.events & !(libc::POLLOUT | libc::POLLWRNORM | libc::POLLWRBAND) != 0;
    let read = (reads && entry.fd >= 0).then_some((entry.fd, Interest::Read));
    let write = (writes && entry.fd >= 0).then_some((entry.fd, Interest::Write));
    read.into_iter().chain(write)
}

/// `poll` on a goroutine; None: hand it off.
///
/// # Safety
/// As for `poll`.
unsafe fn parked_poll(fds: *mut pollfd, n: nfds_t, deadline: Option<u64>) -> Option<c_int> {
    let probe = || {
        // SAFETY: the caller's promise, passed on.
        let answer = as_libc(unsafe { poll_now(fds, n) }) as c_int;
        (answer != 0).then_some(answer)
    };
    if n == 0 {
        return attempts::wait(iter::empty(), deadline, || None);
    }
    if fds.is_null() {
        return None; // for the kernel to refuse
    }
    if n as usize > FEW {
        // Before so many entries are looked at, twice: are they ready, or more than the kernel takes?
        let answer = probe();
        if answer.is_some() {
            return answer;
        }
    }
    // SAFETY: the caller passes `n` entries. (The kernel writes to them, so there is never a reference.)
    let entries = (0..n as usize).flat_map(|i| wanted(unsafe { fds.add(i).read() }));
    attempts::wait(entries, deadline, probe)
}

/// libc's `poll`.
///
/// # Safety
/// As for that function.
#[no_mangle]
pub unsafe extern "C" fn poll(fds: *mut pollfd, n: nfds_t, timeout: c_int) -> c_int {
    let next = next!(c"poll", fn(*mut pollfd, nfds_t, c_int) -> c_int);
    // SAFETY: the caller's promise, passed on.
    unsafe {
        if timeout == 0 || !may_park() {
            return next(fds, n, timeout);
        }
        let deadline = after_ms(timeout);
        match parked_poll(fds, n, deadline) {
            Some(answer) => answer,
            None => blocking(|| next(fds, n, ms_until(deadline))),
        }
    }
}

/// libc's `__poll`, another name of `poll`.
///
/// # Safety
/// As for that function.
#[no_mangle]
pub unsafe extern "C" fn __poll(fds: *mut pollfd, n: nfds_t, timeout: c_int) -> c_int {
    // SAFETY: the caller's promise, passed on.
    unsafe { poll(fds, n, timeout) }
}

/// libc's `__poll_chk`: `poll`, where the compiler knows that `fds` has `room` bytes.
///
/// # Safety
/// As for `poll`.
#[no_mangle]
pub unsafe extern "C" fn __poll_chk(fds: *mut pollfd, n: nfds_t, timeout: c_int, room: usize) -> c_int {
    let next = next!(c"__poll_chk", fn(*mut pollfd, nfds_t, c_int, usize) -> c_int);
    // SAFETY: the caller's promise, passed on. libc's function ends the process if there is not room enough.
    unsafe {
        if (room / size_of::<pollfd>()) < n as usize {
            return next(fds, n, timeout, room);
        }
        poll(fds, n, timeout)
    }
}

/// libc's `ppoll`.
///
/// # Safety
/// As for that function.
#[no_mangle]
pub unsafe extern "C" fn ppoll(fds: *mut pollfd, n: nfds_t, timeout: *const timespec, mask: *const sigset_t) -> c_int {
    let next = next!(c"ppoll", fn(*mut pollfd, nfds_t, *const timespec, *const sigset_t) -> c_int);
    // SAFETY: the caller's promise, passed on.
    unsafe {
        if !mask.is_null() || !may_park() {
            return hand_off(|| next(fds, n, timeout, mask));
        }
        let Ok(when) = moment(timeout) else { return next(fds, n, timeout, mask) };
        match parked_poll(fds, n, when) {
            Some(answer) => answer,
            None => {
                let left = when.map(time_until);
                blocking(|| next(fds, n, left.as_ref().map_or(ptr::null(), ptr::from_ref), mask))
            }
        }
    }
}

/// The moment at which a timeout ends; None: never. The error is for a time that the kernel refuses.
///
/// # Safety
/// `timeout` is null or readable.
pub(crate) unsafe fn moment(timeout: *const timespec) -> Result<Option<u64>, ()> {
    // SAFETY: the caller's promise.
    match unsafe { timeout.as_ref() } {
        None => Ok(None),
        Some(time) => deadline(libc::CLOCK_MONOTONIC, false, *time).map(Some).ok_or(()),
    }
}

/// libc's `__ppoll_chk`: `ppoll`, where the compiler knows that `fds` has `room` bytes.
///
/// # Safety
/// As for `ppoll`.
#[no_mangle]
pub unsafe extern "C" fn __ppoll_chk(
    fds: *mut pollfd,
    n: nfds_t,
    timeout: *const timespec,
    mask: *const sigset_t,
    room: usize,
) -> c_int {
    let next = next!(c"__ppoll_chk", fn(*mut pollfd, nfds_t, *const timespec, *const sigset_t, usize) -> c_int);
    // SAFETY: the caller's promise, passed on. libc's function ends the process if there is not room enough.
    unsafe {
        if (room / size_of::<pollfd>()) < n as usize {
            return next(fds, n, timeout, mask, room);
        }
        ppoll(fds, n, timeout, mask)
    }
}

/// `epoll_wait` on a goroutine; None: hand it off.
///
/// Several goroutines may wait on one set. An event is then for one of them, who lets the next look when it has taken what it
/// wants, as the kernel does with threads.
///
/// # Safety
/// As for `epoll_wait`.
unsafe fn parked_epoll(set: c_int, events: *mut epoll_event, n: c_int, deadline: Option<u64>) -> Option<c_int> {
    let mut attempt = hook::descriptor(set)?.attempt(Interest::Read);
    let mut late = false;
    loop {
        let args = [set as usize, events as usize, n as usize, 0, 0, 0]; // no time, no mask
                                                                         // SAFETY: the caller's promise, passed on.
        let answer = unsafe { raw(libc::SYS_epoll_pwait, args) } as c_int;
        if answer != 0 || late {
            attempt.finish();
            return Some(answer);
        }
        late = match attempt.wait(deadline) {
            Waited::Unpollable => return None,
            Waited::TimedOut => true,
            Waited::Ready | Waited::Closed => deadline.is_some_and(|when| hook::now() >= when),
        };
    }
}

/// libc's `epoll_wait`.
///
/// # Safety
/// As for that function.
#[no_mangle]
pub unsafe extern "C" fn epoll_wait(set: c_int, events: *mut epoll_event, n: c_int, timeout: c_int) -> c_int {
    let next = next!(c"epoll_wait", fn(c_int, *mut epoll_event, c_int, c_int) -> c_int);
    // SAFETY: the caller's promise, passed on.
    unsafe {
        if timeout == 0 || !may_park() {
            return next(set, events, n, timeout);
        }
        let deadline = after_ms(timeout);
        match parked_epoll(set, events, n, deadline) {
            Some(answer) => answer,
            None => blocking(|| next(set, events, n, ms_until(deadline))),
        }
    }
}

/// libc's `epoll_pwait`.
///
/// # Safety
/// As for that function.
#[no_mangle]
pub unsafe extern "C" fn epoll_pwait(
    set: c_int,
    events: *mut epoll_event,
    n: c_int,
    timeout: c_int,
    mask: *const sigset_t,
) -> c_int {
    let next = next!(c"epoll_pwait", fn(c_int, *mut epoll_event, c_int, c_int, *const sigset_t) -> c_int);
    // SAFETY: the caller's promise, passed on; without a mask it is `epoll_wait`.
    unsafe {
        if mask.is_null() && may_park() {
            return epoll_wait(set, events, n, timeout);
        }
        hand_off(|| next(set, events, n, timeout, mask))
    }
}

/// libc's `epoll_pwait2`. Makes the system call itself, so that it is there with a libc that lacks it (before 2.35).
///
/// # Safety
/// As for that function.
#[no_mangle]
pub unsafe extern "C" fn epoll_pwait2(
    set: c_int,
    events: *mut epoll_event,
    n: c_int,
    timeout: *const timespec,
    mask: *const sigset_t,
) -> c_int {
    /// Bytes in the kernel's set of signals.
    const MASK: usize = 8;
    let call = |timeout: *const timespec| {
        let args = [set as usize, events as usize, n as usize, timeout as usize, mask as usize, MASK];
        // SAFETY: the caller's promise, passed on.
        unsafe { raw(libc::SYS_epoll_pwait2, args) as c_int }
    };
    if !mask.is_null() || !may_park() {
        return hand_off(|| call(timeout));
    }
    // SAFETY: the caller's promise, passed on.
    unsafe {
        let Ok(when) = moment(timeout) else { return call(timeout) };
        match parked_epoll(set, events, n, when) {
            Some(answer) => answer,
            None => {
                let left = when.map(time_until);
                blocking(|| call(left.as_ref().map_or(ptr::null(), ptr::from_ref)))
            }
        }
    }
}
