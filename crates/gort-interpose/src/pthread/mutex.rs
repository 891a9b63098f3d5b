//! Mutexes.
//!
//! A goroutine tries; if the mutex is taken it waits in the runtime's table until a hook that releases mutexes wakes it, and
//! tries again. It owns what it gets under its own thread number, which is not its kernel thread's, so recursive and
//! error-checking mutexes work although it migrates. The mutex goes to whoever comes first, as libc's do.
//!
//! Every waiting goroutine that is woken tries again before it waits or leaves. So if it leaves without the mutex somebody
//! else has it, whose release wakes the next; one wake per release is enough. The one release that no hook sees, within
//! `pthread_cond_wait`, is the subject of the runtime's `sync::futex::sentry`; the hook in [`super::cond`] announces it.

use super::{is_past, learn, own, when, Limit, ANY};
use crate::switch::may_park;
use crate::Ours;
use gort_rt::ffi::blocking;
use gort_rt::hook::{self, Step};
use learn::Manner;
use libc::{c_int, clockid_t, pthread_mutex_t, timespec};

/// What this file defines.
pub(crate) static HOOKS: &[Ours] = &[
    Ours::new(c"pthread_mutex_lock", pthread_mutex_lock as *const ()),
    Ours::new(c"pthread_mutex_timedlock", pthread_mutex_timedlock as *const ()),
    Ours::new(c"pthread_mutex_clocklock", pthread_mutex_clocklock as *const ()),
    Ours::new(c"pthread_mutex_unlock", pthread_mutex_unlock as *const ()),
];

/// A goroutine takes the mutex, by `limit` at the latest. `real` is libc's function that does so.
///
/// # Safety
/// The mutex is initialised, and the limit readable; the caller may park.
unsafe fn lock(mutex: *mut pthread_mutex_t, limit: Option<Limit>, real: impl Fn() -> c_int) -> c_int {
    // SAFETY: the caller's promise.
    let try_lock = || unsafe { own::pthread_mutex_trylock(mutex) };
    match try_lock() {
        // SAFETY: the caller's promise.
        libc::EBUSY => unsafe { wait(mutex, limit, try_lock, real) },
        result => result,
    }
}

#[cold]
unsafe fn wait(
    mutex: *mut pthread_mutex_t,
    limit: Option<Limit>,
    try_lock: impl Fn() -> c_int,
    real: impl Fn() -> c_int,
) -> c_int {
    // SAFETY: the caller's promise.
    match unsafe { learn::mutex(mutex) } {
        Manner::Never => return libc::EDEADLK,
        Manner::HandOff => return blocking(real),
        Manner::Park | Manner::Sentry => {}
    }
    // SAFETY: the caller's promise.
    let when = match unsafe { when(limit) } {
        Ok(when) if is_past(when) => return libc::ETIMEDOUT,
        Ok(when) => when,
        Err(e) => return e,
    };
    let get = || Some(try_lock()).filter(|&result| result != libc::EBUSY);
    loop {
        match hook::lock_or_wait(mutex as usize, ANY, false, when, get, || blocking(&real)) {
            Step::Result(result) => return result,
            Step::TimedOut => return libc::ETIMEDOUT,
            Step::Woken => {}
        }
    }
}

/// libc's `pthread_mutex_lock`.
///
/// # Safety
/// As for libc's.
#[no_mangle]
pub unsafe extern "C" fn pthread_mutex_lock(mutex: *mut pthread_mutex_t) -> c_int {
    // SAFETY: the caller's promise.
    let real = || unsafe { own::pthread_mutex_lock(mutex) };
    if may_park() {
        // SAFETY: the caller's promise; `may_park` said yes.
        unsafe { lock(mutex, None, real) }
    } else {
        real()
    }
}

/// libc's `pthread_mutex_timedlock`.
///
/// # Safety
/// As for libc's.
#[no_mangle]
pub unsafe extern "C" fn pthread_mutex_timedlock(mutex: *mut pthread_mutex_t, at: *const timespec) -> c_int {
    // SAFETY: the caller's promise.
    let real = || unsafe { own::pthread_mutex_timedlock(mutex, at) };
    if may_park() {
        // SAFETY: the caller's promise; `may_park` said yes.
        unsafe { lock(mutex, Some(Limit { clock: libc::CLOCK_REALTIME, at }), real) }
    } else {
        real()
    }
}

/// libc's `pthread_mutex_clocklock`.
///
/// # Safety
/// As for libc's.
#[no_mangle]
pub unsafe extern "C" fn pthread_mutex_clocklock(
    mutex: *mut pthread_mutex_t,
    clock: clockid_t,
    at: *const timespec,
) -> c_int {
    // SAFETY: the caller's promise.
    let real = || unsafe { own::pthread_mutex_clocklock(mutex, clock, at) };
    // libc looks at the clock first of all, and refuses others.
    if may_park() && matches!(clock, libc::CLOCK_REALTIME | libc::CLOCK_MONOTONIC) {
        // SAFETY: the caller's promise; `may_park` said yes.
        unsafe { lock(mutex, Some(Limit { clock, at }), real) }
    } else {
        real()
    }
}

/// libc's `pthread_mutex_unlock`; wakes a goroutine.
///
/// # Safety
/// As for libc's.
#[no_mangle]
pub unsafe extern "C" fn pthread_mutex_unlock(mutex: *mut pthread_mutex_t) -> c_int {
    // SAFETY: the caller's promise.
    let result = unsafe { own::pthread_mutex_unlock(mutex) };
    // From here on the mutex may be gone: only its address is used.
    if result == 0 && hook::has_waiters(mutex as usize) {
        hook::futex_wake(mutex as usize, 1, ANY);
    }
    result
}
