//! Time: `CLOCK_MONOTONIC` in nanoseconds since an arbitrary start (the boot, in practice). 64 bits last for 584 years.

use super::syscall::syscall;

/// Nanoseconds of the monotonic clock. A few tens of nanoseconds, without a system call where the kernel's vDSO can.
#[inline]
pub(crate) fn now() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes one timespec through a pointer to a live one. libc's function is not one that gort hooks.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    debug_assert_eq!(result, 0, "every Linux has CLOCK_MONOTONIC");
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Blocks the calling kernel thread for at least `ns` nanoseconds, signals notwithstanding.
pub(crate) fn sleep_ns(ns: u64) {
    let deadline = timespec(now().saturating_add(ns));
    loop {
        let args =
            [libc::CLOCK_MONOTONIC as usize, libc::TIMER_ABSTIME as usize, &raw const deadline as usize, 0, 0, 0];
        // SAFETY: the kernel reads one timespec, which outlives the call; an absolute sleep writes nothing back.
        if unsafe { syscall(libc::SYS_clock_nanosleep, args) } != Err(libc::EINTR) {
            return;
        }
    }
}

/// The kernel's form of a number of nanoseconds.
pub(super) fn timespec(ns: u64) -> libc::timespec {
    libc::timespec { tv_sec: (ns / 1_000_000_000) as libc::time_t, tv_nsec: (ns % 1_000_000_000) as libc::c_long }
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
    fn timespec_carries() {
        let t = timespec(3_000_000_007);
        assert_eq!((t.tv_sec, t.tv_nsec), (3, 7));
        assert_eq!(timespec(u64::MAX).tv_sec, 18_446_744_073);
    }
}
