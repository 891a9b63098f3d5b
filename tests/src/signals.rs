//! Signals for tests: handlers, who gets one, and which threads take which.

use crate::backend::goroutines_are_threads;
use std::ffi::c_int;
use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

/// How many signals have been handled by what [`handled`] wraps.
static HANDLED: AtomicUsize = AtomicUsize::new(0);

/// Has `signal` run `handler`, with these flags (`libc::SA_…`).
pub fn handle(signal: c_int, flags: c_int, handler: extern "C" fn(c_int)) {
    // SAFETY: the handlers of tests make calls that are safe in handlers, and leave errno as it was.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as *const () as usize;
        action.sa_flags = flags;
        assert_eq!(libc::sigaction(signal, &raw const action, std::ptr::null_mut()), 0);
    }
}

/// The body of a handler: runs `f`, puts errno back, and counts.
pub fn handled(f: impl FnOnce()) {
    // SAFETY: errno's address is the thread's own.
    unsafe {
        let errno = *libc::__errno_location();
        f();
        *libc::__errno_location() = errno;
    }
    HANDLED.fetch_add(1, SeqCst);
}

/// How many signals have been handled so far.
pub fn count() -> usize {
    HANDLED.load(SeqCst)
}

/// Sends a signal to a kernel thread of this process; false if it is gone.
pub fn send(tid: i32, signal: c_int) -> bool {
    // SAFETY: no memory is involved, and there is a handler.
    unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), tid, signal) == 0 }
}

/// The kernel threads of this process that have a name for which `is` says yes.
pub fn threads(is: impl Fn(i32, &str) -> bool) -> Vec<i32> {
    let tasks = fs::read_dir("/proc/self/task").expect("/proc is mounted");
    tasks
        .filter_map(|task| {
            let path = task.ok()?.path();
            let tid = path.file_name()?.to_str()?.parse().ok()?;
            is(tid, fs::read_to_string(path.join("comm")).ok()?.trim_end()).then_some(tid)
        })
        .collect()
}

/// The kernel threads that run goroutines. (Where goroutines are threads, whatever may be one: all but the caller.)
pub fn ms() -> Vec<i32> {
    // SAFETY: no preconditions.
    let own = unsafe { libc::gettid() };
    threads(|tid, name| if goroutines_are_threads() { tid != own } else { name == "gort-m" })
}

/// Sends `signal` to all kernel threads that run goroutines, again and again, until that many have been handled in all.
pub fn shoot(signal: c_int, enough: usize) {
    while count() < enough {
        let ms = ms();
        for _ in 0..20 {
            ms.iter().for_each(|&tid| {
                send(tid, signal);
            });
            std::thread::yield_now();
        }
    }
}

/// The signals that a kernel thread of this process blocks: bit `n - 1` for signal `n`. None if it is gone.
pub fn blocked_by(tid: i32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/self/task/{tid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("SigBlk:"))?;
    Some(u64::from_str_radix(line.trim(), 16).expect("a set of signals"))
}

/// The signals that the calling thread blocks.
pub fn blocked() -> u64 {
    let mut mask = 0u64;
    // SAFETY: the kernel writes one set.
    let done = unsafe { libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_BLOCK, 0usize, &raw mut mask, 8usize) };
    assert_eq!(done, 0);
    mask
}

/// Sets which signals the calling thread blocks, and returns which it did.
pub fn block(mask: u64) -> u64 {
    let mut old = 0u64;
    // SAFETY: the kernel reads one set and writes one; the internal signals of glibc are left out by the callers.
    let done =
        unsafe { libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, &raw const mask, &raw mut old, 8usize) };
    assert_eq!(done, 0);
    old
}

/// The set of one signal.
pub fn bit(signal: c_int) -> u64 {
    1 << (signal - 1)
}
