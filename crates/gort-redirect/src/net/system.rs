//! Functions of the system's that are called past this module's imports: those may lead back to hooks, and a program that uses no
//! sockets shall not load the system's library for them on this crate's account.

use core::ffi::c_void;
use core::mem::transmute;
use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};
use gort_rt::ffi;
use windows_sys::core::{s, w, PCSTR};
use windows_sys::Win32::Foundation::{GetLastError, SetLastError};
use windows_sys::Win32::Networking::WinSock::{
    FD_SET, FIONBIO, SIO_BASE_HANDLE, SOCKADDR, SOCKADDR_STORAGE, SOCKET, SOL_SOCKET, TIMEVAL,
};
use windows_sys::Win32::System::LibraryLoader::{GetModuleHandleW, GetProcAddress};

/// A function of ws2_32.dll that is looked for once. That library is there: one of its functions was called.
struct Found {
    name: PCSTR,
    at: AtomicPtr<()>,
}

// SAFETY: the name is a constant.
unsafe impl Sync for Found {}

impl Found {
    const fn new(name: PCSTR) -> Found {
        Found { name, at: AtomicPtr::new(ptr::null_mut()) }
    }

    fn at(&self) -> *mut () {
        let at = self.at.load(Ordering::Relaxed);
        if !at.is_null() {
            return at;
        }
        // SAFETY: both names are strings. The library stays, since this module imports from it.
        let found = unsafe { GetProcAddress(GetModuleHandleW(w!("ws2_32.dll")), self.name) };
        let Some(found) = found else { std::process::abort() };
        self.at.store(found as *mut (), Ordering::Relaxed);
        found as *mut ()
    }
}

macro_rules! system {
    ($($(#[$attr:meta])* fn $name:ident as $theirs:literal($($arg:ident: $type:ty),*) -> i32;)*) => {
        $(
            $(#[$attr])*
            #[allow(clippy::too_many_arguments)] // the system's
            pub(super) unsafe fn $name($($arg: $type),*) -> i32 {
                static FOUND: Found = Found::new(s!($theirs));
                type Real = unsafe extern "system" fn($($type),*) -> i32;
                // SAFETY: the type is that of the function with this name; the caller's promise, passed on.
                unsafe { transmute::<*mut (), Real>(FOUND.at())($($arg),*) }
            }
        )*
    };
}

system! {
    /// `select`.
    fn select as "select"(n: i32, read: *mut FD_SET, write: *mut FD_SET, except: *mut FD_SET, time: *const TIMEVAL) -> i32;
    /// `send`.
    fn send as "send"(socket: SOCKET, data: *const u8, length: i32, flags: i32) -> i32;
    fn getsockopt as "getsockopt"(socket: SOCKET, level: i32, name: i32, value: *mut u8, length: *mut i32) -> i32;
    fn getsockname as "getsockname"(socket: SOCKET, name: *mut SOCKADDR, length: *mut i32) -> i32;
    fn getpeername as "getpeername"(socket: SOCKET, name: *mut SOCKADDR, length: *mut i32) -> i32;
    fn ioctlsocket as "ioctlsocket"(socket: SOCKET, command: i32, argument: *mut u32) -> i32;
    fn ioctl as "WSAIoctl"(socket: SOCKET, code: u32, input: *const c_void, input_length: u32, output: *mut c_void,
        output_length: u32, returned: *mut u32, overlapped: *mut c_void, routine: *const c_void) -> i32;
}

/// An option at the level of sockets that is a number; None: the system does not say.
pub(super) fn option(socket: SOCKET, name: i32) -> Option<u32> {
    let (mut value, mut length) = (0u32, 4);
    // SAFETY: the system writes at most as much as there is room for.
    let result = unsafe { getsockopt(socket, SOL_SOCKET, name, (&raw mut value).cast(), &raw mut length) };
    (result == 0).then_some(value)
}

/// Whether the socket has a name of its own, or a peer.
pub(super) fn is_named(socket: SOCKET, peer: bool) -> bool {
    // SAFETY: zeroes are a valid address.
    let mut name: SOCKADDR_STORAGE = unsafe { core::mem::zeroed() };
    let mut length = size_of::<SOCKADDR_STORAGE>() as i32;
    let ask = if peer { getpeername } else { getsockname };
    // SAFETY: the system writes at most as much as there is room for.
    unsafe { ask(socket, (&raw mut name).cast(), &raw mut length) == 0 }
}

/// Makes a socket non-blocking, or blocking. False: the system refuses.
pub(super) fn set_nonblocking(socket: SOCKET, nonblocking: bool) -> bool {
    let mut argument = u32::from(nonblocking);
    // SAFETY: the argument is ours.
    unsafe { ioctlsocket(socket, FIONBIO, &raw mut argument) == 0 }
}

/// The handle by which the driver knows a socket, which is another one if software has put itself in between. None: not known.
pub(super) fn base(socket: SOCKET) -> Option<SOCKET> {
    let (mut base, mut returned): (SOCKET, u32) = (0, 0);
    // SAFETY: the system writes one handle.
    let result = unsafe {
        ioctl(
            socket,
            SIO_BASE_HANDLE,
            ptr::null(),
            0,
            (&raw mut base).cast(),
            size_of::<SOCKET>() as u32,
            &raw mut returned,
            ptr::null_mut(),
            ptr::null(),
        )
    };
    (result == 0).then_some(base)
}

/// Makes a call that may block, declared as such, and leaves the last error as the call has left it.
pub(super) fn declared<T>(call: impl FnOnce() -> T) -> T {
    let (result, error) = ffi::blocking(|| {
        let result = call();
        // SAFETY: no preconditions.
        (result, unsafe { GetLastError() })
    });
    // SAFETY: no preconditions.
    unsafe { SetLastError(error) };
    result
}

/// The result of a call that failed for this reason.
pub(super) fn fail(error: i32) -> i32 {
    // SAFETY: no preconditions.
    unsafe { SetLastError(error as u32) };
    -1
}
