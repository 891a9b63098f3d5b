//! Threads that other code starts: as goroutines, if `GORT_THREADS=1` or `Config::threads_as_goroutines` says so.
//!
//! `std::thread` of any crate comes through `pthread_create`, so its handles, names, scopes and panics are std's own. C11's
//! functions have hooks of their own, because glibc's definitions go past those of POSIX. What only the kernel can give makes
//! a thread in spite of the setting; see [`wanted`].
//!
//! Whoever made a goroutine here may join and detach it by its number later, whatever the setting says then. Joining a real
//! thread is a blocking call: the P goes to others.

use crate::hand_off::hand_off;
use crate::next::{next, Next};
use crate::sleep::deadline;
use crate::switch::enabled;
use crate::Ours;
use core::mem::{self, MaybeUninit};
use core::ptr;
use gort_rt::hook::pthread::{self, Leaving, Start, Until, Wanted};
use libc::{c_int, c_void, clockid_t, pthread_attr_t, pthread_t, timespec};

/// What this file defines.
pub(crate) static HOOKS: &[Ours] = &[
    Ours::new(c"pthread_create", pthread_create as *const ()),
    Ours::new(c"pthread_join", pthread_join as *const ()),
    Ours::new(c"pthread_tryjoin_np", pthread_tryjoin_np as *const ()),
    Ours::new(c"pthread_timedjoin_np", pthread_timedjoin_np as *const ()),
    Ours::new(c"pthread_clockjoin_np", pthread_clockjoin_np as *const ()),
    Ours::new(c"pthread_detach", pthread_detach as *const ()),
    Ours::new(c"pthread_exit", pthread_exit as *const ()),
    Ours::new(c"thrd_create", thrd_create as *const ()),
    Ours::new(c"thrd_join", thrd_join as *const ()),
    Ours::new(c"thrd_detach", thrd_detach as *const ()),
    Ours::new(c"thrd_exit", thrd_exit as *const ()),
];

extern "C" {
    fn pthread_attr_getstack(attr: *const pthread_attr_t, address: *mut *mut c_void, size: *mut usize) -> c_int;
    fn pthread_attr_getstacksize(attr: *const pthread_attr_t, size: *mut usize) -> c_int;
    fn pthread_attr_getdetachstate(attr: *const pthread_attr_t, state: *mut c_int) -> c_int;
    fn pthread_attr_getinheritsched(attr: *const pthread_attr_t, inherit: *mut c_int) -> c_int;
    fn pthread_attr_getschedpolicy(attr: *const pthread_attr_t, policy: *mut c_int) -> c_int;
    fn pthread_attr_getaffinity_np(attr: *const pthread_attr_t, size: usize, cpus: *mut u8) -> c_int;
}

/// `PTHREAD_EXPLICIT_SCHED`.
const EXPLICIT_SCHED: c_int = 1;
/// Bytes of a set of CPUs that glibc's own type has.
const CPU_SET: usize = mem::size_of::<libc::cpu_set_t>();

/// What a thread with these attributes is to be like; None: a real one.
///
/// # Safety
/// `attr` is null or initialised.
unsafe fn wanted(attr: *const pthread_attr_t) -> Option<Wanted> {
    let mut plain = MaybeUninit::<pthread_attr_t>::uninit();
    // SAFETY: the caller's promise; `plain` is initialised before it is read; each getter writes one value of its type. (An
    // object that was initialised and not changed owns nothing, so it need not be destroyed.)
    unsafe {
        let attr = if attr.is_null() {
            libc::pthread_attr_init(plain.as_mut_ptr());
            plain.as_ptr()
        } else {
            attr
        };
        let (mut inherit, mut policy, mut detached) = (0, 0, 0);
        let (mut low, mut size, mut stack) = (ptr::null_mut(), 0, 0);
        let mut cpus = [0xff; CPU_SET];
        pthread_attr_getinheritsched(attr, &raw mut inherit);
        pthread_attr_getschedpolicy(attr, &raw mut policy);
        pthread_attr_getdetachstate(attr, &raw mut detached);
        pthread_attr_getstack(attr, &raw mut low, &raw mut size);
        pthread_attr_getstacksize(attr, &raw mut stack);
        // All CPUs is what the call says where nothing was asked for; it fails if the set is larger than ours.
        let some_cpus = pthread_attr_getaffinity_np(attr, CPU_SET, cpus.as_mut_ptr()) != 0 || cpus != [0xff; CPU_SET];
        // glibc keeps the stack's upper end, null where there is none.
        let own_stack = low.addr().wrapping_add(size) != 0;
        let own_order = inherit == EXPLICIT_SCHED && policy != libc::SCHED_OTHER;
        if own_order || own_stack || some_cpus || has_signal_mask(attr) {
            return None;
        }
        Some(Wanted { stack, detached: detached == libc::PTHREAD_CREATE_DETACHED, returns_int: false })
    }
}

/// Whether the attributes name a signal mask.
///
/// # Safety
/// `attr` is initialised.
unsafe fn has_signal_mask(attr: *const pthread_attr_t) -> bool {
    static NEXT: Next = Next::new(c"pthread_attr_getsigmask_np");
    let next = NEXT.get();
    let mut mask = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: a symbol of this name has this type (glibc 2.32 and later have it); the mask is room for one. The result is
    // PTHREAD_ATTR_NO_SIGMASK_NP, -1, where there is none.
    !next.is_null()
        && unsafe {
            mem::transmute::<*mut c_void, unsafe extern "C" fn(*const pthread_attr_t, *mut libc::sigset_t) -> c_int>(
                next,
            )(attr, mask.as_mut_ptr())
        } == 0
}

/// libc's `pthread_create`.
///
/// # Safety
/// As for that function.
#[no_mangle]
pub unsafe extern "C" fn pthread_create(
    thread: *mut pthread_t,
    attr: *const pthread_attr_t,
    start: Start,
    arg: *mut c_void,
) -> c_int {
    let next = next!(c"pthread_create", fn(*mut pthread_t, *const pthread_attr_t, Start, *mut c_void) -> c_int);
    // SAFETY: the caller's promise, passed on.
    unsafe {
        if pthread::takes_over() && enabled() {
            if let Some(wanted) = wanted(attr) {
                if let Some(result) = pthread::create(thread, wanted, start, arg) {
                    return result;
                }
            }
        }
        next(thread, attr, start, arg)
    }
}

/// The end of a join of a goroutine: hands the value over.
///
/// # Safety
/// `value` is null or writable.
unsafe fn joined(result: Result<*mut c_void, c_int>, value: *mut *mut c_void) -> c_int {
    match result {
        Ok(left) => {
            if !value.is_null() {
                // SAFETY: the caller's promise.
                unsafe { value.write(left) };
            }
            0
        }
        Err(code) => code,
    }
}

/// libc's `pthread_join`.
///
/// # Safety
/// As for that function.
#[no_mangle]
pub unsafe extern "C" fn pthread_join(thread: pthread_t, value: *mut *mut c_void) -> c_int {
    let next = next!(c"pthread_join", fn(pthread_t, *mut *mut c_void) -> c_int);
    // SAFETY: the caller's promise, passed on.
    unsafe {
        match pthread::find(thread) {
            Some(goroutine) => joined(goroutine.join(Until::End), value),
            None => hand_off(|| next(thread, value)),
        }
    }
}

/// libc's `pthread_tryjoin_np`.
///
/// # Safety
/// As for that function.
#[no_mangle]
pub unsafe extern "C" fn pthread_tryjoin_np(thread: pthread_t, value: *mut *mut c_void) -> c_int {
    let next = next!(c"pthread_tryjoin_np", fn(pthread_t, *mut *mut c_void) -> c_int);
    // SAFETY: the caller's promise, passed on.
    unsafe {
        match pthread::find(thread) {
            Some(goroutine) => joined(goroutine.join(Until::Now), value),
            None => next(thread, value),
        }
    }
}

/// Until when a join with this moment waits; an error's number if there is no such moment.
///
/// # Safety
/// `when` is null or readable.
unsafe fn until(clock: clockid_t, when: *const timespec) -> Result<Until, c_int> {
    // SAFETY: the caller's promise.
    let Some(&when) = (unsafe { when.as_ref() }) else { return Ok(Until::End) };
    if !matches!(clock, libc::CLOCK_REALTIME | libc::CLOCK_MONOTONIC) || !(0..1_000_000_000).contains(&when.tv_nsec) {
        return Err(libc::EINVAL);
    }
    // Moments before the epoch have passed.
    Ok(Until::Deadline(deadline(clock, true, when).unwrap_or(0)))
}

/// libc's `pthread_timedjoin_np`: the moment is one of the realtime clock.
///
/// # Safety
/// As for that function.
#[no_mangle]
pub unsafe extern "C" fn pthread_timedjoin_np(
    thread: pthread_t,
    value: *mut *mut c_void,
    when: *const timespec,
) -> c_int {
    let next = next!(c"pthread_timedjoin_np", fn(pthread_t, *mut *mut c_void, *const timespec) -> c_int);
    // SAFETY: the caller's promise, passed on.
    unsafe {
        match pthread::find(thread) {
            Some(goroutine) => match until(libc::CLOCK_REALTIME, when) {
                Ok(until) => joined(goroutine.join(until), value),
                Err(code) => code,
            },
            None => hand_off(|| next(thread, value, when)),
        }
    }
}

/// libc's `pthread_clockjoin_np`.
///
/// # Safety
/// As for that function.
#[no_mangle]
pub unsafe extern "C" fn pthread_clockjoin_np(
    thread: pthread_t,
    value: *mut *mut c_void,
    clock: clockid_t,
    when: *const timespec,
) -> c_int {
    let next = next!(c"pthread_clockjoin_np", fn(pthread_t, *mut *mut c_void, clockid_t, *const timespec) -> c_int);
    // SAFETY: the caller's promise, passed on.
    unsafe {
        match pthread::find(thread) {
            Some(goroutine) => match until(clock, when) {
                Ok(until) => joined(goroutine.join(until), value),
                Err(code) => code,
            },
            None => hand_off(|| next(thread, value, clock, when)),
        }
    }
}

/// libc's `pthread_detach`.
///
/// # Safety
/// As for that function.
#[no_mangle]
pub unsafe extern "C" fn pthread_detach(thread: pthread_t) -> c_int {
    let next = next!(c"pthread_detach", fn(pthread_t) -> c_int);
    match pthread::find(thread) {
        Some(goroutine) => goroutine.detach(),
        // SAFETY: the caller's promise, passed on.
        None => unsafe { next(thread) },
    }
}

/// A function that unwinds the caller's stack, without a return.
///
/// # Safety
/// A symbol of this name takes a T and does that.
unsafe fn unwinding<T>(next: &Next) -> unsafe extern "C-unwind" fn(T) -> ! {
    // SAFETY: the caller's promise.
    unsafe { mem::transmute::<*mut c_void, unsafe extern "C-unwind" fn(T) -> !>(next.need()) }
}

/// libc's `pthread_exit`. In a goroutine that `pthread_create` did not make it ends the process, with a message: there is
/// nothing to exit from.
///
/// # Safety
/// As for that function.
#[no_mangle]
pub unsafe extern "C-unwind" fn pthread_exit(value: *mut c_void) -> ! {
    static NEXT: Next = Next::new(c"pthread_exit");
    // SAFETY: the caller's promise, passed on; no frame of ours that is unwound has anything to drop.
    unsafe {
        match pthread::exiting(value) {
            Leaving::Libc => unwinding(&NEXT)(value),
            Leaving::Nowhere => libc::abort(),
        }
    }
}

/// A start routine of C11's.
type Start11 = unsafe extern "C" fn(*mut c_void) -> c_int;

/// C11's results.
const SUCCESS: c_int = 0;
const BUSY: c_int = 1;
const ERROR: c_int = 2;
const NO_MEMORY: c_int = 3;
const TIMED_OUT: c_int = 4;

/// C11's result for an error's number.
fn result11(code: c_int) -> c_int {
    match code {
        0 => SUCCESS,
        libc::EBUSY => BUSY,
        libc::ENOMEM => NO_MEMORY,
        libc::ETIMEDOUT => TIMED_OUT,
        _ => ERROR,
    }
}

/// libc's `thrd_create`.
///
/// # Safety
/// As for that function.
#[no_mangle]
pub unsafe extern "C" fn thrd_create(thread: *mut pthread_t, start: Start11, arg: *mut c_void) -> c_int {
    let next = next!(c"thrd_create", fn(*mut pthread_t, Start11, *mut c_void) -> c_int);
    // SAFETY: the caller's promise, passed on. The two types of start routine differ in what of the result's register counts.
    unsafe {
        if pthread::takes_over() && enabled() {
            if let Some(wanted) = wanted(ptr::null()) {
                let wanted = Wanted { returns_int: true, ..wanted };
                let result = pthread::create(thread, wanted, mem::transmute::<Start11, Start>(start), arg);
                if let Some(result) = result {
                    return result11(result);
                }
            }
        }
        next(thread, start, arg)
    }
}

/// libc's `thrd_join`.
///
/// # Safety
/// As for that function.
#[no_mangle]
pub unsafe extern "C" fn thrd_join(thread: pthread_t, value: *mut c_int) -> c_int {
    let next = next!(c"thrd_join", fn(pthread_t, *mut c_int) -> c_int);
    // SAFETY: the caller's promise, passed on.
    unsafe {
        match pthread::find(thread) {
            Some(goroutine) => {
                let mut left = ptr::null_mut();
                let code = joined(goroutine.join(Until::End), &raw mut left);
                if code == 0 && !value.is_null() {
                    value.write(left as isize as c_int);
                }
                result11(code)
            }
            None => hand_off(|| next(thread, value)),
        }
    }
}

/// libc's `thrd_detach`.
///
/// # Safety
/// As for that function.
#[no_mangle]
pub unsafe extern "C" fn thrd_detach(thread: pthread_t) -> c_int {
    let next = next!(c"thrd_detach", fn(pthread_t) -> c_int);
    match pthread::find(thread) {
        Some(goroutine) => result11(goroutine.detach()),
        // SAFETY: the caller's promise, passed on.
        None => unsafe { next(thread) },
    }
}

/// libc's `thrd_exit`; see [`pthread_exit`].
///
/// # Safety
/// As for that function.
#[no_mangle]
pub unsafe extern "C-unwind" fn thrd_exit(value: c_int) -> ! {
    static NEXT: Next = Next::new(c"thrd_exit");
    // SAFETY: as in `pthread_exit`.
    unsafe {
        match pthread::exiting(value as isize as *mut c_void) {
            Leaving::Libc => unwinding(&NEXT)(value),
            Leaving::Nowhere => libc::abort(),
        }
    }
}
