//! libc's own functions, past the hooks, by their names.
//!
//! The condition variables of x86-64 exist in two versions, whose objects differ. Before glibc 2.36 `dlsym` may give the old
//! function where it is asked for the next definition, so there the version is named.

use crate::next::Next;
use core::ffi::{c_void, CStr};
use core::mem::transmute;
use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};
use libc::{c_int, c_uint, clockid_t, sem_t};
use libc::{pthread_barrier_t, pthread_barrierattr_t, pthread_cond_t, pthread_mutex_t, pthread_rwlock_t};
use libc::{pthread_spinlock_t as spinlock, timespec as moment};

/// A function that had another meaning under the same name long ago.
struct Versioned {
    name: &'static CStr,
    at: AtomicPtr<c_void>,
}

impl Versioned {
    const fn new(name: &'static CStr) -> Versioned {
        Versioned { name, at: AtomicPtr::new(ptr::null_mut()) }
    }

    /// The address of the function of today. Ends the process where there is none.
    #[inline]
    fn need(&self) -> *mut c_void {
        let at = self.at.load(Ordering::Relaxed);
        if at.is_null() {
            self.look_up()
        } else {
            at
        }
    }

    #[cold]
    fn look_up(&self) -> *mut c_void {
        // The name of the version on x86-64; other machines, which came later, have one version only.
        // SAFETY: looking a name up has no preconditions.
        let mut at = unsafe { libc::dlvsym(libc::RTLD_NEXT, self.name.as_ptr(), c"GLIBC_2.3.2".as_ptr()) };
        if at.is_null() {
            // SAFETY: as above.
            at = unsafe { libc::dlsym(libc::RTLD_NEXT, self.name.as_ptr()) };
        }
        if at.is_null() {
            // SAFETY: may be called anywhere.
            unsafe { libc::abort() };
        }
        self.at.store(at, Ordering::Relaxed);
        at
    }
}

/// Defines functions that call libc's of the same names, found by `$finder`.
macro_rules! own {
    ($finder:ident: $(fn $name:ident($($arg:ident: $type:ty),*);)*) => {$(
        /// libc's.
        ///
        /// # Safety
        /// As for libc's.
        #[inline]
        pub(super) unsafe fn $name($($arg: $type),*) -> c_int {
            const NAME: &CStr = match CStr::from_bytes_with_nul(concat!(stringify!($name), "\0").as_bytes()) {
                Ok(name) => name,
                Err(_) => panic!("names hold no zeros"),
            };
            static OWN: $finder = $finder::new(NAME);
            // SAFETY: a symbol of this name has this type; the caller's promise.
            unsafe { transmute::<*mut c_void, unsafe extern "C" fn($($type),*) -> c_int>(OWN.need())($($arg),*) }
        }
    )*};
}

own! { Next:
    fn pthread_mutex_lock(mutex: *mut pthread_mutex_t);
    fn pthread_mutex_trylock(mutex: *mut pthread_mutex_t);
    fn pthread_mutex_timedlock(mutex: *mut pthread_mutex_t, at: *const moment);
    fn pthread_mutex_clocklock(mutex: *mut pthread_mutex_t, clock: clockid_t, at: *const moment);
    fn pthread_mutex_unlock(mutex: *mut pthread_mutex_t);

    fn pthread_rwlock_rdlock(lock: *mut pthread_rwlock_t);
    fn pthread_rwlock_tryrdlock(lock: *mut pthread_rwlock_t);
    fn pthread_rwlock_timedrdlock(lock: *mut pthread_rwlock_t, at: *const moment);
    fn pthread_rwlock_clockrdlock(lock: *mut pthread_rwlock_t, clock: clockid_t, at: *const moment);
    fn pthread_rwlock_wrlock(lock: *mut pthread_rwlock_t);
    fn pthread_rwlock_trywrlock(lock: *mut pthread_rwlock_t);
    fn pthread_rwlock_timedwrlock(lock: *mut pthread_rwlock_t, at: *const moment);
    fn pthread_rwlock_clockwrlock(lock: *mut pthread_rwlock_t, clock: clockid_t, at: *const moment);
    fn pthread_rwlock_unlock(lock: *mut pthread_rwlock_t);

    fn pthread_barrier_init(barrier: *mut pthread_barrier_t, attribute: *const pthread_barrierattr_t, count: c_uint);
    fn pthread_barrier_wait(barrier: *mut pthread_barrier_t);
    fn pthread_barrier_destroy(barrier: *mut pthread_barrier_t);

    fn sem_wait(sem: *mut sem_t);
    fn sem_trywait(sem: *mut sem_t);
    fn sem_timedwait(sem: *mut sem_t, at: *const moment);
    fn sem_clockwait(sem: *mut sem_t, clock: clockid_t, at: *const moment);
    fn sem_post(sem: *mut sem_t);

    fn pthread_spin_lock(lock: *mut spinlock);
    fn pthread_spin_trylock(lock: *mut spinlock);
}

own! { Versioned:
    fn pthread_cond_wait(cond: *mut pthread_cond_t, mutex: *mut pthread_mutex_t);
    fn pthread_cond_timedwait(cond: *mut pthread_cond_t, mutex: *mut pthread_mutex_t, at: *const moment);
    fn pthread_cond_clockwait(
        cond: *mut pthread_cond_t,
        mutex: *mut pthread_mutex_t,
        clock: clockid_t,
        at: *const moment
    );
    fn pthread_cond_signal(cond: *mut pthread_cond_t);
    fn pthread_cond_broadcast(cond: *mut pthread_cond_t);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn condition_variables_are_those_of_today() {
        for name in [c"pthread_cond_wait", c"pthread_cond_timedwait", c"pthread_cond_signal", c"pthread_cond_broadcast"]
        {
            // SAFETY: looking a name up has no preconditions.
            let old = unsafe { libc::dlvsym(libc::RTLD_NEXT, name.as_ptr(), c"GLIBC_2.2.5".as_ptr()) };
            // Machines that came later have no old ones.
            assert_ne!(Versioned::new(name).need(), old);
        }
    }
}
