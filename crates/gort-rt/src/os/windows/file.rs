//! The few bytes that the runtime writes itself.

use super::error::{self, kept};
use core::ffi::c_int;
use core::ptr;
use windows_sys::Win32::Foundation::{ERROR_INVALID_HANDLE, HANDLE, INVALID_HANDLE_VALUE};
use windows_sys::Win32::Storage::FileSystem::WriteFile;
use windows_sys::Win32::System::Console::{GetStdHandle, STD_ERROR_HANDLE};

/// Writes to the standard error, as far as it goes.
pub(crate) fn write_stderr(bytes: &[u8]) {
    kept(|| {
        // SAFETY: no preconditions.
        let _ = write(unsafe { GetStdHandle(STD_ERROR_HANDLE) }, bytes);
    });
}

/// Writes to a descriptor of the C runtime's, which is open; 2 is the standard error, whatever the C runtime makes of it.
pub(crate) fn write_all(fd: c_int, bytes: &[u8]) -> Result<(), i32> {
    match fd {
        // SAFETY: no preconditions.
        2 => write(unsafe { GetStdHandle(STD_ERROR_HANDLE) }, bytes),
        // Some C runtimes end the process for such a number.
        ..0 => Err(ERROR_INVALID_HANDLE as i32),
        // SAFETY: a number that is none gives the handle that is none, or ends the process, as the C runtime is set.
        _ => write(unsafe { libc::get_osfhandle(fd) } as HANDLE, bytes),
    }
}

fn write(file: HANDLE, mut bytes: &[u8]) -> Result<(), i32> {
    if file.is_null() || file == INVALID_HANDLE_VALUE {
        return Err(ERROR_INVALID_HANDLE as i32);
    }
    while !bytes.is_empty() {
        let length = bytes.len().min(1 << 30) as u32;
        let mut written = 0;
        // SAFETY: the system reads at most that many bytes of a live slice, and writes one number.
        if unsafe { WriteFile(file, bytes.as_ptr(), length, &raw mut written, ptr::null_mut()) } == 0 {
            return Err(error::last());
        }
        bytes = &bytes[(written as usize).min(bytes.len())..];
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_descriptor_is_an_error() {
        assert_eq!(write_all(-1, b"x"), Err(ERROR_INVALID_HANDLE as i32));
        assert_eq!(write(INVALID_HANDLE_VALUE, b"x"), Err(ERROR_INVALID_HANDLE as i32));
        assert_eq!(write_all(2, b""), Ok(()));
    }
}
