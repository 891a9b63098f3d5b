//! The locks of C11's threads.h. glibc makes them of its pthread objects and calls its own functions on them, past the hooks;
//! so the calls that wait or wake are made of our hooks here, with C11's numbers for results.

use super::cond::{pthread_cond_broadcast, pthread_cond_signal, pthread_cond_timedwait, pthread_cond_wait};
use super::mutex::{pthread_mutex_lock, pthread_mutex_timedlock, pthread_mutex_unlock};
use super::once::pthread_once;
use crate::Ours;
use libc::{c_int, pthread_cond_t, pthread_mutex_t, timespec};

/// What this file defines.
pub(crate) static HOOKS: &[Ours] = &[
    Ours::new(c"mtx_lock", mtx_lock as *const ()),
    Ours::new(c"mtx_timedlock", mtx_timedlock as *const ()),
    Ours::new(c"mtx_unlock", mtx_unlock as *const ()),
    Ours::new(c"cnd_wait", cnd_wait as *const ()),
    Ours::new(c"cnd_timedwait", cnd_timedwait as *const ()),
    Ours::new(c"cnd_signal", cnd_signal as *const ()),
    Ours::new(c"cnd_broadcast", cnd_broadcast as *const ()),
    Ours::new(c"call_once", call_once as *const ()),
];

/// `thrd_success` and so on, of threads.h.
fn thrd(error: c_int) -> c_int {
    match error {
        0 => 0,
        libc::EBUSY => 1,
        libc::ENOMEM => 3,
        libc::ETIMEDOUT => 4,
        _ => 2,
    }
}

/// C11's `mtx_lock`.
///
/// # Safety
/// As for libc's.
#[no_mangle]
pub unsafe extern "C" fn mtx_lock(mutex: *mut pthread_mutex_t) -> c_int {
    // SAFETY: the caller's promise.
    thrd(unsafe { pthread_mutex_lock(mutex) })
}

/// C11's `mtx_timedlock`.
///
/// # Safety
/// As for libc's.
#[no_mangle]
pub unsafe extern "C" fn mtx_timedlock(mutex: *mut pthread_mutex_t, at: *const timespec) -> c_int {
    // SAFETY: the caller's promise.
    thrd(unsafe { pthread_mutex_timedlock(mutex, at) })
}

/// C11's `mtx_unlock`.
///
/// # Safety
/// As for libc's.
#[no_mangle]
pub unsafe extern "C" fn mtx_unlock(mutex: *mut pthread_mutex_t) -> c_int {
    // SAFETY: the caller's promise.
    thrd(unsafe { pthread_mutex_unlock(mutex) })
}

/// C11's `cnd_wait`.
///
/// # Safety
/// As for libc's.
#[no_mangle]
pub unsafe extern "C" fn cnd_wait(cond: *mut pthread_cond_t, mutex: *mut pthread_mutex_t) -> c_int {
    // SAFETY: the caller's promise.
    thrd(unsafe { pthread_cond_wait(cond, mutex) })
}

/// C11's `cnd_timedwait`.
///
/// # Safety
/// As for libc's.
#[no_mangle]
pub unsafe extern "C" fn cnd_timedwait(
    cond: *mut pthread_cond_t,
    mutex: *mut pthread_mutex_t,
    at: *const timespec,
) -> c_int {
    // SAFETY: the caller's promise.
    thrd(unsafe { pthread_cond_timedwait(cond, mutex, at) })
}

/// C11's `cnd_signal`.
///
/// # Safety
/// As for libc's.
#[no_mangle]
pub unsafe extern "C" fn cnd_signal(cond: *mut pthread_cond_t) -> c_int {
    // SAFETY: the caller's promise.
    thrd(unsafe { pthread_cond_signal(cond) })
}

/// C11's `cnd_broadcast`.
///
/// # Safety
/// As for libc's.
#[no_mangle]
pub unsafe extern "C" fn cnd_broadcast(cond: *mut pthread_cond_t) -> c_int {
    // SAFETY: the caller's promise.
    thrd(unsafe { pthread_cond_broadcast(cond) })
}

/// C11's `call_once`.
///
/// # Safety
/// As for libc's.
#[no_mangle]
pub unsafe extern "C-unwind" fn call_once(flag: *mut c_int, routine: extern "C-unwind" fn()) {
    // SAFETY: the caller's promise; a `once_flag` is what `pthread_once` takes.
    unsafe { pthread_once(flag, routine) };
}
