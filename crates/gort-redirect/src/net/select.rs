//! `select` of one socket, to be written to or read from: what `TcpStream::connect_timeout` waits by. Other sets are the system's
//! to wait for, in a declared blocking call.

use super::known::Known;
use super::ready::{time_until, Waiter};
use super::system::declared;
use crate::switch::may_park;
use core::mem::transmute;
use core::ptr;
use gort_rt::hook::{self, Function, Interest};
use windows_sys::Win32::Networking::WinSock::{FD_SET, SOCKET, TIMEVAL};

/// What this file stands in for.
pub(crate) static HOOKS: &[&Function] = &[&SELECT];

static SELECT: Function = Function::new(c"select", select as *const ());

/// The moment at which a time is over, or None for a time that the system refuses.
fn deadline(time: &TIMEVAL) -> Option<u64> {
    let (seconds, microseconds) = (u64::try_from(time.tv_sec).ok()?, u64::try_from(time.tv_usec).ok()?);
    let time = seconds.saturating_mul(1_000_000).saturating_add(microseconds).saturating_mul(1000);
    Some(hook::now().saturating_add(time))
}

/// The only socket in a set, or None for several. 0 for an empty set.
///
/// # Safety
/// The set is null, or one.
unsafe fn only(set: *const FD_SET) -> Option<SOCKET> {
    // SAFETY: the caller's promise. (The set may be shorter than its type, or longer.)
    match unsafe { set.is_null() || (*set).fd_count == 0 } {
        true => Some(0),
        // SAFETY: as above.
        false => unsafe { ((*set).fd_count == 1).then(|| (&raw const (*set).fd_array).cast::<SOCKET>().read()) },
    }
}

/// What the sets have in common, if that is one socket that can be waited for.
fn one_wait(read: SOCKET, write: SOCKET, except: SOCKET) -> Option<(Known, Interest)> {
    let (socket, interest) = match (read, write) {
        (read, 0) if except == 0 => (read, Interest::Read),
        (0, write) if except == 0 || except == write => (write, Interest::Write),
        _ => return None,
    };
    Some((Known::of(socket)?, interest))
}

/// In place of `select`.
unsafe extern "system" fn select(
    n: i32,
    read: *mut FD_SET,
    write: *mut FD_SET,
    except: *mut FD_SET,
    time: *const TIMEVAL,
) -> i32 {
    type Real = unsafe extern "system" fn(i32, *mut FD_SET, *mut FD_SET, *mut FD_SET, *const TIMEVAL) -> i32;
    // SAFETY: the type is that of the function with this name; the caller's promise, passed on.
    let call = |time| unsafe { transmute::<*const (), Real>(SELECT.real())(n, read, write, except, time) };
    // SAFETY: the caller's promise: null or readable.
    let until = unsafe { time.as_ref() };
    if !may_park() || until.is_some_and(|time| (time.tv_sec, time.tv_usec) == (0, 0)) {
        return call(time);
    }
    // SAFETY: the caller's promise.
    let sockets = unsafe { (only(read), only(write), only(except)) };
    let wait = match sockets {
        (Some(read), Some(write), Some(except)) => one_wait(read, write, except),
        _ => None,
    };
    let until = until.map(deadline);
    let (Some((known, interest)), false) = (wait, until == Some(None)) else { return declared(|| call(time)) };
    let until = until.flatten();
    // The sets stay as they are; only the system's call, the last, changes them. It is made when the socket is ready, or the time
    // over, or the socket closed, which it will say.
    if let Ok(mut waiter) = Waiter::begin(known, interest, || until) {
        let _ = waiter.until_ready(|_, _| false);
    }
    let left = until.map(time_until);
    declared(|| call(left.as_ref().map_or(ptr::null(), ptr::from_ref)))
}
