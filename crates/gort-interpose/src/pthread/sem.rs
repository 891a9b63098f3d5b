//! Semaphores.
//!
//! A goroutine tries; without success it waits in the runtime's table until a post wakes it, and tries again. A post wakes
//! one waiter of each kind, of which the faster gets what was posted; the other waits again.
//!
//! `sem_post` may be called by signal handlers, on any stack: so it is no scheduling point, and never waits for the table's
//! lock (`sync::futex` of the runtime says how). Semaphores that other processes may post are waited for in the kernel.

use super::{is_past, keeping_errno, learn, own, when, Limit, ANY};
use crate::switch::may_park;
use crate::sys::fail;
use crate::Ours;
use gort_rt::ffi::blocking;
use gort_rt::hook::{self, Wait, Why};
use libc::{c_int, clockid_t, sem_t, timespec};

/// What this file defines.
pub(crate) static HOOKS: &[Ours] = &[
    Ours::new(c"sem_wait", sem_wait as *const ()),
    Ours::new(c"sem_timedwait", sem_timedwait as *const ()),
    Ours::new(c"sem_clockwait", sem_clockwait as *const ()),
    Ours::new(c"sem_post", sem_post as *const ()),
];

/// A goroutine takes one, by `limit` at the latest. `real` is libc's function that does so.
///
/// # Safety
/// The semaphore is initialised, and the limit readable; the caller may park.
unsafe fn wait(sem: *mut sem_t, limit: Option<Limit>, real: impl FnOnce() -> c_int) -> c_int {
    // libc looks at the limit first of all.
    // SAFETY: the caller's promise.
    let when = match unsafe { when(limit) } {
        Ok(when) => when,
        Err(e) => return fail(e) as c_int,
    };
    // SAFETY: the caller's promise.
    let got = || keeping_errno(|| unsafe { own::sem_trywait(sem) == 0 });
    if got() {
        return 0;
    }
    // SAFETY: the caller's promise.
    if unsafe { !learn::is_private_sem(sem) } {
        return blocking(real);
    }
    if is_past(when) {
        return fail(libc::ETIMEDOUT) as c_int;
    }
    loop {
        match hook::wait_unless(Why::semaphore(sem as usize), sem as usize, ANY, when, got, || true) {
            Wait::Changed => return 0,
            Wait::TimedOut => return fail(libc::ETIMEDOUT) as c_int,
            Wait::Woken => {}
        }
    }
}

/// libc's `sem_wait`.
///
/// # Safety
/// As for libc's.
#[no_mangle]
pub unsafe extern "C" fn sem_wait(sem: *mut sem_t) -> c_int {
    // SAFETY: the caller's promise; `may_park` said yes.
    unsafe {
        if may_park() {
            wait(sem, None, || own::sem_wait(sem))
        } else {
            own::sem_wait(sem)
        }
    }
}

/// libc's `sem_timedwait`.
///
/// # Safety
/// As for libc's.
#[no_mangle]
pub unsafe extern "C" fn sem_timedwait(sem: *mut sem_t, at: *const timespec) -> c_int {
    // SAFETY: the caller's promise; `may_park` said yes.
    unsafe {
        if may_park() {
            wait(sem, Some(Limit { clock: libc::CLOCK_REALTIME, at }), || own::sem_timedwait(sem, at))
        } else {
            own::sem_timedwait(sem, at)
        }
    }
}

/// libc's `sem_clockwait`.
///
/// # Safety
/// As for libc's.
#[no_mangle]
pub unsafe extern "C" fn sem_clockwait(sem: *mut sem_t, clock: clockid_t, at: *const timespec) -> c_int {
    // SAFETY: the caller's promise; `may_park` said yes.
    unsafe {
        if may_park() {
            wait(sem, Some(Limit { clock, at }), || own::sem_clockwait(sem, clock, at))
        } else {
            own::sem_clockwait(sem, clock, at)
        }
    }
}

/// libc's `sem_post`; wakes a goroutine.
///
/// # Safety
/// As for libc's.
#[no_mangle]
pub unsafe extern "C" fn sem_post(sem: *mut sem_t) -> c_int {
    // SAFETY: the caller's promise.
    let result = unsafe { own::sem_post(sem) };
    // From here on the semaphore may be gone: only its address is used.
    if result == 0 && hook::has_waiters(sem as usize) {
        hook::wake_and_stay(sem as usize, 1, ANY);
    }
    result
}
