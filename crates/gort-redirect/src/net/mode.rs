//! What changes how calls on a socket wait.

use super::known::{duplicates_of, Known, DEAF, NONBLOCKING};
use core::ffi::c_void;
use core::mem::transmute;
use gort_rt::hook::{self, Function};
use windows_sys::Win32::Foundation::HWND;
use windows_sys::Win32::Networking::WinSock::{FIONBIO, LPWSAOVERLAPPED_COMPLETION_ROUTINE, SD_SEND, SOCKET};
use windows_sys::Win32::System::IO::OVERLAPPED;

/// What this file stands in for.
pub(crate) static HOOKS: &[&Function] = &[&IOCTL, &WSA_IOCTL, &EVENT_SELECT, &ASYNC_SELECT, &SHUTDOWN];

static IOCTL: Function = Function::new(c"ioctlsocket", ioctl as *const ());
static WSA_IOCTL: Function = Function::new(c"WSAIoctl", wsa_ioctl as *const ());
static EVENT_SELECT: Function = Function::new(c"WSAEventSelect", event_select as *const ());
static ASYNC_SELECT: Function = Function::new(c"WSAAsyncSelect", async_select as *const ());
static SHUTDOWN: Function = Function::new(c"shutdown", shutdown as *const ());

/// A socket was made non-blocking, or blocking.
fn note(socket: SOCKET, nonblocking: bool) {
    if let Some(known) = Known::of(socket) {
        known.change_mode(NONBLOCKING, if nonblocking { NONBLOCKING } else { 0 });
    }
}

/// In place of `ioctlsocket`.
unsafe extern "system" fn ioctl(socket: SOCKET, command: i32, argument: *mut u32) -> i32 {
    type Real = unsafe extern "system" fn(SOCKET, i32, *mut u32) -> i32;
    // SAFETY: the type is that of the function with this name; the caller's promise, passed on.
    let result = unsafe { transmute::<*const (), Real>(IOCTL.real())(socket, command, argument) };
    if command == FIONBIO && result == 0 {
        // SAFETY: the system has read it.
        note(socket, unsafe { *argument } != 0);
    }
    result
}

/// In place of `WSAIoctl`.
#[allow(clippy::too_many_arguments)] // the system's
unsafe extern "system" fn wsa_ioctl(
    socket: SOCKET,
    code: u32,
    input: *const c_void,
    input_length: u32,
    output: *mut c_void,
    output_length: u32,
    returned: *mut u32,
    overlapped: *mut OVERLAPPED,
    routine: LPWSAOVERLAPPED_COMPLETION_ROUTINE,
) -> i32 {
    type Real = unsafe extern "system" fn(
        SOCKET,
        u32,
        *const c_void,
        u32,
        *mut c_void,
        u32,
        *mut u32,
        *mut OVERLAPPED,
        LPWSAOVERLAPPED_COMPLETION_ROUTINE,
    ) -> i32;
    // SAFETY: the type is that of the function with this name; the caller's promise, passed on.
    let result = unsafe {
        let real = transmute::<*const (), Real>(WSA_IOCTL.real());
        real(socket, code, input, input_length, output, output_length, returned, overlapped, routine)
    };
    if code == FIONBIO as u32 && result == 0 {
        // SAFETY: the system has read a number there.
        note(socket, unsafe { input.cast::<u32>().read_unaligned() } != 0);
    }
    result
}

/// In place of `WSAEventSelect`, which makes the socket non-blocking.
unsafe extern "system" fn event_select(socket: SOCKET, event: *mut c_void, events: i32) -> i32 {
    type Real = unsafe extern "system" fn(SOCKET, *mut c_void, i32) -> i32;
    // SAFETY: the type is that of the function with this name; the caller's promise, passed on.
    let result = unsafe { transmute::<*const (), Real>(EVENT_SELECT.real())(socket, event, events) };
    if result == 0 {
        note(socket, true);
    }
    result
}

/// In place of `WSAAsyncSelect`, which makes the socket non-blocking.
unsafe extern "system" fn async_select(socket: SOCKET, window: HWND, message: u32, events: i32) -> i32 {
    type Real = unsafe extern "system" fn(SOCKET, HWND, u32, i32) -> i32;
    // SAFETY: the type is that of the function with this name; the caller's promise, passed on.
    let result = unsafe { transmute::<*const (), Real>(ASYNC_SELECT.real())(socket, window, message, events) };
    if result == 0 {
        note(socket, true);
    }
    result
}

/// In place of `shutdown`. That nothing is received any more does not make the socket ready: who waits for that, for any duplicate,
/// looks again.
unsafe extern "system" fn shutdown(socket: SOCKET, how: i32) -> i32 {
    type Real = unsafe extern "system" fn(SOCKET, i32) -> i32;
    // SAFETY: the type is that of the function with this name; the caller's promise, passed on.
    let result = unsafe { transmute::<*const (), Real>(SHUTDOWN.real())(socket, how) };
    if result == 0 && how != SD_SEND {
        if let Some(known) = Known::of(socket) {
            known.change_mode(0, DEAF);
            match known.duplicates() {
                0 => hook::look_again(socket),
                number => hook::look_again_where(|bits| duplicates_of(bits) == number),
            }
        }
    }
    result
}
