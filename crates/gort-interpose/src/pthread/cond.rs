//! Condition variables.
//!
//! Goroutines wait in the runtime's table under the condition variable's address, kernel threads in libc's object. A
//! goroutine queues itself, then releases the mutex, then parks: whoever holds the mutex after it finds it in the queue.
//! `pthread_cond_signal` wakes the goroutine that waits longest, or else a kernel thread. While both kinds wait every second
//! signal goes to both, so that neither starves the other; a signal for a kernel thread alone could be lost, since one that
//! has entered the hook need not be counted by libc yet. (That a signal wakes more than one is allowed.)
//!
//! Looking whether goroutines wait needs no fence: the ones that a signal must wake released the mutex, by our hook, before
//! something that the signaller knows of, and were counted before that.
//!
//! A kernel thread, and a goroutine that hands off because the condition variable is shared between processes, releases the
//! mutex within libc. It announces that first: see the runtime's `sync::futex::sentry`. The announcement lies in the hook's
//! frame and is withdrawn by a cleanup handler, since the thread may be cancelled in its wait. The handlers are those of C
//! without exceptions: they run also where the unwinder may not run code of ours.

use super::mutex::{pthread_mutex_lock, pthread_mutex_unlock};
use super::{learn, own, when, Limit, ANY};
use crate::switch::may_park;
use crate::Ours;
use core::ffi::c_void;
use core::mem::{ManuallyDrop, MaybeUninit};
use gort_rt::ffi::blocking;
use gort_rt::hook::{self, KernelWait, Silent, Wait, Why};
use libc::{c_int, clockid_t, pthread_cond_t, pthread_mutex_t, timespec};

/// What this file defines.
pub(crate) static HOOKS: &[Ours] = &[
    Ours::new(c"pthread_cond_wait", pthread_cond_wait as *const ()),
    Ours::new(c"pthread_cond_timedwait", pthread_cond_timedwait as *const ()),
    Ours::new(c"pthread_cond_clockwait", pthread_cond_clockwait as *const ()),
    Ours::new(c"pthread_cond_signal", pthread_cond_signal as *const ()),
    Ours::new(c"pthread_cond_broadcast", pthread_cond_broadcast as *const ()),
];

/// `struct _pthread_cleanup_buffer` of pthread.h.
#[repr(C)]
struct CleanupBuffer {
    routine: Option<unsafe extern "C" fn(*mut c_void)>,
    arg: *mut c_void,
    cancel_type: c_int,
    previous: *mut CleanupBuffer,
}

extern "C" {
    fn _pthread_cleanup_push(buffer: *mut CleanupBuffer, routine: unsafe extern "C" fn(*mut c_void), arg: *mut c_void);
    fn _pthread_cleanup_pop(buffer: *mut CleanupBuffer, execute: c_int);
}

/// A wait inside libc.
struct Inside {
    silent: Silent,
    waits: ManuallyDrop<KernelWait>,
}

unsafe extern "C" fn leave(inside: *mut c_void) {
    // SAFETY: `in_libc` registers this with its own `Inside`, which is left once.
    unsafe {
        let inside = &mut *inside.cast::<Inside>();
        hook::no_longer_silent(&inside.silent);
        ManuallyDrop::drop(&mut inside.waits);
    }
}

/// Makes the wait `real` of libc's, which releases the mutex.
///
/// # Safety
/// The caller holds the mutex.
unsafe fn in_libc(cond: *mut pthread_cond_t, mutex: *mut pthread_mutex_t, real: impl FnOnce() -> c_int) -> c_int {
    let mut inside =
        Inside { silent: Silent::new(mutex as usize), waits: ManuallyDrop::new(KernelWait::on(cond as usize)) };
    let mut buffer = MaybeUninit::uninit();
    // SAFETY: what is announced and registered lies in this frame until it is withdrawn: on return, or, if the thread is
    // cancelled, by the handler, before the frame is left.
    unsafe {
        hook::announce(&inside.silent);
        _pthread_cleanup_push(buffer.as_mut_ptr(), leave, (&raw mut inside).cast());
        let result = real();
        _pthread_cleanup_pop(buffer.as_mut_ptr(), 1);
        result
    }
}

/// Waits, by the given moment at the latest; None for the clock: the condition variable's. `real` is libc's function.
///
/// # Safety
/// Condition variable and mutex are initialised, the moment is readable; the caller holds the mutex.
unsafe fn wait(
    cond: *mut pthread_cond_t,
    mutex: *mut pthread_mutex_t,
    limit: Option<(Option<clockid_t>, *const timespec)>,
    real: impl FnOnce() -> c_int,
) -> c_int {
    // SAFETY: the caller's promise, in all of this function.
    unsafe {
        if !may_park() {
            return in_libc(cond, mutex, real);
        }
        let Some(clock) = learn::clock_of_private(cond) else {
            return in_libc(cond, mutex, || blocking(real));
        };
        let limit = limit.map(|(own, at)| Limit { clock: own.unwrap_or(clock), at });
        match when(limit) {
            Ok(when) => park(cond, mutex, when),
            Err(e) => e,
        }
    }
}

unsafe fn park(cond: *mut pthread_cond_t, mutex: *mut pthread_mutex_t, when: Option<u64>) -> c_int {
    let mut released = 0;
    let release = || {
        // SAFETY: the caller's promise.
        released = unsafe { pthread_mutex_unlock(mutex) };
        released == 0
    };
    let end = hook::wait_unless(Why::condition(cond as usize), cond as usize, ANY, when, || false, release);
    if released != 0 {
        if end == Wait::Woken {
            // SAFETY: the caller's promise. The signal that came to us was for those who wait.
            unsafe { pthread_cond_signal(cond) };
        }
        return released;
    }
    // The condition variable may be gone from here on.
    // SAFETY: the caller's promise.
    match unsafe { pthread_mutex_lock(mutex) } {
        0 if end == Wait::TimedOut => libc::ETIMEDOUT,
        result => result,
    }
}

/// libc's `pthread_cond_wait`.
///
/// # Safety
/// As for libc's.
#[no_mangle]
pub unsafe extern "C" fn pthread_cond_wait(cond: *mut pthread_cond_t, mutex: *mut pthread_mutex_t) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { wait(cond, mutex, None, || own::pthread_cond_wait(cond, mutex)) }
}

/// libc's `pthread_cond_timedwait`.
///
/// # Safety
/// As for libc's.
#[no_mangle]
pub unsafe extern "C" fn pthread_cond_timedwait(
    cond: *mut pthread_cond_t,
    mutex: *mut pthread_mutex_t,
    at: *const timespec,
) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { wait(cond, mutex, Some((None, at)), || own::pthread_cond_timedwait(cond, mutex, at)) }
}

/// libc's `pthread_cond_clockwait`.
///
/// # Safety
/// As for libc's.
#[no_mangle]
pub unsafe extern "C" fn pthread_cond_clockwait(
    cond: *mut pthread_cond_t,
    mutex: *mut pthread_mutex_t,
    clock: clockid_t,
    at: *const timespec,
) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { wait(cond, mutex, Some((Some(clock), at)), || own::pthread_cond_clockwait(cond, mutex, clock, at)) }
}

/// libc's `pthread_cond_signal`; see the module's head.
///
/// # Safety
/// As for libc's.
#[no_mangle]
pub unsafe extern "C" fn pthread_cond_signal(cond: *mut pthread_cond_t) -> c_int {
    let key = cond as usize;
    if !hook::has_waiters(key) {
        // SAFETY: the caller's promise.
        return unsafe { own::pthread_cond_signal(cond) };
    }
    // Once a waiter was woken the condition variable may be gone. So libc, which touches it, comes first; or nobody was woken.
    if hook::kernels_turn(key) {
        // SAFETY: the caller's promise.
        let result = unsafe { own::pthread_cond_signal(cond) };
        hook::futex_wake(key, 1, ANY);
        return result;
    }
    match hook::futex_wake(key, 1, ANY) {
        // SAFETY: the caller's promise.
        0 => unsafe { own::pthread_cond_signal(cond) },
        _ => 0,
    }
}

/// libc's `pthread_cond_broadcast`.
///
/// # Safety
/// As for libc's.
#[no_mangle]
pub unsafe extern "C" fn pthread_cond_broadcast(cond: *mut pthread_cond_t) -> c_int {
    // SAFETY: the caller's promise.
    let result = unsafe { own::pthread_cond_broadcast(cond) };
    if hook::has_waiters(cond as usize) {
        hook::futex_wake(cond as usize, u32::MAX, ANY);
    }
    result
}
