//! Kernels that know less: a seccomp filter has system calls fail, in this process and all that come of it.

use std::io;

/// What can be refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// One system call, by its number.
    Number(libc::c_long),
    /// All that have come since Linux 4.4: those from `copy_file_range` on. Among them are `preadv2`, `statx`, `rseq`, `clone3`,
    /// `pidfd_open`, `close_range` and `epoll_pwait2`.
    SinceLinux4_4,
    /// `madvise` with advice that came in Linux 4.14 or later, markers as guards among it. It is refused as invalid, as a kernel
    /// refuses advice that it does not know.
    NewAdvice,
}

impl Call {
    /// What a program's argument names.
    pub fn named(name: &str) -> Option<Call> {
        Some(match name {
            "membarrier" => Call::Number(libc::SYS_membarrier),
            "rseq" => Call::Number(libc::SYS_rseq),
            "epoll_pwait2" => Call::Number(libc::SYS_epoll_pwait2),
            "pidfd_open" => Call::Number(libc::SYS_pidfd_open),
            "close_range" => Call::Number(libc::SYS_close_range),
            "clone3" => Call::Number(libc::SYS_clone3),
            "preadv2" => Call::Number(libc::SYS_preadv2),
            "pwritev2" => Call::Number(libc::SYS_pwritev2),
            "sched_getaffinity" => Call::Number(libc::SYS_sched_getaffinity),
            "prlimit64" => Call::Number(libc::SYS_prlimit64),
            "since-4.4" => Call::SinceLinux4_4,
            "advice" => Call::NewAdvice,
            _ => return None,
        })
    }
}

/// Has the calling thread, and all threads and processes that it makes from now on, fail at `calls` with the error number `error`.
/// There is no way back.
///
/// # Errors
/// The kernel has no seccomp filters, or does not let us.
pub fn refuse(calls: &[Call], error: i32) -> io::Result<()> {
    /// Offsets in `struct seccomp_data`: the number of the call; the lower half of its third argument.
    const NUMBER: u32 = 0;
    const THIRD: u32 = 16 + 2 * 8;
    const OLDEST_UNKNOWN: libc::c_long = libc::SYS_copy_file_range;
    /// `MADV_WIPEONFORK`; above these are `MADV_HWPOISON` and `MADV_SOFT_OFFLINE`, which are older; then markers.
    const NEW_ADVICE: u32 = 18;
    const OLD_AGAIN: u32 = 100;
    const MARKERS: u32 = 102;
    let fail = |errno: i32| statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ERRNO | errno as u32);
    let if_not = |condition: u32, k: u32, skip: u8| jump(libc::BPF_JMP | condition | libc::BPF_K, k, 0, skip);
    let mut program = Vec::new();
    for &call in calls {
        program.push(statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, NUMBER));
        match call {
            Call::Number(number) => program.extend([if_not(libc::BPF_JEQ, number as u32, 1), fail(error)]),
            Call::SinceLinux4_4 => program.extend([if_not(libc::BPF_JGE, OLDEST_UNKNOWN as u32, 1), fail(error)]),
            Call::NewAdvice => program.extend([
                if_not(libc::BPF_JEQ, libc::SYS_madvise as u32, 5),
                statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, THIRD),
                if_not(libc::BPF_JGE, NEW_ADVICE, 3),
                jump(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, MARKERS, 1, 0),
                jump(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, OLD_AGAIN, 1, 0),
                fail(libc::EINVAL),
            ]),
        }
    }
    program.push(statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW));
    let mut program = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: the first call takes numbers only; the second reads a program that outlives it, and checks it.
    unsafe {
        if libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0
            || libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw mut program) != 0
        {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

fn statement(code: u32, k: u32) -> libc::sock_filter {
    jump(code, k, 0, 0)
}

/// Skips so many statements if the condition holds, or does not.
fn jump(code: u32, k: u32, holds: u8, not: u8) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt: holds, jf: not, k }
}
