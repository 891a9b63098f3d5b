//! Connecting.
//!
//! There is no asking whether `connect` would wait. On a stream in blocking mode the socket is therefore made non-blocking for the
//! time of that one call, which begins the connection and does not wait then. The socket is not connected yet, so hardly
//! anybody else has it; but who shares it and uses it in this moment meets the other mode. When the driver says that the connection
//! was made or has failed, the socket says how it went.

use super::known::Known;
use super::ready::{select_one, Ended, Waiter};
use super::system::{self, declared, fail};
use crate::switch::may_park;
use core::mem::transmute;
use core::ptr;
use gort_rt::hook::{Function, Interest};
use windows_sys::Win32::Foundation::GetLastError;
use windows_sys::Win32::Networking::WinSock::{SOCKADDR, SOCKET, SO_ERROR, WSAEWOULDBLOCK};

/// What this file stands in for.
pub(crate) static HOOKS: &[&Function] = &[&CONNECT];

static CONNECT: Function = Function::new(c"connect", connect as *const ());

/// `connect` on a goroutine.
fn reach(socket: SOCKET, call: impl Fn() -> i32) -> i32 {
    let known = match Known::of(socket) {
        Some(known) if known.is_nonblocking() => return call(),
        Some(known) if known.is_stream() => known,
        _ => return declared(call),
    };
    let mut waiter = match Waiter::begin(known, Interest::Write, || None) {
        Ok(waiter) => waiter,
        Err(Ended::InSystem) => return declared(call),
        Err(Ended::Error(error)) => return fail(error),
    };
    if !system::set_nonblocking(socket, true) {
        return declared(call);
    }
    let result = call();
    // SAFETY: no preconditions.
    let error = unsafe { GetLastError() } as i32;
    system::set_nonblocking(socket, false);
    if result == 0 {
        return 0;
    }
    if error != WSAEWOULDBLOCK {
        return fail(error);
    }
    if let Err(error) = waiter.until_ready(|_, _| false) {
        return fail(error);
    }
    // For one that could not be waited for. All others are ready.
    declared(|| select_one(socket, Interest::Write, ptr::null()));
    match system::option(socket, SO_ERROR) {
        None | Some(0) => 0,
        Some(error) => fail(error as i32),
    }
}

/// In place of `connect`.
unsafe extern "system" fn connect(socket: SOCKET, to: *const SOCKADDR, to_length: i32) -> i32 {
    type Real = unsafe extern "system" fn(SOCKET, *const SOCKADDR, i32) -> i32;
    // SAFETY: the type is that of the function with this name; the caller's promise, passed on.
    let call = || unsafe { transmute::<*const (), Real>(CONNECT.real())(socket, to, to_length) };
    if may_park() {
        reach(socket, call)
    } else {
        call()
    }
}
