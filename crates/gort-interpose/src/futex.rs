//! The futex system call: goroutines wait in the runtime's table, kernel threads in the kernel's, on the same words.
//!
//! Only WAIT, WAIT_BITSET, WAKE and WAKE_BITSET are taken over, and only on words that are this process's: because the caller
//! says so, or because they are static variables ([`statics`]). Everything else (shared words, requeue, priority inheritance)
//! goes to the kernel, where it may block the kernel thread; sysmon then gives the P to others. To the kernel, calls with and
//! without the flag are about different words. Here they are the same, so a wake may end a wait that the kernel would have gone
//! on with; waits may end for no reason.
//!
//! A wake has one count for both tables: goroutines are served first, then the kernel is asked for what is left. (While
//! kernel threads are known to wait on the word the order alternates, so that neither kind starves the other.) Each
//! waiter is in one table only, so it is counted once. The kernel is asked even if no hook saw a kernel thread wait, since
//! not every wait goes through `syscall`.

use crate::sleep::deadline;
use crate::statics;
use crate::switch::may_park;
use crate::sys::{fail, raw};
use core::sync::atomic::AtomicU32;
use gort_rt::hook::{self, Blocked, KernelWait, Wait};
use libc::{c_int, c_long, timespec};

/// All bits: a plain wait or wake is one that matches any.
const ANY: u32 = u32::MAX;

/// The futex call with its six arguments.
///
/// # Safety
/// As for the call.
pub(crate) unsafe fn futex(args: [usize; 6]) -> c_long {
    let op = args[1] as c_int;
    let command = op & !(libc::FUTEX_PRIVATE_FLAG | libc::FUTEX_CLOCK_REALTIME);
    if op & libc::FUTEX_PRIVATE_FLAG == 0 && !statics::contain(args[0]) {
        // SAFETY: the caller's promise, passed on.
        return unsafe { raw(libc::SYS_futex, args) };
    }
    // SAFETY: the caller's promise, passed on.
    unsafe {
        match command {
            libc::FUTEX_WAKE => wake(args, ANY),
            libc::FUTEX_WAKE_BITSET => wake(args, args[5] as u32),
            libc::FUTEX_WAIT | libc::FUTEX_WAIT_BITSET => wait(args, op, command),
            _ => raw(libc::SYS_futex, args),
        }
    }
}

unsafe fn wake(args: [usize; 6], bits: u32) -> c_long {
    let n = args[2] as c_int;
    if n <= 0 || bits == 0 {
        // SAFETY: the kernel decides what this means.
        return unsafe { raw(libc::SYS_futex, args) };
    }
    if hook::kernels_turn(args[0]) {
        // SAFETY: the caller's call.
        let first = unsafe { raw(libc::SYS_futex, args) };
        if first < 0 || first >= c_long::from(n) {
            return first;
        }
        let left = n as u32 - first as u32;
        return first + c_long::from(hook::futex_wake(args[0], left, bits));
    }
    let woken = hook::futex_wake(args[0], n as u32, bits);
    if woken == n as u32 {
        return c_long::from(n);
    }
    let rest = [args[0], args[1], n as usize - woken as usize, args[3], args[4], args[5]];
    // SAFETY: the caller's call, with what is left of its count.
    let more = unsafe { raw(libc::SYS_futex, rest) };
    if more < 0 && woken == 0 {
        return more;
    }
    c_long::from(woken) + more.max(0)
}

unsafe fn wait(args: [usize; 6], op: c_int, command: c_int) -> c_long {
    let timeout = args[3] as *const timespec;
    if !may_park() {
        let _blocked = timeout.is_null().then(Blocked::here);
        let _waits = KernelWait::on(args[0]);
        // SAFETY: the caller's promise, passed on.
        return unsafe { raw(libc::SYS_futex, args) };
    }
    let word = args[0] as *const AtomicU32;
    let bits = if command == libc::FUTEX_WAIT { ANY } else { args[5] as u32 };
    if !word.is_aligned() || bits == 0 {
        return fail(libc::EINVAL);
    }
    let when = if timeout.is_null() {
        None
    } else {
        let clock = if op & libc::FUTEX_CLOCK_REALTIME != 0 { libc::CLOCK_REALTIME } else { libc::CLOCK_MONOTONIC };
        // WAIT takes a duration, WAIT_BITSET a moment.
        // SAFETY: the caller passes a timespec.
        match deadline(clock, command == libc::FUTEX_WAIT_BITSET, unsafe { *timeout }) {
            Some(when) => Some(when),
            None => return fail(libc::EINVAL),
        }
    };
    // SAFETY: `may_park` said yes; the caller vouches for the word.
    match unsafe { hook::futex_wait(word, args[2] as u32, bits, when) } {
        Wait::Woken => 0,
        Wait::Changed => fail(libc::EAGAIN),
        Wait::TimedOut => fail(libc::ETIMEDOUT),
    }
}
