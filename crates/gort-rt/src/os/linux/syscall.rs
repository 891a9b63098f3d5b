//! The system call instruction.
//!
//! The runtime has its own rather than a crate's because a crate may be switched to libc's wrappers by a feature that
//! some other part of the application turns on, and libc's wrappers are hooked.

use core::arch::asm;

/// Enters the kernel. `number` is a `libc::SYS_*`; arguments that the call does not have are ignored by the kernel.
/// `Err` holds the errno value; the thread's `errno` is left alone.
///
/// # Safety
/// Whatever the system call in question demands of its arguments.
#[inline]
pub(super) unsafe fn syscall(number: libc::c_long, args: [usize; 6]) -> Result<usize, i32> {
    let result: isize;
    // SAFETY: the registers are those of the kernel's x86-64 convention, the two that it destroys are declared, and the
    // kernel restores the flags and uses none of our stack, red zone included. Memory is left unmarked, so the compiler
    // assumes that all of it may be read and written. The arguments are the caller's promise.
    unsafe {
        asm!(
            "syscall",                           // number in rax, arguments in rdi, rsi, rdx, r10, r8, r9
            inlateout("rax") number as isize => result,
            in("rdi") args[0],
            in("rsi") args[1],
            in("rdx") args[2],
            in("r10") args[3],
            in("r8") args[4],
            in("r9") args[5],
            lateout("rcx") _,                    // takes the return address
            lateout("r11") _,                    // takes the flags
            options(nostack, preserves_flags),
        );
    }
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
