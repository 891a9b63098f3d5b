//! Spin locks: whoever holds one may be a goroutine that has to run before it can let go. So the tries of a goroutine are
//! interspersed with turns of the others.

use super::own;
use crate::switch::may_park;
use crate::Ours;
use gort_rt::hook;
use libc::{c_int, pthread_spinlock_t};

/// What this file defines.
pub(crate) static HOOKS: &[Ours] = &[Ours::new(c"pthread_spin_lock", pthread_spin_lock as *const ())];

/// Tries between two turns of others: about as long as a short section takes on another processor.
const TRIES: u32 = 50;

/// libc's `pthread_spin_lock`.
///
/// # Safety
/// As for libc's.
#[no_mangle]
pub unsafe extern "C" fn pthread_spin_lock(lock: *mut pthread_spinlock_t) -> c_int {
    if !may_park() {
        // SAFETY: the caller's promise.
        return unsafe { own::pthread_spin_lock(lock) };
    }
    loop {
        for _ in 0..TRIES {
            // SAFETY: the caller's promise.
            match unsafe { own::pthread_spin_trylock(lock) } {
                libc::EBUSY => core::hint::spin_loop(),
                result => return result,
            }
        }
        hook::yield_now();
    }
}
