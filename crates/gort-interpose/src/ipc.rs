//! Messages and semaphores of other processes, and waiting for signals.
//!
//! All of these block their kernel thread.
//!
//! Signals need care: masks belong to the kernel thread, and a goroutine may be on another one after each call that parks. A
//! goroutine that blocks a signal and then waits for it should hold `gort::ffi::lock_os_thread` from before the mask is
//! changed until it is as before; or the signal should be blocked before the first goroutine is made, in all threads. That
//! `sigwait` and its kin then find the mask that they need is the same on a goroutine as on a thread.
//!
//! Nor does a signal interrupt what is parked: where a blocking call would end with `EINTR`, a goroutine parks on.

use crate::hand_off::{hand_off, hooks};
use crate::sys::raw;
use crate::Ours;
use libc::{c_char, c_int, c_uint, c_void, mqd_t, sembuf, siginfo_t, sigset_t, timespec};

hooks! { HOOKS, hand_off:
    c"msgrcv" msgrcv(queue: c_int, to: *mut c_void, size: usize, kind: libc::c_long, flags: c_int) -> isize;
    c"msgsnd" msgsnd(queue: c_int, from: *const c_void, size: usize, flags: c_int) -> c_int;
    c"semop" semop(set: c_int, operations: *mut sembuf, n: usize) -> c_int;
    c"semtimedop" semtimedop(set: c_int, operations: *mut sembuf, n: usize, timeout: *const timespec) -> c_int;
    c"sigwait" sigwait(set: *const sigset_t, signal: *mut c_int) -> c_int;
    c"sigwaitinfo" sigwaitinfo(set: *const sigset_t, info: *mut siginfo_t) -> c_int;
    c"sigtimedwait" sigtimedwait(set: *const sigset_t, info: *mut siginfo_t, timeout: *const timespec) -> c_int;
    c"sigsuspend" sigsuspend(mask: *const sigset_t) -> c_int;
    c"pause" pause() -> c_int;
}

/// Definitions of this file, too.
pub(crate) static QUEUES: &[Ours] = &[
    Ours::new(c"mq_receive", mq_receive as *const ()),
    Ours::new(c"mq_timedreceive", mq_timedreceive as *const ()),
    Ours::new(c"mq_send", mq_send as *const ()),
    Ours::new(c"mq_timedsend", mq_timedsend as *const ()),
];

// The functions of POSIX message queues make the system call themselves: before glibc 2.34 libc's are in a library of their
// own, which the linker leaves out if nothing but these names is wanted of it.

/// libc's `mq_timedreceive`.
///
/// # Safety
/// As for that function.
#[no_mangle]
pub unsafe extern "C" fn mq_timedreceive(
    queue: mqd_t,
    to: *mut c_char,
    size: usize,
    priority: *mut c_uint,
    timeout: *const timespec,
) -> isize {
    let args = [queue as usize, to as usize, size, priority as usize, timeout as usize, 0];
    // SAFETY: the caller's promise, passed on.
    hand_off(|| unsafe { raw(libc::SYS_mq_timedreceive, args) as isize })
}

/// libc's `mq_receive`.
///
/// # Safety
/// As for that function.
#[no_mangle]
pub unsafe extern "C" fn mq_receive(queue: mqd_t, to: *mut c_char, size: usize, priority: *mut c_uint) -> isize {
    // SAFETY: the caller's promise, passed on; without a timeout it is the same.
    unsafe { mq_timedreceive(queue, to, size, priority, core::ptr::null()) }
}

/// libc's `mq_timedsend`.
///
/// # Safety
/// As for that function.
#[no_mangle]
pub unsafe extern "C" fn mq_timedsend(
    queue: mqd_t,
    from: *const c_char,
    size: usize,
    priority: c_uint,
    timeout: *const timespec,
) -> c_int {
    let args = [queue as usize, from as usize, size, priority as usize, timeout as usize, 0];
    // SAFETY: the caller's promise, passed on.
    hand_off(|| unsafe { raw(libc::SYS_mq_timedsend, args) as c_int })
}

/// libc's `mq_send`.
///
/// # Safety
/// As for that function.
#[no_mangle]
pub unsafe extern "C" fn mq_send(queue: mqd_t, from: *const c_char, size: usize, priority: c_uint) -> c_int {
    // SAFETY: the caller's promise, passed on; without a timeout it is the same.
    unsafe { mq_timedsend(queue, from, size, priority, core::ptr::null()) }
}
