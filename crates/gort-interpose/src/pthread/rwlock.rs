//! Readers-writer locks.
//!
//! As mutexes: try, wait in the runtime's table, try again. Readers and writers are told apart by a bit. A release wakes all
//! readers that wait and the writer that waits longest: readers because they can go on together, also if a writer that was
//! woken first found itself overtaken by a reader; one writer because only one can. Each goroutine that was woken tries
//! before it waits or leaves, so if it has not got the lock somebody else has, and will release it.
//!
//! libc's rules for who comes first hold among those whom libc sees. By default readers may overtake waiting writers anyway. A
//! lock with `PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP` keeps readers out while a writer waits: one of the writing
//! goroutines waits in the kernel then, the sentry of the runtime's `sync::futex::sentry`. When a writer that libc saw gives up
//! at its deadline, those whom it kept out can go on, although nobody has released anything: they are woken.

use super::{is_past, learn, own, when, Limit};
use crate::switch::may_park;
use crate::Ours;
use gort_rt::ffi::blocking;
use gort_rt::hook::{self, Step};
use learn::Manner;
use libc::{c_int, clockid_t, pthread_rwlock_t, timespec};

/// What this file defines.
pub(crate) static HOOKS: &[Ours] = &[
    Ours::new(c"pthread_rwlock_rdlock", pthread_rwlock_rdlock as *const ()),
    Ours::new(c"pthread_rwlock_timedrdlock", pthread_rwlock_timedrdlock as *const ()),
    Ours::new(c"pthread_rwlock_clockrdlock", pthread_rwlock_clockrdlock as *const ()),
    Ours::new(c"pthread_rwlock_wrlock", pthread_rwlock_wrlock as *const ()),
    Ours::new(c"pthread_rwlock_timedwrlock", pthread_rwlock_timedwrlock as *const ()),
    Ours::new(c"pthread_rwlock_clockwrlock", pthread_rwlock_clockwrlock as *const ()),
    Ours::new(c"pthread_rwlock_unlock", pthread_rwlock_unlock as *const ()),
];

type Lock = *mut pthread_rwlock_t;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    Read = 1,
    Write = 2,
}

impl Access {
    /// # Safety
    /// The lock is initialised.
    unsafe fn try_it(self, lock: Lock) -> c_int {
        // SAFETY: the caller's promise.
        unsafe {
            match self {
                Access::Read => own::pthread_rwlock_tryrdlock(lock),
                Access::Write => own::pthread_rwlock_trywrlock(lock),
            }
        }
    }
}

/// Takes the lock, by `limit` at the latest. `real` is libc's function that does so.
///
/// # Safety
/// The lock is initialised, and the limit readable.
#[inline]
unsafe fn lock(lock: Lock, access: Access, limit: Option<Limit>, real: impl Fn() -> c_int) -> c_int {
    // SAFETY: the caller's promise, in all of this function.
    unsafe {
        if !may_park() {
            let result = real();
            if result == libc::ETIMEDOUT && access == Access::Write {
                wake(lock as usize);
            }
            return result;
        }
        // libc looks at the limit first of all.
        let when = match when(limit) {
            Ok(when) => when,
            Err(e) => return e,
        };
        match access.try_it(lock) {
            libc::EBUSY => wait(lock, access, when, real),
            result => result,
        }
    }
}

#[cold]
unsafe fn wait(lock: Lock, access: Access, when: Option<u64>, real: impl Fn() -> c_int) -> c_int {
    // SAFETY: the caller's promise.
    let manner = unsafe { learn::rwlock(lock, access == Access::Write) };
    match manner {
        Manner::Never => return libc::EDEADLK,
        Manner::HandOff => return blocking(real),
        Manner::Park | Manner::Sentry => {}
    }
    if is_past(when) {
        return libc::ETIMEDOUT;
    }
    // SAFETY: the caller's promise.
    let get = || Some(unsafe { access.try_it(lock) }).filter(|&result| result != libc::EBUSY);
    loop {
        let step =
            hook::lock_or_wait(lock as usize, access as u32, manner == Manner::Sentry, when, get, || blocking(&real));
        match step {
            Step::Result(libc::ETIMEDOUT) => {
                wake(lock as usize);
                return libc::ETIMEDOUT;
            }
            Step::Result(result) => return result,
            Step::TimedOut => return libc::ETIMEDOUT,
            Step::Woken => {}
        }
    }
}

/// Wakes those who may go on after a release.
fn wake(key: usize) {
    if hook::has_waiters(key) {
        hook::futex_wake(key, u32::MAX, Access::Read as u32);
        hook::futex_wake(key, 1, Access::Write as u32);
    }
}

/// libc's `pthread_rwlock_rdlock`.
///
/// # Safety
/// As for libc's.
#[no_mangle]
pub unsafe extern "C" fn pthread_rwlock_rdlock(it: Lock) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { lock(it, Access::Read, None, || own::pthread_rwlock_rdlock(it)) }
}

/// libc's `pthread_rwlock_wrlock`.
///
/// # Safety
/// As for libc's.
#[no_mangle]
pub unsafe extern "C" fn pthread_rwlock_wrlock(it: Lock) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { lock(it, Access::Write, None, || own::pthread_rwlock_wrlock(it)) }
}

/// libc's `pthread_rwlock_timedrdlock`.
///
/// # Safety
/// As for libc's.
#[no_mangle]
pub unsafe extern "C" fn pthread_rwlock_timedrdlock(it: Lock, at: *const timespec) -> c_int {
    // SAFETY: the caller's promise.
    unsafe {
        lock(it, Access::Read, Some(Limit { clock: libc::CLOCK_REALTIME, at }), || {
            own::pthread_rwlock_timedrdlock(it, at)
        })
    }
}

/// libc's `pthread_rwlock_timedwrlock`.
///
/// # Safety
/// As for libc's.
#[no_mangle]
pub unsafe extern "C" fn pthread_rwlock_timedwrlock(it: Lock, at: *const timespec) -> c_int {
    // SAFETY: the caller's promise.
    unsafe {
        lock(it, Access::Write, Some(Limit { clock: libc::CLOCK_REALTIME, at }), || {
            own::pthread_rwlock_timedwrlock(it, at)
        })
    }
}

/// libc's `pthread_rwlock_clockrdlock`.
///
/// # Safety
/// As for libc's.
#[no_mangle]
pub unsafe extern "C" fn pthread_rwlock_clockrdlock(it: Lock, clock: clockid_t, at: *const timespec) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { lock(it, Access::Read, Some(Limit { clock, at }), || own::pthread_rwlock_clockrdlock(it, clock, at)) }
}

/// libc's `pthread_rwlock_clockwrlock`.
///
/// # Safety
/// As for libc's.
#[no_mangle]
pub unsafe extern "C" fn pthread_rwlock_clockwrlock(it: Lock, clock: clockid_t, at: *const timespec) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { lock(it, Access::Write, Some(Limit { clock, at }), || own::pthread_rwlock_clockwrlock(it, clock, at)) }
}

/// libc's `pthread_rwlock_unlock`; wakes goroutines.
///
/// # Safety
/// As for libc's.
#[no_mangle]
pub unsafe extern "C" fn pthread_rwlock_unlock(it: Lock) -> c_int {
    // SAFETY: the caller's promise.
    let result = unsafe { own::pthread_rwlock_unlock(it) };
    // From here on the lock may be gone: only its address is used.
    if result == 0 {
        wake(it as usize);
    }
    result
}
