//! Time: the performance counter, in nanoseconds since an arbitrary start (the boot, in practice). It goes on while the machine
//! is suspended, as std's `Instant` does here.

use super::real::real;
use core::sync::atomic::{AtomicU64, Ordering};
use windows_sys::Win32::System::Performance::{QueryPerformanceCounter, QueryPerformanceFrequency};

real! {
    fn Sleep(milliseconds: u32);
}

/// Nanoseconds in a second.
const SECOND: u64 = 1_000_000_000;

/// Ticks per second; 0: not asked yet.
static FREQUENCY: AtomicU64 = AtomicU64::new(0);

/// Nanoseconds of the performance counter. A few tens of nanoseconds, without a system call on most machines.
#[inline]
pub(crate) fn now() -> u64 {
    let mut ticks = 0;
    // SAFETY: the number is ours to write. The call cannot fail since Windows XP.
    unsafe { QueryPerformanceCounter(&raw mut ticks) };
    nanoseconds(ticks as u64, frequency())
}

fn frequency() -> u64 {
    match FREQUENCY.load(Ordering::Relaxed) {
        0 => {
            let mut frequency = 0;
            // SAFETY: as in `now`. The value never changes while the system runs.
            unsafe { QueryPerformanceFrequency(&raw mut frequency) };
            FREQUENCY.store(frequency as u64, Ordering::Relaxed);
            frequency as u64
        }
        known => known,
    }
}

/// Whole seconds apart from the rest, so that nothing overflows for 584 years.
fn nanoseconds(ticks: u64, frequency: u64) -> u64 {
    (ticks / frequency) * SECOND + (ticks % frequency) * SECOND / frequency
}

/// Blocks the calling kernel thread for at least `ns` nanoseconds.
pub(crate) fn sleep_ns(ns: u64) {
    let deadline = now().saturating_add(ns);
    while let Some(ms) = milliseconds_until(deadline) {
        // SAFETY: no preconditions.
        unsafe { Sleep(ms) };
    }
}

/// The longest that can be asked for at a time; the next number means "for ever".
const LONGEST: u64 = u32::MAX as u64 - 1;

/// How long to wait, in the unit that the system takes, rounded up; None once [`now`] has reached `deadline`.
pub(super) fn milliseconds_until(deadline: u64) -> Option<u32> {
    match deadline.saturating_sub(now()) {
        0 => None,
        left => Some(left.div_ceil(1_000_000).min(LONGEST) as u32),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sleep_is_not_too_short() {
        let before = now();
        sleep_ns(2_000_000);
        assert!(now() - before >= 2_000_000);
    }

    #[test]
    fn ticks_of_any_length() {
        assert_eq!(nanoseconds(25, 10_000_000), 2_500);
        assert_eq!(nanoseconds(3 * 24_000_000 + 12_000_000, 24_000_000), 3_500_000_000);
        // A counter of 10 GHz that has run for fifty years.
        assert_eq!(nanoseconds(15_768_000_000_000_000_001, 10_000_000_000), 1_576_800_000_000_000_000);
    }

    #[test]
    fn what_is_left_is_rounded_up() {
        assert_eq!(milliseconds_until(0), None);
        assert!(milliseconds_until(now() + 1_000_000_000).is_some_and(|ms| (1..=1000).contains(&ms)));
        assert_eq!(milliseconds_until(u64::MAX), Some(u32::MAX - 1));
    }
}
