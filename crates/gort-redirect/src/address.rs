//! Waiting on a word: goroutines in the runtime's table, kernel threads in the system's, on the same words. std's locks come down
//! to this.
//!
//! A wake of one is for goroutines first. The system does not say whether it has woken anybody, so what is left of the count is not
//! known: while kernel threads are known to wait, in the same bucket of the table, every second wake goes to them as well. So
//! neither kind starves the other, and now and then somebody wakes for nothing, as the system allows too.

use crate::switch::may_park;
use core::ffi::c_void;
use core::mem::transmute;
use core::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, AtomicU8, Ordering};
use gort_rt::hook::{self, Function, KernelWait, Wait, Why};
use windows_sys::core::BOOL;
use windows_sys::Win32::Foundation::{SetLastError, ERROR_TIMEOUT, FALSE, TRUE};

/// What this file stands in for.
pub(crate) static HOOKS: &[&Function] = &[&WAIT, &WAKE_ONE, &WAKE_ALL];

static WAIT: Function = Function::new(c"WaitOnAddress", wait as *const ());
static WAKE_ONE: Function = Function::new(c"WakeByAddressSingle", wake_one as *const ());
static WAKE_ALL: Function = Function::new(c"WakeByAddressAll", wake_all as *const ());

/// In place of `WaitOnAddress`.
unsafe extern "system" fn wait(word: *const c_void, compare: *const c_void, size: usize, milliseconds: u32) -> BOOL {
    let sound = matches!(size, 1 | 2 | 4 | 8) && word.addr().is_multiple_of(size);
    if !sound || !may_park() {
        type Real = unsafe extern "system" fn(*const c_void, *const c_void, usize, u32) -> BOOL;
        let _waits = KernelWait::on(word.addr());
        // SAFETY: the type is that of the function with this name; the caller's promise, passed on.
        return unsafe { transmute::<*const (), Real>(WAIT.real())(word, compare, size, milliseconds) };
    }
    let deadline = crate::sleep::deadline(milliseconds);
    // SAFETY: the caller vouches for both words, which have this size.
    let changed = || unsafe { differ(word, compare, size) };
    match hook::wait_unless(Why::word(word.addr()), word.addr(), deadline, changed) {
        Wait::Woken | Wait::Changed => TRUE,
        Wait::TimedOut => {
            // SAFETY: no preconditions.
            unsafe { SetLastError(ERROR_TIMEOUT) };
            FALSE
        }
    }
}

/// Whether the words are different.
///
/// # Safety
/// Both can be read, `word` is aligned to its size, which is that of an integer, and others change it by atomic operations only.
unsafe fn differ(word: *const c_void, compare: *const c_void, size: usize) -> bool {
    // SAFETY: the caller's promise.
    unsafe {
        match size {
            1 => (*word.cast::<AtomicU8>()).load(Ordering::SeqCst) != compare.cast::<u8>().read(),
            2 => (*word.cast::<AtomicU16>()).load(Ordering::SeqCst) != compare.cast::<u16>().read_unaligned(),
            4 => (*word.cast::<AtomicU32>()).load(Ordering::SeqCst) != compare.cast::<u32>().read_unaligned(),
            _ => (*word.cast::<AtomicU64>()).load(Ordering::SeqCst) != compare.cast::<u64>().read_unaligned(),
        }
    }
}

type Wake = unsafe extern "system" fn(*const c_void);

/// In place of `WakeByAddressSingle`.
unsafe extern "system" fn wake_one(word: *const c_void) {
    let systems_too = hook::kernels_turn(word.addr());
    if systems_too {
        // SAFETY: the type is that of the function with this name.
        unsafe { transmute::<*const (), Wake>(WAKE_ONE.real())(word) };
    }
    // A scheduling point, so the last.
    if hook::futex_wake(word.addr(), 1) == 0 && !systems_too {
        // SAFETY: as above.
        unsafe { transmute::<*const (), Wake>(WAKE_ONE.real())(word) };
    }
}

/// In place of `WakeByAddressAll`.
unsafe extern "system" fn wake_all(word: *const c_void) {
    // SAFETY: as in `wake_one`.
    unsafe { transmute::<*const (), Wake>(WAKE_ALL.real())(word) };
    hook::futex_wake(word.addr(), u32::MAX);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_all_sizes() {
        let (word, other) = ([0x0102_0304_0506_0708u64], [0x0102_0304_0506_0709u64]);
        for size in [1, 2, 4, 8] {
            // SAFETY: both words have eight bytes.
            unsafe {
                assert!(!differ(word.as_ptr().cast(), word.as_ptr().cast(), size));
                assert!(differ(word.as_ptr().cast(), other.as_ptr().cast(), size));
            }
        }
    }
}
