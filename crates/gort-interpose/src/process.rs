//! Child processes: waiting for them, and making them.
//!
//! Waiting for the end of one particular child parks: the goroutine waits until a process descriptor (`pidfd`) of the child is
//! readable, then asks again. It is asked without blocking first, so a child that has ended costs one system call. Handed off
//! is what a process descriptor does not tell: waiting for any child or for a group, for children that stop or continue,
//! for those that only a debugger or `clone` makes (every option but `WNOHANG`); and everything on a kernel without process
//! descriptors (before Linux 5.3) or when no descriptor is to be had.
//!
//! A tracer also learns of stops that it did not ask for, which a process descriptor does not show. A parked goroutine
//! therefore asks again every second; a debugger should call `gort::ffi::blocking` around a `waitpid` of its own making, or
//! pass `__WALL`.
//!
//! `posix_spawn` suspends its caller until the child has called `exec`: handed off. So are `system`, `popen` and `pclose`,
//! which make and wait for children inside libc. `pidfd_spawn` is not defined here, because programs find out by its presence
//! whether libc has it; it blocks no longer than `posix_spawn`.
//!
//! `vfork` is `fork` here, as POSIX allows: the child of a true `vfork` shares our memory, and `close` or `dup2` in it would
//! change what the runtime knows of the parent's descriptors. The parent thus is not suspended, and sees nothing of what the
//! child writes to memory. In the child of a `fork` all hooks pass through, and in that of `_Fork` too.

use crate::hand_off::{hand_off, hooks};
use crate::next::{next, Next};
use crate::switch::may_park;
use crate::sys::{kernel, raw};
use crate::Ours;
use core::mem::{self, MaybeUninit};
use core::ptr;
use gort_rt::hook::{self, Descriptor, Interest, Waited};
use libc::{
    c_char, c_int, c_void, id_t, idtype_t, pid_t, posix_spawn_file_actions_t, posix_spawnattr_t, rusage, siginfo_t,
    FILE,
};

hooks! { HOOKS, hand_off:
    c"posix_spawn" posix_spawn(
        pid: *mut pid_t, path: *const c_char, actions: *const posix_spawn_file_actions_t,
        attributes: *const posix_spawnattr_t, args: *const *mut c_char, environment: *const *mut c_char,
    ) -> c_int;
    c"posix_spawnp" posix_spawnp(
        pid: *mut pid_t, file: *const c_char, actions: *const posix_spawn_file_actions_t,
        attributes: *const posix_spawnattr_t, args: *const *mut c_char, environment: *const *mut c_char,
    ) -> c_int;
    c"system" system(command: *const c_char) -> c_int;
    c"popen" popen(command: *const c_char, mode: *const c_char) -> *mut FILE;
    c"pclose" pclose(stream: *mut FILE) -> c_int;
}

/// Definitions of this file, too.
pub(crate) static WAITS: &[Ours] = &[
    Ours::new(c"waitpid", waitpid as *const ()),
    Ours::new(c"__waitpid", __waitpid as *const ()),
    Ours::new(c"wait", wait as *const ()),
    Ours::new(c"__wait", __wait as *const ()),
    Ours::new(c"wait3", wait3 as *const ()),
    Ours::new(c"wait4", wait4 as *const ()),
    Ours::new(c"waitid", waitid as *const ()),
    Ours::new(c"vfork", vfork as *const ()),
    Ours::new(c"__vfork", __vfork as *const ()),
    Ours::new(c"_Fork", _Fork as *const ()),
];

/// How long a goroutine waits before it looks for what a process descriptor does not show, in nanoseconds.
const LOOK_AGAIN: u64 = 1_000_000_000;

/// A process descriptor of ours.
struct ProcessFd(c_int);

impl ProcessFd {
    /// A descriptor of the child `pid`. None: there is none to be had; errno is left as it was.
    fn open(pid: pid_t) -> Option<ProcessFd> {
        // SAFETY: takes numbers only. (The kernel marks the descriptor to be closed by exec.)
        let fd = unsafe { kernel(libc::SYS_pidfd_open, [pid as usize, 0, 0, 0, 0, 0]) } as c_int;
        if fd < 0 {
            return None;
        }
        hook::opened(fd);
        Some(ProcessFd(fd))
    }
}

impl Drop for ProcessFd {
    fn drop(&mut self) {
        hook::closing(self.0);
        // SAFETY: the descriptor is ours, and nobody else knows of it.
        unsafe { kernel(libc::SYS_close, [self.0 as usize, 0, 0, 0, 0, 0]) };
    }
}

/// Parks until `probe`, which asks the kernel without blocking, has an answer. None: it cannot be known when to ask.
///
/// `process` is a process descriptor of the child that `probe` asks for.
fn park(process: Descriptor, mut probe: impl FnMut() -> Option<c_int>) -> Option<c_int> {
    let mut attempt = process.attempt(Interest::Read);
    loop {
        if let Some(answer) = probe() {
            attempt.finish();
            return Some(answer);
        }
        match attempt.wait(Some(hook::now() + LOOK_AGAIN)) {
            Waited::Ready | Waited::TimedOut => {}
            Waited::Closed | Waited::Unpollable => return None,
        }
    }
}

/// `wait4` on a goroutine; None: hand it off.
///
/// # Safety
/// As for `wait4`.
unsafe fn parked_wait4(pid: pid_t, status: *mut c_int, options: c_int, usage: *mut rusage) -> Option<pid_t> {
    let args = [pid as usize, status as usize, (options | libc::WNOHANG) as usize, usage as usize, 0, 0];
    let probe = || {
        // SAFETY: the caller's promise, passed on.
        let answer = unsafe { raw(libc::SYS_wait4, args) as c_int };
        (answer != 0).then_some(answer)
    };
    let answer = probe();
    if answer.is_some() || options & libc::WNOHANG != 0 {
        return Some(answer.unwrap_or(0));
    }
    if pid <= 0 || options != 0 {
        return None;
    }
    let process = ProcessFd::open(pid)?;
    park(hook::descriptor(process.0)?, probe)
}

/// `waitid` on a goroutine; None: hand it off.
///
/// # Safety
/// As for `waitid`.
unsafe fn parked_waitid(kind: idtype_t, id: id_t, info: *mut siginfo_t, options: c_int) -> Option<c_int> {
    let mut unwanted = MaybeUninit::<siginfo_t>::zeroed();
    let info = if info.is_null() { unwanted.as_mut_ptr() } else { info };
    let args = [kind as usize, id as usize, info as usize, (options | libc::WNOHANG) as usize, 0, 0];
    let probe = || {
        // SAFETY: the caller's promise, passed on. After success the kernel has filled `info` in, with no process (0) if there
        // is nothing to tell.
        unsafe {
            let answer = raw(libc::SYS_waitid, args) as c_int;
            (answer != 0 || (*info).si_pid() != 0).then_some(answer)
        }
    };
    let answer = probe();
    if answer.is_some() || options & libc::WNOHANG != 0 {
        return Some(answer.unwrap_or(0));
    }
    if options & !libc::WNOWAIT != libc::WEXITED {
        return None;
    }
    match kind {
        libc::P_PID => {
            let process = ProcessFd::open(id as pid_t)?;
            park(hook::descriptor(process.0)?, probe)
        }
        libc::P_PIDFD => {
            // SAFETY: takes numbers only.
            let flags = unsafe { kernel(libc::SYS_fcntl, [id as usize, libc::F_GETFL as usize, 0, 0, 0, 0]) } as c_int;
            if flags < 0 || flags & libc::O_NONBLOCK != 0 {
                return None; // libc's call does not block on it
            }
            park(hook::descriptor(id as c_int)?, probe)
        }
        _ => None,
    }
}

/// libc's `wait4`.
///
/// # Safety
/// As for that function.
#[no_mangle]
pub unsafe extern "C" fn wait4(pid: pid_t, status: *mut c_int, options: c_int, usage: *mut rusage) -> pid_t {
    let next = next!(c"wait4", fn(pid_t, *mut c_int, c_int, *mut rusage) -> pid_t);
    // SAFETY: the caller's promise, passed on.
    unsafe {
        if may_park() {
            if let Some(answer) = parked_wait4(pid, status, options, usage) {
                return answer;
            }
        }
        hand_off(|| next(pid, status, options, usage))
    }
}

/// libc's `waitpid`.
///
/// # Safety
/// As for that function.
#[no_mangle]
pub unsafe extern "C" fn waitpid(pid: pid_t, status: *mut c_int, options: c_int) -> pid_t {
    // SAFETY: the caller's promise, passed on; libc's function does the same.
    unsafe { wait4(pid, status, options, ptr::null_mut()) }
}

/// libc's `__waitpid`, another name of `waitpid`.
///
/// # Safety
/// As for that function.
#[no_mangle]
pub unsafe extern "C" fn __waitpid(pid: pid_t, status: *mut c_int, options: c_int) -> pid_t {
    // SAFETY: the caller's promise, passed on.
    unsafe { waitpid(pid, status, options) }
}

/// libc's `wait`.
///
/// # Safety
/// As for that function.
#[no_mangle]
pub unsafe extern "C" fn wait(status: *mut c_int) -> pid_t {
    // SAFETY: the caller's promise, passed on; libc's function does the same.
    unsafe { wait4(-1, status, 0, ptr::null_mut()) }
}

/// libc's `__wait`, another name of `wait`.
///
/// # Safety
/// As for that function.
#[no_mangle]
pub unsafe extern "C" fn __wait(status: *mut c_int) -> pid_t {
    // SAFETY: the caller's promise, passed on.
    unsafe { wait(status) }
}

/// libc's `wait3`.
///
/// # Safety
/// As for that function.
#[no_mangle]
pub unsafe extern "C" fn wait3(status: *mut c_int, options: c_int, usage: *mut rusage) -> pid_t {
    // SAFETY: the caller's promise, passed on; libc's function does the same.
    unsafe { wait4(-1, status, options, usage) }
}

/// libc's `waitid`.
///
/// # Safety
/// As for that function.
#[no_mangle]
pub unsafe extern "C" fn waitid(kind: idtype_t, id: id_t, info: *mut siginfo_t, options: c_int) -> c_int {
    let next = next!(c"waitid", fn(idtype_t, id_t, *mut siginfo_t, c_int) -> c_int);
    // SAFETY: the caller's promise, passed on.
    unsafe {
        if may_park() {
            if let Some(answer) = parked_waitid(kind, id, info, options) {
                return answer;
            }
        }
        hand_off(|| next(kind, id, info, options))
    }
}

/// In place of libc's `vfork`: `fork`. See the module's head.
///
/// # Safety
/// As for `fork`.
#[no_mangle]
pub unsafe extern "C" fn vfork() -> pid_t {
    // SAFETY: the caller's promise, passed on.
    unsafe { libc::fork() }
}

/// libc's `__vfork`, another name of `vfork`.
///
/// # Safety
/// As for `fork`.
#[no_mangle]
pub unsafe extern "C" fn __vfork() -> pid_t {
    // SAFETY: the caller's promise, passed on.
    unsafe { libc::fork() }
}

/// libc's `_Fork` (since glibc 2.34; with an older one it is `fork`), which calls nobody in the child. We must know of it.
///
/// # Safety
/// As for that function. The first call looks libc's definition up, which a signal handler should not.
#[no_mangle]
#[allow(non_snake_case)]
pub unsafe extern "C" fn _Fork() -> pid_t {
    static NEXT: Next = Next::new(c"_Fork");
    let next = NEXT.get();
    // SAFETY: a symbol of this name has this type; the caller's promise, passed on.
    let pid = unsafe {
        if next.is_null() {
            return libc::fork();
        }
        mem::transmute::<*mut c_void, unsafe extern "C" fn() -> pid_t>(next)()
    };
    if pid == 0 {
        hook::forked();
    }
    pid
}
