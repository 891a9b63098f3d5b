//! Sockets that are made, duplicated and closed.

use super::duplicates;
use super::known::{self, Known};
use super::system::declared;
use crate::switch::may_park;
use core::mem::transmute;
use gort_rt::hook::Function;
use windows_sys::Win32::Networking::WinSock::{INVALID_SOCKET, SOCKET, SOCK_STREAM, WSAPROTOCOL_INFOW};

/// What this file stands in for.
pub(crate) static HOOKS: &[&Function] = &[&SOCKET_, &WSA_SOCKET, &DUPLICATE, &CLOSE];

static SOCKET_: Function = Function::new(c"socket", socket as *const ());
static WSA_SOCKET: Function = Function::new(c"WSASocketW", wsa_socket as *const ());
static DUPLICATE: Function = Function::new(c"WSADuplicateSocketW", duplicate as *const ());
static CLOSE: Function = Function::new(c"closesocket", close as *const ());

/// In place of `socket`.
unsafe extern "system" fn socket(family: i32, kind: i32, protocol: i32) -> SOCKET {
    type Real = unsafe extern "system" fn(i32, i32, i32) -> SOCKET;
    // SAFETY: the type is that of the function with this name; the caller's promise, passed on.
    let made = unsafe { transmute::<*const (), Real>(SOCKET_.real())(family, kind, protocol) };
    if made != INVALID_SOCKET {
        Known::made(made, kind == SOCK_STREAM, 0);
    }
    made
}

/// In place of `WSASocketW`.
unsafe extern "system" fn wsa_socket(
    family: i32,
    kind: i32,
    protocol: i32,
    description: *const WSAPROTOCOL_INFOW,
    group: u32,
    flags: u32,
) -> SOCKET {
    type Real = unsafe extern "system" fn(i32, i32, i32, *const WSAPROTOCOL_INFOW, u32, u32) -> SOCKET;
    // Before the socket is made: then the handle in the description may be another's.
    // SAFETY: the caller's promise: null or readable.
    let of = unsafe { description.as_ref() };
    let number = of.and_then(duplicates::take);
    // SAFETY: the type is that of the function with this name; the caller's promise, passed on.
    let made =
        unsafe { transmute::<*const (), Real>(WSA_SOCKET.real())(family, kind, protocol, description, group, flags) };
    if made == INVALID_SOCKET {
        duplicates::leave(number.unwrap_or(0));
        return made;
    }
    match (of, number) {
        (None, _) => Known::made(made, kind == SOCK_STREAM, 0),
        (Some(of), Some(number)) => Known::duplicated(made, of.iSocketType == SOCK_STREAM, number),
        // Of another process's, or of another module's.
        (Some(_), None) => known::begin_unknown(made),
    }
    made
}

/// In place of `WSADuplicateSocketW`.
unsafe extern "system" fn duplicate(socket: SOCKET, process: u32, description: *mut WSAPROTOCOL_INFOW) -> i32 {
    type Real = unsafe extern "system" fn(SOCKET, u32, *mut WSAPROTOCOL_INFOW) -> i32;
    // SAFETY: the type is that of the function with this name; the caller's promise, passed on.
    let result = unsafe { transmute::<*const (), Real>(DUPLICATE.real())(socket, process, description) };
    if let (0, Some(known)) = (result, Known::of(socket)) {
        if process != std::process::id() {
            known.forget(); // who knows what mode the other process will put it in
        } else if let Some(number) = known.share() {
            // SAFETY: the system has just filled it in.
            duplicates::note(unsafe { &*description }, number);
        }
    }
    result
}

/// In place of `closesocket`, which may wait: a socket lingers.
unsafe extern "system" fn close(socket: SOCKET) -> i32 {
    type Real = unsafe extern "system" fn(SOCKET) -> i32;
    known::end(socket);
    // SAFETY: the type is that of the function with this name; the caller's promise, passed on.
    let call = || unsafe { transmute::<*const (), Real>(CLOSE.real())(socket) };
    if may_park() {
        declared(call)
    } else {
        call()
    }
}
