//! Numbers of errors, as `GetLastError` gives them and `std::io::Error::from_raw_os_error` takes them.

use windows_sys::Win32::Foundation as win;
use windows_sys::Win32::Networking::WinSock;

/// Too little memory, or address space.
pub(crate) const NO_MEMORY: i32 = win::ERROR_NOT_ENOUGH_MEMORY as i32;
/// A wrong argument, or what this system does not have.
pub(crate) const INVALID: i32 = win::ERROR_INVALID_PARAMETER as i32;
/// Too many of something, at this moment.
pub(crate) const AGAIN: i32 = win::ERROR_MAX_THRDS_REACHED as i32;
/// Somebody has to go first.
pub(crate) const BUSY: i32 = win::ERROR_BUSY as i32;
/// There is nobody to do it any more.
pub(crate) const SHUT: i32 = WinSock::WSAESHUTDOWN;
/// All that mean that memory, address space or kernel threads are used up.
pub(crate) const EXHAUSTED: &[i32] = &[
    NO_MEMORY,
    AGAIN,
    win::ERROR_OUTOFMEMORY as i32,
    win::ERROR_COMMITMENT_LIMIT as i32,
    win::ERROR_NO_SYSTEM_RESOURCES as i32,
];
