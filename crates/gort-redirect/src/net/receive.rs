//! Receiving.

use super::ready::when_ready;
use super::system::declared;
use crate::switch::may_park;
use core::mem::transmute;
use gort_rt::hook::{Function, Interest};
use windows_sys::Win32::Networking::WinSock::{LPWSAOVERLAPPED_COMPLETION_ROUTINE, MSG_PEEK, SOCKADDR, SOCKET, WSABUF};
use windows_sys::Win32::System::IO::OVERLAPPED;

/// What this file stands in for.
pub(crate) static HOOKS: &[&Function] = &[&RECV, &RECV_FROM, &WSA_RECV, &WSA_RECV_FROM];

static RECV: Function = Function::new(c"recv", recv as *const ());
static RECV_FROM: Function = Function::new(c"recvfrom", recv_from as *const ());
static WSA_RECV: Function = Function::new(c"WSARecv", wsa_recv as *const ());
static WSA_RECV_FROM: Function = Function::new(c"WSARecvFrom", wsa_recv_from as *const ());

/// Makes a call that receives.
fn receive(socket: SOCKET, flags: i32, call: impl Fn() -> i32) -> i32 {
    if !may_park() {
        call()
    } else if flags & !MSG_PEEK != 0 {
        // Urgent data is not what the socket is asked about; all that was asked for may come in several events.
        declared(call)
    } else {
        when_ready(socket, Interest::Read, call)
    }
}

/// In place of `recv`.
unsafe extern "system" fn recv(socket: SOCKET, buffer: *mut u8, length: i32, flags: i32) -> i32 {
    type Real = unsafe extern "system" fn(SOCKET, *mut u8, i32, i32) -> i32;
    // SAFETY: the type is that of the function with this name; the caller's promise, passed on.
    receive(socket, flags, || unsafe { transmute::<*const (), Real>(RECV.real())(socket, buffer, length, flags) })
}

/// In place of `recvfrom`.
unsafe extern "system" fn recv_from(
    socket: SOCKET,
    buffer: *mut u8,
    length: i32,
    flags: i32,
    from: *mut SOCKADDR,
    from_length: *mut i32,
) -> i32 {
    type Real = unsafe extern "system" fn(SOCKET, *mut u8, i32, i32, *mut SOCKADDR, *mut i32) -> i32;
    // SAFETY: the type is that of the function with this name; the caller's promise, passed on.
    receive(socket, flags, || unsafe {
        transmute::<*const (), Real>(RECV_FROM.real())(socket, buffer, length, flags, from, from_length)
    })
}

/// The flags that a call is given; null is for the call itself to refuse.
///
/// # Safety
/// They can be read, or are null.
unsafe fn given(flags: *const u32) -> i32 {
    // SAFETY: the caller's promise.
    unsafe { flags.as_ref() }.map_or(0, |&flags| flags as i32)
}

/// In place of `WSARecv`.
unsafe extern "system" fn wsa_recv(
    socket: SOCKET,
    buffers: *const WSABUF,
    count: u32,
    received: *mut u32,
    flags: *mut u32,
    overlapped: *mut OVERLAPPED,
    routine: LPWSAOVERLAPPED_COMPLETION_ROUTINE,
) -> i32 {
    type Real = unsafe extern "system" fn(
        SOCKET,
        *const WSABUF,
        u32,
        *mut u32,
        *mut u32,
        *mut OVERLAPPED,
        LPWSAOVERLAPPED_COMPLETION_ROUTINE,
    ) -> i32;
    // SAFETY: the type is that of the function with this name; the caller's promise, passed on.
    let call = || unsafe {
        transmute::<*const (), Real>(WSA_RECV.real())(socket, buffers, count, received, flags, overlapped, routine)
    };
    if !overlapped.is_null() {
        return call();
    }
    // SAFETY: the caller's promise.
    receive(socket, unsafe { given(flags) }, call)
}

/// In place of `WSARecvFrom`.
#[allow(clippy::too_many_arguments)] // the system's
unsafe extern "system" fn wsa_recv_from(
    socket: SOCKET,
    buffers: *const WSABUF,
    count: u32,
    received: *mut u32,
    flags: *mut u32,
    from: *mut SOCKADDR,
    from_length: *mut i32,
    overlapped: *mut OVERLAPPED,
    routine: LPWSAOVERLAPPED_COMPLETION_ROUTINE,
) -> i32 {
    type Real = unsafe extern "system" fn(
        SOCKET,
        *const WSABUF,
        u32,
        *mut u32,
        *mut u32,
        *mut SOCKADDR,
        *mut i32,
        *mut OVERLAPPED,
        LPWSAOVERLAPPED_COMPLETION_ROUTINE,
    ) -> i32;
    // SAFETY: the type is that of the function with this name; the caller's promise, passed on.
    let call = || unsafe {
        let real = transmute::<*const (), Real>(WSA_RECV_FROM.real());
        real(socket, buffers, count, received, flags, from, from_length, overlapped, routine)
    };
    if !overlapped.is_null() {
        return call();
    }
    // SAFETY: the caller's promise.
    receive(socket, unsafe { given(flags) }, call)
}
