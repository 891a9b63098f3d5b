//! The few bytes that the runtime reads and writes itself.

use core::ffi::{c_int, CStr};

use super::epoll::poll;
use super::syscall::syscall;

/// Writes to descriptor 2, going on after interruptions and short writes, and giving up at any other error.
pub(crate) fn write_stderr(bytes: &[u8]) {
    let _ = write(2, bytes, Err);
}

/// Writes to a descriptor, going on after interruptions and short writes, and waiting where a non-blocking one is full.
pub(crate) fn write_all(fd: c_int, bytes: &[u8]) -> Result<(), i32> {
    write(fd, bytes, |e| if e == libc::EAGAIN { poll(fd, true, None).map(drop) } else { Err(e) })
}

/// Writes all; `or` says whether to go on after an error other than an interruption.
fn write(fd: c_int, mut bytes: &[u8], or: impl Fn(i32) -> Result<(), i32>) -> Result<(), i32> {
    while !bytes.is_empty() {
        // SAFETY: the kernel reads at most that many bytes of a live slice.
        match unsafe { syscall(libc::SYS_write, [fd as usize, bytes.as_ptr() as usize, bytes.len(), 0, 0, 0]) } {
            Ok(0) => return Err(libc::EIO),
            Ok(n) => bytes = &bytes[n.min(bytes.len())..],
            Err(libc::EINTR) => {}
            Err(e) => or(e)?,
        }
    }
    Ok(())
}

/// Reads a file from its start into `buffer`, and returns what was read: less than the file if the buffer is full.
/// No allocation; async-signal-safe. Meant for the files of `/proc` and `/sys`.
pub(crate) fn read_file<'a>(path: &CStr, buffer: &'a mut [u8]) -> Result<&'a [u8], i32> {
    let flags = (libc::O_RDONLY | libc::O_CLOEXEC) as usize;
    // SAFETY: the kernel reads a terminated string that outlives the call.
    let fd = unsafe { syscall(libc::SYS_openat, [libc::AT_FDCWD as usize, path.as_ptr() as usize, flags, 0, 0, 0]) }?;
    let mut length = 0;
    let result = loop {
        let free = &mut buffer[length..];
        if free.is_empty() {
            break Ok(());
        }
        // SAFETY: the kernel writes at most that many bytes into a slice that is borrowed exclusively.
        match unsafe { syscall(libc::SYS_read, [fd, free.as_mut_ptr() as usize, free.len(), 0, 0, 0]) } {
            Ok(0) => break Ok(()),
            Ok(n) => length += n,
            Err(libc::EINTR) => {}
            Err(errno) => break Err(errno),
        }
    };
    // SAFETY: the descriptor was opened above and nobody else knows it. On Linux it is closed whatever close returns.
    let _ = unsafe { syscall(libc::SYS_close, [fd, 0, 0, 0, 0, 0]) };
    result.map(|()| &buffer[..length])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_file_and_reports_a_missing_one() {
        let mut buffer = [0; 64];
        assert!(read_file(c"/proc/self/comm", &mut buffer).unwrap().ends_with(b"\n"));
        assert_eq!(read_file(c"/proc/self/comm", &mut buffer[..2]).unwrap().len(), 2);
        assert_eq!(read_file(c"/proc/no such file", &mut buffer), Err(libc::ENOENT));
    }
}
