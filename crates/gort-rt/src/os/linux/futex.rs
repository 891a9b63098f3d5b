//! Sleeping on a word: private futexes with an absolute deadline on the monotonic clock.

use core::sync::atomic::AtomicU32;

use super::clock::timespec;
use super::syscall::syscall;

/// Sleeps while `word` holds `expected`, until [`futex_wake`] or until [`super::now`] reaches `deadline` (nanoseconds).
///
/// False says that the deadline has passed. True says any other thing: woken, the word had another value, a signal, or
/// nothing at all; the caller looks at the word and decides.
pub(crate) fn futex_wait(word: &AtomicU32, expected: u32, deadline: Option<u64>) -> bool {
    let time = deadline.map(timespec);
    let time = time.as_ref().map_or(core::ptr::null(), |t| t as *const libc::timespec);
    let op = (libc::FUTEX_WAIT_BITSET | libc::FUTEX_PRIVATE_FLAG) as usize;
    let bits = libc::FUTEX_BITSET_MATCH_ANY as u32 as usize;
    // SAFETY: the kernel reads the word and, if there is one, the timespec; both are borrowed for the whole call.
    let result =
        unsafe { syscall(libc::SYS_futex, [word.as_ptr() as usize, op, expected as usize, time as usize, 0, bits]) };
    result != Err(libc::ETIMEDOUT)
}

/// Wakes up to `n` threads that sleep on `word`.
///
/// The address alone counts: the word may have been freed meanwhile, in which case at worst somebody wakes for nothing.
pub(crate) fn futex_wake(word: *const AtomicU32, n: u32) {
    let op = (libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG) as usize;
    let n = n.min(i32::MAX as u32) as usize;
    // SAFETY: a private wake does not access the word; it looks its address up in the kernel's table.
    let _ = unsafe { syscall(libc::SYS_futex, [word as usize, op, n, 0, 0, 0]) };
}

#[cfg(test)]
mod tests {
    use super::super::clock::now;
    use super::*;
    use core::sync::atomic::Ordering;

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
    fn wake_reaches_the_sleeper() {
        let word = AtomicU32::new(0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while word.load(Ordering::Acquire) == 0 {
                    futex_wait(&word, 0, None);
                }
            });
            word.store(1, Ordering::Release);
            // The store alone lets a thread that is not asleep yet go; the wake is for one that is.
            futex_wake(&word, 1);
        });
    }
}
