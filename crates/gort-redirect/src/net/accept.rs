//! Accepting.

use super::known::{self, Known};
use super::ready::{Ended, Waiter};
use super::system::{self, declared, fail};
use crate::switch::may_park;
use core::mem::transmute;
use gort_rt::hook::{Function, Interest};
use windows_sys::Win32::Foundation::GetLastError;
use windows_sys::Win32::Networking::WinSock::{INVALID_SOCKET, SOCKADDR, SOCKET, SO_ACCEPTCONN, WSAEWOULDBLOCK};

/// What this file stands in for.
pub(crate) static HOOKS: &[&Function] = &[&ACCEPT];

static ACCEPT: Function = Function::new(c"accept", accept as *const ());

/// Whether a call fails at once: the socket is in non-blocking mode, or takes no connections.
fn refuses(known: &Known, _: Interest) -> bool {
    known.is_nonblocking() || system::option(known.handle, SO_ACCEPTCONN) == Some(0)
}

fn would_block() -> bool {
    // SAFETY: no preconditions.
    unsafe { GetLastError() == WSAEWOULDBLOCK as u32 }
}

/// `accept` on a goroutine.
fn take(known: Option<Known>, call: impl Fn() -> SOCKET) -> SOCKET {
    let Some(known) = known else { return declared(call) };
    if known.is_nonblocking() {
        return call();
    }
    let error = match Waiter::begin(known, Interest::Read, || None) {
        Ok(mut waiter) => loop {
            match waiter.until_ready(refuses) {
                Ok(()) => match declared(&call) {
                    // What Wine says to the slower one of two, where Windows goes on to wait.
                    INVALID_SOCKET if would_block() && !known.is_nonblocking() => {}
                    taken => return taken,
                },
                Err(error) => break error,
            }
        },
        Err(Ended::InSystem) => return declared(call),
        Err(Ended::Error(error)) => error,
    };
    fail(error);
    INVALID_SOCKET
}

/// In place of `accept`.
unsafe extern "system" fn accept(listener: SOCKET, from: *mut SOCKADDR, from_length: *mut i32) -> SOCKET {
    type Real = unsafe extern "system" fn(SOCKET, *mut SOCKADDR, *mut i32) -> SOCKET;
    // SAFETY: the type is that of the function with this name; the caller's promise, passed on.
    let call = || unsafe { transmute::<*const (), Real>(ACCEPT.real())(listener, from, from_length) };
    let known = Known::of(listener);
    let socket = if may_park() { take(known, call) } else { call() };
    if socket != INVALID_SOCKET {
        match known {
            // Its mode is the listener's.
            Some(known) => Known::made(socket, true, known.mode() & known::NONBLOCKING),
            None => known::begin_unknown(socket),
        }
    }
    socket
}
