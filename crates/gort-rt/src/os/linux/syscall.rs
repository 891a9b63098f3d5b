//! System calls with Rust's convention for errors.
//!
//! The runtime has its own rather than a crate's because a crate may be switched to libc's wrappers by a feature that
//! some other part of the application turns on, and libc's wrappers are hooked.

use crate::arch;

/// Enters the kernel. `number` is a `libc::SYS_*`; arguments that the call does not have are ignored by the kernel.
/// `Err` holds the errno value; the thread's `errno` is left alone.
///
/// # Safety
/// Whatever the system call in question demands of its arguments.
#[inline]
pub(super) unsafe fn syscall(number: libc::c_long, args: [usize; 6]) -> Result<usize, i32> {
    // SAFETY: the caller's promise, passed on.
    let result = unsafe { arch::system_call(number, args) };
    // The kernel returns -4095 ..= -1 for errors; every other value is a result, addresses above 2^63 included.
    if (-4095..0).contains(&result) {
        Err(-result as i32)
    } else {
        Ok(result as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_and_an_error() {
        // SAFETY: getpid has no arguments; close of a descriptor that cannot exist only fails.
        let (pid, close) =
            unsafe { (syscall(libc::SYS_getpid, [0; 6]), syscall(libc::SYS_close, [usize::MAX, 0, 0, 0, 0, 0])) };
        assert_eq!(pid, Ok(std::process::id() as usize));
        assert_eq!(close, Err(libc::EBADF));
    }
}
