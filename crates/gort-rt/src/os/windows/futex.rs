//! Sleeping on a word: `WaitOnAddress`, with an absolute deadline.

use super::clock::milliseconds_until;
use super::error::kept;
use super::real::real;
use core::ffi::c_void;
use core::sync::atomic::AtomicU32;
use windows_sys::core::BOOL;
use windows_sys::Win32::Foundation::{GetLastError, ERROR_TIMEOUT};
use windows_sys::Win32::System::Threading::INFINITE;

real! {
    fn WaitOnAddress(word: *const c_void, expected: *const c_void, bytes: usize, milliseconds: u32) -> BOOL;
    fn WakeByAddressSingle(word: *const c_void);
    fn WakeByAddressAll(word: *const c_void);
}

/// From so many on, all sleepers are woken at once.
const MANY: u32 = 64;

/// Sleeps while `word` holds `expected`, until [`futex_wake`] or until [`super::now`] reaches `deadline` (nanoseconds).
///
/// False says that the deadline has passed. True says any other thing: woken, the word had another value, or nothing at all;
/// the caller looks at the word and decides.
pub(crate) fn futex_wait(word: &AtomicU32, expected: u32, deadline: Option<u64>) -> bool {
    let time = match deadline.map(milliseconds_until) {
        None => INFINITE,
        Some(Some(time)) => time,
        Some(None) => return false,
    };
    kept(|| {
        // SAFETY: the system reads four bytes of each, which live while it does.
        let woken = unsafe { WaitOnAddress(word.as_ptr().cast(), (&raw const expected).cast(), 4, time) } != 0;
        // The system's clock is a coarser one: what it takes for the end may be short of it.
        // SAFETY: no preconditions.
        woken || unsafe { GetLastError() } != ERROR_TIMEOUT || deadline.and_then(milliseconds_until).is_some()
    })
}

/// Wakes up to `n` threads that sleep on `word`; perhaps all, if `n` is large: whoever is woken looks at the word.
///
/// The address alone counts: the word may have been freed meanwhile, in which case at worst somebody wakes for nothing.
pub(crate) fn futex_wake(word: *const AtomicU32, n: u32) {
    // SAFETY: neither function accesses the word; they look its address up in a table of the process's.
    unsafe {
        if n >= MANY {
            WakeByAddressAll(word.cast());
        } else {
            (0..n).for_each(|_| WakeByAddressSingle(word.cast()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::clock::now;
    use super::*;
    use core::sync::atomic::Ordering;
    use windows_sys::Win32::Foundation::SetLastError;

    #[test]
    fn deadline_passes() {
        let word = AtomicU32::new(1);
        let deadline = now() + 1_000_000;
        while futex_wait(&word, 1, Some(deadline)) {}
        assert!(now() >= deadline);
        assert!(!futex_wait(&word, 1, Some(0)), "a deadline in the past");
    }

    #[test]
    fn other_value_returns_at_once() {
        let word = AtomicU32::new(1);
        assert!(futex_wait(&word, 2, None));
        assert!(futex_wait(&word, 2, Some(u64::MAX)));
        futex_wake(&word, u32::MAX);
    }

    #[test]
    fn wake_reaches_the_sleepers() {
        for sleepers in [1, 3, MANY] {
            let word = AtomicU32::new(0);
            std::thread::scope(|scope| {
                for _ in 0..sleepers {
                    scope.spawn(|| {
                        while word.load(Ordering::Acquire) == 0 {
                            futex_wait(&word, 0, None);
                        }
                    });
                }
                word.store(1, Ordering::Release);
                // The store alone lets a thread that is not asleep yet go; the wake is for one that is.
                futex_wake(&word, sleepers);
            });
        }
    }

    #[test]
    fn the_last_error_stays() {
        let word = AtomicU32::new(1);
        // SAFETY: no preconditions.
        unsafe { SetLastError(77) };
        let deadline = now() + 1_000_000;
        while futex_wait(&word, 1, Some(deadline)) {}
        // SAFETY: no preconditions.
        assert_eq!(unsafe { GetLastError() }, 77);
    }
}
