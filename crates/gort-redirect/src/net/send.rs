//! Sending.
//!
//! A blocking call on a stream takes all that it is given. Windows does so at once if there is any room; where only what fits is
//! taken, as under Wine, the call would wait in the system for the rest. So much to send is sent in pieces that fit as a rule
//! where a socket says that it can be written to. A time-out, or an error, after the first piece is for the next call to find:
//! what was sent is the result.

use super::known::Known;
use super::ready::{fails_at_once, own_deadline, when_ready, Ended, Waiter};
use super::system::{self, declared, fail};
use crate::switch::may_park;
use core::mem::transmute;
use gort_rt::hook::{Function, Interest};
use windows_sys::Win32::Networking::WinSock::{LPWSAOVERLAPPED_COMPLETION_ROUTINE, SOCKADDR, SOCKET, WSABUF};
use windows_sys::Win32::System::IO::OVERLAPPED;

/// What this file stands in for.
pub(crate) static HOOKS: &[&Function] = &[&SEND, &SEND_TO, &WSA_SEND, &WSA_SEND_TO];

static SEND: Function = Function::new(c"send", send as *const ());
static SEND_TO: Function = Function::new(c"sendto", send_to as *const ());
static WSA_SEND: Function = Function::new(c"WSASend", wsa_send as *const ());
static WSA_SEND_TO: Function = Function::new(c"WSASendTo", wsa_send_to as *const ());

/// Bytes of a piece.
const PIECE: usize = 16 << 10;

/// Sends `buffers` in a stream, piece by piece. How many bytes were sent; negative: none, for the reason in the last error.
///
/// # Safety
/// The buffers can be read.
unsafe fn in_pieces(known: Known, buffers: &[WSABUF]) -> i64 {
    let socket = known.handle;
    let mut waiter = match Waiter::begin(known, Interest::Write, || own_deadline(socket, Interest::Write)) {
        Ok(waiter) => Some(waiter),
        Err(Ended::Error(error)) => return i64::from(fail(error)),
        Err(Ended::InSystem) => None,
    };
    let mut done = 0;
    for buffer in buffers {
        let mut sent = 0;
        while sent < buffer.len as usize {
            if let Some(Err(error)) = waiter.as_mut().map(|waiter| waiter.until_ready(fails_at_once)) {
                return if done > 0 { done } else { i64::from(fail(error)) };
            }
            let length = (buffer.len as usize - sent).min(PIECE);
            // SAFETY: the caller's promise, for a part of this buffer.
            match declared(|| unsafe { system::send(socket, buffer.buf.add(sent), length as i32, 0) }) {
                ..=0 if done > 0 => return done,
                error @ ..=0 => return i64::from(error),
                taken => {
                    sent += taken as usize;
                    done += i64::from(taken);
                }
            }
        }
    }
    done
}

/// Makes a call that sends `buffers`; `sent` makes its result of the number of bytes that were sent.
///
/// # Safety
/// The buffers can be read.
unsafe fn transmit(
    socket: SOCKET,
    flags: i32,
    buffers: &[WSABUF],
    call: impl Fn() -> i32,
    sent: impl FnOnce(u32) -> i32,
) -> i32 {
    if !may_park() {
        return call();
    }
    let much = flags == 0 && buffers.iter().map(|buffer| buffer.len as usize).sum::<usize>() > PIECE;
    match Known::of(socket) {
        Some(known) if much && known.is_stream() && !known.is_nonblocking() => {
            // SAFETY: the caller's promise, passed on.
            match unsafe { in_pieces(known, buffers) } {
                error @ ..0 => error as i32,
                done => sent(done as u32),
            }
        }
        _ => when_ready(socket, Interest::Write, call),
    }
}

/// One buffer. None for a length that the system refuses.
fn one(data: *const u8, length: i32) -> [WSABUF; 1] {
    [WSABUF { len: u32::try_from(length).unwrap_or(0), buf: data.cast_mut() }]
}

/// In place of `send`.
unsafe extern "system" fn send(socket: SOCKET, data: *const u8, length: i32, flags: i32) -> i32 {
    type Real = unsafe extern "system" fn(SOCKET, *const u8, i32, i32) -> i32;
    // SAFETY: the type is that of the function with this name; the caller's promise, passed on.
    let call = || unsafe { transmute::<*const (), Real>(SEND.real())(socket, data, length, flags) };
    // SAFETY: the caller's promise.
    unsafe { transmit(socket, flags, &one(data, length), call, |sent| sent as i32) }
}

/// In place of `sendto`. (In a stream, the address is not looked at.)
unsafe extern "system" fn send_to(
    socket: SOCKET,
    data: *const u8,
    length: i32,
    flags: i32,
    to: *const SOCKADDR,
    to_length: i32,
) -> i32 {
    type Real = unsafe extern "system" fn(SOCKET, *const u8, i32, i32, *const SOCKADDR, i32) -> i32;
    // SAFETY: the type is that of the function with this name; the caller's promise, passed on.
    let call = || unsafe { transmute::<*const (), Real>(SEND_TO.real())(socket, data, length, flags, to, to_length) };
    // SAFETY: the caller's promise.
    unsafe { transmit(socket, flags, &one(data, length), call, |sent| sent as i32) }
}

/// The buffers of a call; none where the system refuses it.
///
/// # Safety
/// There are so many, which can be read, or none.
unsafe fn all<'a>(buffers: *const WSABUF, count: u32) -> &'a [WSABUF] {
    if buffers.is_null() || !buffers.is_aligned() {
        return &[];
    }
    // SAFETY: the caller's promise.
    unsafe { core::slice::from_raw_parts(buffers, count as usize) }
}

/// The result of a call that has sent so much.
///
/// # Safety
/// `sent` is null, or can be written.
unsafe fn tell(sent: *mut u32, bytes: u32) -> i32 {
    if !sent.is_null() {
        // SAFETY: the caller's promise.
        unsafe { *sent = bytes };
    }
    0
}

/// In place of `WSASend`.
unsafe extern "system" fn wsa_send(
    socket: SOCKET,
    buffers: *const WSABUF,
    count: u32,
    sent: *mut u32,
    flags: u32,
    overlapped: *mut OVERLAPPED,
    routine: LPWSAOVERLAPPED_COMPLETION_ROUTINE,
) -> i32 {
    type Real = unsafe extern "system" fn(
        SOCKET,
        *const WSABUF,
        u32,
        *mut u32,
        u32,
        *mut OVERLAPPED,
        LPWSAOVERLAPPED_COMPLETION_ROUTINE,
    ) -> i32;
    // SAFETY: the type is that of the function with this name; the caller's promise, passed on.
    let call = || unsafe {
        transmute::<*const (), Real>(WSA_SEND.real())(socket, buffers, count, sent, flags, overlapped, routine)
    };
    if !overlapped.is_null() {
        return call();
    }
    // SAFETY: the caller's promise.
    unsafe { transmit(socket, flags as i32, all(buffers, count), call, |bytes| tell(sent, bytes)) }
}

/// In place of `WSASendTo`.
#[allow(clippy::too_many_arguments)] // the system's
unsafe extern "system" fn wsa_send_to(
    socket: SOCKET,
    buffers: *const WSABUF,
    count: u32,
    sent: *mut u32,
    flags: u32,
    to: *const SOCKADDR,
    to_length: i32,
    overlapped: *mut OVERLAPPED,
    routine: LPWSAOVERLAPPED_COMPLETION_ROUTINE,
) -> i32 {
    type Real = unsafe extern "system" fn(
        SOCKET,
        *const WSABUF,
        u32,
        *mut u32,
        u32,
        *const SOCKADDR,
        i32,
        *mut OVERLAPPED,
        LPWSAOVERLAPPED_COMPLETION_ROUTINE,
    ) -> i32;
    // SAFETY: the type is that of the function with this name; the caller's promise, passed on.
    let call = || unsafe {
        let real = transmute::<*const (), Real>(WSA_SEND_TO.real());
        real(socket, buffers, count, sent, flags, to, to_length, overlapped, routine)
    };
    if !overlapped.is_null() {
        return call();
    }
    // SAFETY: the caller's promise.
    unsafe { transmit(socket, flags as i32, all(buffers, count), call, |bytes| tell(sent, bytes)) }
}
