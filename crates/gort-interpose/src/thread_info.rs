//! What is asked of a thread, or done to it, by its number.
//!
//! glibc looks into the thread's block and asks the kernel about the id that it finds there. A goroutine has such a block, and
//! the id in it is none that the kernel knows. So the hooks answer for goroutines, for those of `gort::thread` too; for all
//! other numbers they are libc's functions.
//!
//! | Asked of a goroutine | Answer |
//! |---|---|
//! | stack bounds | those of its stack |
//! | name | kept with the goroutine; the kernel thread keeps its own |
//! | signal | to itself: to the kernel thread underneath. To another one: `ESRCH` |
//! | cancellation | `ESRCH`. Of a thread in a callback: when that has returned |
//! | scheduling | the default policy; another one is `ENOTSUP` |
//! | CPUs | those of the kernel thread underneath; a choice is `ENOTSUP` |
//! | clock of its processor time | `ENOENT`: there is none |

use crate::errno;
use crate::next::next;
use crate::sys::raw;
use crate::Ours;
use core::ffi::CStr;
use core::mem;
use core::ptr;
use gort_rt::hook::{
    self,
    pthread::{self, Numbered},
};
use libc::{c_char, c_int, c_ulong, clockid_t, pthread_attr_t, pthread_t, sched_param};

/// What this file defines.
pub(crate) static HOOKS: &[Ours] = &[
    Ours::new(c"pthread_kill", pthread_kill as *const ()),
    Ours::new(c"pthread_sigqueue", pthread_sigqueue as *const ()),
    Ours::new(c"pthread_cancel", pthread_cancel as *const ()),
    Ours::new(c"pthread_getattr_np", pthread_getattr_np as *const ()),
    Ours::new(c"pthread_setname_np", pthread_setname_np as *const ()),
    Ours::new(c"pthread_getname_np", pthread_getname_np as *const ()),
    Ours::new(c"prctl", prctl as *const ()),
    Ours::new(c"pthread_getschedparam", pthread_getschedparam as *const ()),
    Ours::new(c"pthread_setschedparam", pthread_setschedparam as *const ()),
    Ours::new(c"pthread_setschedprio", pthread_setschedprio as *const ()),
    Ours::new(c"pthread_getaffinity_np", pthread_getaffinity_np as *const ()),
    Ours::new(c"pthread_setaffinity_np", pthread_setaffinity_np as *const ()),
    Ours::new(c"pthread_getcpuclockid", pthread_getcpuclockid as *const ()),
];

/// Bytes of a thread's name with its zero byte: Linux's limit.
const NAME_BYTES: usize = 16;

/// The running goroutine's number; None on a thread.
fn running() -> Option<Numbered> {
    // SAFETY: the call has no preconditions.
    pthread::find(unsafe { libc::pthread_self() })
}

/// The result of a system call as the functions of this file return it: 0 or the error's number. errno stays as it is.
fn code(call: impl FnOnce() -> libc::c_long) -> c_int {
    // SAFETY: the location is the caller's own.
    errno::kept(|| if call() < 0 { unsafe { *libc::__errno_location() } } else { 0 })
}

/// libc's `pthread_kill`.
///
/// # Safety
/// As for that function.
#[no_mangle]
pub unsafe extern "C" fn pthread_kill(thread: pthread_t, signal: c_int) -> c_int {
    let next = next!(c"pthread_kill", fn(pthread_t, c_int) -> c_int);
    match pthread::find(thread) {
        // SAFETY: the caller's promise, passed on.
        None => unsafe { next(thread, signal) },
        Some(_) if !(0..=libc::SIGRTMAX()).contains(&signal) => libc::EINVAL,
        // SAFETY: the calls have no preconditions; what the handler does is the caller's business.
        Some(goroutine) if goroutine.is_self() => code(|| unsafe {
            raw(libc::SYS_tgkill, [libc::getpid() as usize, libc::gettid() as usize, signal as usize, 0, 0, 0])
        }),
        Some(goroutine) if goroutine.is_known() && signal == 0 => 0,
        Some(_) => libc::ESRCH,
    }
}

/// libc's `pthread_sigqueue`.
///
/// # Safety
/// As for that function.
#[no_mangle]
pub unsafe extern "C" fn pthread_sigqueue(thread: pthread_t, signal: c_int, value: libc::sigval) -> c_int {
    let next = next!(c"pthread_sigqueue", fn(pthread_t, c_int, libc::sigval) -> c_int);
    match pthread::find(thread) {
        // SAFETY: the caller's promise, passed on.
        None => unsafe { next(thread, signal, value) },
        Some(_) => libc::ESRCH,
    }
}

/// libc's `pthread_cancel`. A thread in a callback is cancelled when that has returned.
///
/// # Safety
/// As for that function.
#[no_mangle]
pub unsafe extern "C-unwind" fn pthread_cancel(thread: pthread_t) -> c_int {
    // It unwinds a caller that cancels itself, if requests to it are acted on at once.
    let next = next!(c"pthread_cancel", as unsafe extern "C-unwind" fn(pthread_t) -> c_int);
    match pthread::find(thread) {
        // SAFETY: the caller's promise, passed on.
        None => hook::cancel(thread, || unsafe { next(thread) }),
        Some(_) => libc::ESRCH,
    }
}

/// libc's `pthread_getattr_np`. Of a goroutine's attributes it tells the stack, the guard and whether it is detached.
///
/// # Safety
/// As for that function.
#[no_mangle]
pub unsafe extern "C" fn pthread_getattr_np(thread: pthread_t, attr: *mut pthread_attr_t) -> c_int {
    let next = next!(c"pthread_getattr_np", fn(pthread_t, *mut pthread_attr_t) -> c_int);
    let Some(goroutine) = pthread::find(thread) else {
        // SAFETY: the caller's promise, passed on.
        return unsafe { next(thread, attr) };
    };
    if !goroutine.is_known() {
        return libc::ESRCH;
    }
    let stack = goroutine.stack();
    let state = if goroutine.is_detached() { libc::PTHREAD_CREATE_DETACHED } else { libc::PTHREAD_CREATE_JOINABLE };
    // SAFETY: the caller lends room for an attribute object, which the first call initialises; the others change fields of it.
    unsafe {
        let mut code = libc::pthread_attr_init(attr);
        if code == 0 {
            code = libc::pthread_attr_setstack(attr, ptr::without_provenance_mut(stack.low), stack.size);
            libc::pthread_attr_setguardsize(attr, stack.guard);
            libc::pthread_attr_setdetachstate(attr, state);
        }
        code
    }
}

/// libc's `pthread_setname_np`.
///
/// # Safety
/// As for that function.
#[no_mangle]
pub unsafe extern "C" fn pthread_setname_np(thread: pthread_t, name: *const c_char) -> c_int {
    let next = next!(c"pthread_setname_np", fn(pthread_t, *const c_char) -> c_int);
    let Some(goroutine) = pthread::find(thread) else {
        // SAFETY: the caller's promise, passed on.
        return unsafe { next(thread, name) };
    };
    // SAFETY: the caller passes a C string.
    let name = unsafe { CStr::from_ptr(name) }.to_bytes();
    if name.len() >= NAME_BYTES {
        return libc::ERANGE;
    }
    if !goroutine.is_known() {
        return libc::ESRCH;
    }
    goroutine.set_name(name);
    0
}

/// The name that a goroutine has for its own: given, or the program's, from which all threads of a process have theirs.
fn name_of(goroutine: Numbered) -> [u8; NAME_BYTES] {
    extern "C" {
        static program_invocation_short_name: *const c_char;
    }
    let mut name = goroutine.name();
    if name[0] == 0 {
        // SAFETY: glibc sets the pointer to a C string before any code of the program runs.
        let program = unsafe { CStr::from_ptr(program_invocation_short_name) }.to_bytes();
        let length = program.len().min(NAME_BYTES - 1);
        name[..length].copy_from_slice(&program[..length]);
    }
    name
}

/// libc's `pthread_getname_np`.
///
/// # Safety
/// As for that function.
#[no_mangle]
pub unsafe extern "C" fn pthread_getname_np(thread: pthread_t, name: *mut c_char, len: usize) -> c_int {
    let next = next!(c"pthread_getname_np", fn(pthread_t, *mut c_char, usize) -> c_int);
    let Some(goroutine) = pthread::find(thread) else {
        // SAFETY: the caller's promise, passed on.
        return unsafe { next(thread, name, len) };
    };
    if len < NAME_BYTES {
        return libc::ERANGE;
    }
    if !goroutine.is_known() {
        return libc::ESRCH;
    }
    // SAFETY: the caller lends `len` bytes, which is enough.
    unsafe { name.cast::<[u8; NAME_BYTES]>().write(name_of(goroutine)) };
    0
}

/// libc's `prctl`, which C declares variadic; its arguments travel as those of this signature. A goroutine's name is
/// its own; everything else concerns the kernel thread.
///
/// # Safety
/// As for that function.
#[no_mangle]
pub unsafe extern "C" fn prctl(option: c_int, a: c_ulong, b: c_ulong, c: c_ulong, d: c_ulong) -> c_int {
    let next = next!(c"prctl", fn(c_int, c_ulong, c_ulong, c_ulong, c_ulong) -> c_int);
    if matches!(option, libc::PR_SET_NAME | libc::PR_GET_NAME) {
        if let Some(goroutine) = running() {
            // SAFETY: the caller passes a C string, of which 15 bytes count, or room for 16 bytes.
            unsafe {
                if option == libc::PR_GET_NAME {
                    ptr::with_exposed_provenance_mut::<[u8; NAME_BYTES]>(a as usize).write(name_of(goroutine));
                } else {
                    let name = ptr::with_exposed_provenance::<c_char>(a as usize);
                    let length = libc::strnlen(name, NAME_BYTES - 1);
                    goroutine.set_name(core::slice::from_raw_parts(name.cast(), length));
                }
            }
            return 0;
        }
    }
    // SAFETY: the caller's promise, passed on.
    unsafe { next(option, a, b, c, d) }
}

/// libc's `pthread_getschedparam`.
///
/// # Safety
/// As for that function.
#[no_mangle]
pub unsafe extern "C" fn pthread_getschedparam(
    thread: pthread_t,
    policy: *mut c_int,
    param: *mut sched_param,
) -> c_int {
    let Some(goroutine) = pthread::find(thread) else {
        let next = next!(c"pthread_getschedparam", fn(pthread_t, *mut c_int, *mut sched_param) -> c_int);
        // SAFETY: the caller's promise, passed on.
        return unsafe { next(thread, policy, param) };
    };
    if !goroutine.is_known() {
        return libc::ESRCH;
    }
    // SAFETY: the caller lends both; zero is a valid priority.
    unsafe {
        policy.write(libc::SCHED_OTHER);
        param.write(mem::zeroed());
    }
    0
}

/// What a goroutine says to a choice of policy and priority.
fn choose(goroutine: Numbered, policy: c_int, priority: c_int) -> c_int {
    match (goroutine.is_known(), policy, priority) {
        (false, _, _) => libc::ESRCH,
        (true, libc::SCHED_OTHER, 0) => 0,
        _ => libc::ENOTSUP,
    }
}

/// libc's `pthread_setschedparam`.
///
/// # Safety
/// As for that function.
#[no_mangle]
pub unsafe extern "C" fn pthread_setschedparam(thread: pthread_t, policy: c_int, param: *const sched_param) -> c_int {
    let next = next!(c"pthread_setschedparam", fn(pthread_t, c_int, *const sched_param) -> c_int);
    // SAFETY: the caller's promise, passed on.
    unsafe {
        match pthread::find(thread) {
            Some(goroutine) => choose(goroutine, policy, (*param).sched_priority),
            None => next(thread, policy, param),
        }
    }
}

/// libc's `pthread_setschedprio`.
///
/// # Safety
/// As for that function.
#[no_mangle]
pub unsafe extern "C" fn pthread_setschedprio(thread: pthread_t, priority: c_int) -> c_int {
    let next = next!(c"pthread_setschedprio", fn(pthread_t, c_int) -> c_int);
    match pthread::find(thread) {
        Some(goroutine) => choose(goroutine, libc::SCHED_OTHER, priority),
        // SAFETY: the caller's promise, passed on.
        None => unsafe { next(thread, priority) },
    }
}

/// libc's `pthread_getaffinity_np`.
///
/// # Safety
/// As for that function.
#[no_mangle]
pub unsafe extern "C" fn pthread_getaffinity_np(thread: pthread_t, size: usize, cpus: *mut libc::cpu_set_t) -> c_int {
    let next = next!(c"pthread_getaffinity_np", fn(pthread_t, usize, *mut libc::cpu_set_t) -> c_int);
    // SAFETY: the caller's promise, passed on.
    unsafe {
        match pthread::find(thread) {
            None => next(thread, size, cpus),
            Some(goroutine) if !goroutine.is_known() => libc::ESRCH,
            Some(_) => code(|| libc::sched_getaffinity(0, size, cpus).into()),
        }
    }
}

/// libc's `pthread_setaffinity_np`.
///
/// # Safety
/// As for that function.
#[no_mangle]
pub unsafe extern "C" fn pthread_setaffinity_np(thread: pthread_t, size: usize, cpus: *const libc::cpu_set_t) -> c_int {
    let next = next!(c"pthread_setaffinity_np", fn(pthread_t, usize, *const libc::cpu_set_t) -> c_int);
    match pthread::find(thread) {
        // SAFETY: the caller's promise, passed on.
        None => unsafe { next(thread, size, cpus) },
        Some(goroutine) if !goroutine.is_known() => libc::ESRCH,
        Some(_) => libc::ENOTSUP,
    }
}

/// libc's `pthread_getcpuclockid`.
///
/// # Safety
/// As for that function.
#[no_mangle]
pub unsafe extern "C" fn pthread_getcpuclockid(thread: pthread_t, clock: *mut clockid_t) -> c_int {
    let next = next!(c"pthread_getcpuclockid", fn(pthread_t, *mut clockid_t) -> c_int);
    match pthread::find(thread) {
        // SAFETY: the caller's promise, passed on.
        None => unsafe { next(thread, clock) },
        Some(goroutine) if !goroutine.is_known() => libc::ESRCH,
        Some(_) => libc::ENOENT,
    }
}
