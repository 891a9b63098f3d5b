//! Sleeping and yielding.

use crate::next::next;
use crate::switch::may_park;
use crate::sys::{fail, raw};
use crate::Ours;
use gort_rt::hook;
use libc::{c_int, c_uint, clockid_t, timespec};

/// What this file defines.
pub(crate) static HOOKS: &[Ours] = &[
    Ours::new(c"nanosleep", nanosleep as *const ()),
    Ours::new(c"clock_nanosleep", clock_nanosleep as *const ()),
    Ours::new(c"usleep", usleep as *const ()),
    Ours::new(c"sleep", sleep as *const ()),
    Ours::new(c"thrd_sleep", thrd_sleep as *const ()),
    Ours::new(c"sched_yield", sched_yield as *const ()),
];

const SECOND: i64 = 1_000_000_000;

fn is_valid(t: timespec) -> bool {
    t.tv_sec >= 0 && (0..SECOND).contains(&t.tv_nsec)
}

/// Nanoseconds, at most those of 292 years.
fn nanoseconds(t: timespec) -> u64 {
    (t.tv_sec as u64).saturating_mul(SECOND as u64).saturating_add(t.tv_nsec as u64)
}

/// The moment, on the monotonic clock, that a duration or a moment of `clock` means; None if the kernel would refuse it.
///
/// A moment of the realtime clock is converted now: a later change of that clock does not move it.
pub(crate) fn deadline(clock: clockid_t, absolute: bool, t: timespec) -> Option<u64> {
    if !is_valid(t) {
        return None;
    }
    let ns = nanoseconds(t);
    match (absolute, clock) {
        (false, _) => Some(hook::now().saturating_add(ns)),
        (true, libc::CLOCK_MONOTONIC) => Some(ns),
        (true, _) => {
            let mut now = timespec { tv_sec: 0, tv_nsec: 0 };
            // SAFETY: `now` is ours to write.
            unsafe { libc::clock_gettime(clock, &raw mut now) };
            Some(hook::now().saturating_add(ns.saturating_sub(nanoseconds(now))))
        }
    }
}

/// libc's `nanosleep`.
///
/// # Safety
/// `request` is readable; `rest` is null or writable.
#[no_mangle]
pub unsafe extern "C" fn nanosleep(request: *const timespec, rest: *mut timespec) -> c_int {
    if may_park() {
        // SAFETY: the caller's promise.
        return match deadline(libc::CLOCK_REALTIME, false, unsafe { *request }) {
            None => fail(libc::EINVAL) as c_int,
            Some(when) => {
                hook::sleep_until(when);
                0
            }
        };
    }
    let next = next!(c"nanosleep", fn(*const timespec, *mut timespec) -> c_int);
    // SAFETY: the caller's promise, passed on.
    unsafe { next(request, rest) }
}

/// libc's `clock_nanosleep`: returns the error's number and leaves errno alone.
///
/// # Safety
/// As for [`nanosleep`].
#[no_mangle]
pub unsafe extern "C" fn clock_nanosleep(
    clock: clockid_t,
    flags: c_int,
    request: *const timespec,
    rest: *mut timespec,
) -> c_int {
    let known = matches!(clock, libc::CLOCK_REALTIME | libc::CLOCK_MONOTONIC | libc::CLOCK_BOOTTIME);
    if known && may_park() {
        // SAFETY: the caller's promise.
        return match deadline(clock, flags & libc::TIMER_ABSTIME != 0, unsafe { *request }) {
            None => libc::EINVAL,
            Some(when) => {
                hook::sleep_until(when);
                0
            }
        };
    }
    let next = next!(c"clock_nanosleep", fn(clockid_t, c_int, *const timespec, *mut timespec) -> c_int);
    // SAFETY: the caller's promise, passed on.
    unsafe { next(clock, flags, request, rest) }
}

/// libc's `usleep`.
#[no_mangle]
pub extern "C" fn usleep(us: c_uint) -> c_int {
    if may_park() {
        hook::sleep_until(hook::now() + u64::from(us) * 1000);
        return 0;
    }
    let next = next!(c"usleep", fn(c_uint) -> c_int);
    // SAFETY: the call has no preconditions.
    unsafe { next(us) }
}

/// libc's `sleep`. On a goroutine no signal ends it early, so nothing is ever left.
#[no_mangle]
pub extern "C" fn sleep(seconds: c_uint) -> c_uint {
    if may_park() {
        hook::sleep_until(hook::now() + u64::from(seconds) * SECOND as u64);
        return 0;
    }
    let next = next!(c"sleep", fn(c_uint) -> c_uint);
    // SAFETY: the call has no preconditions.
    unsafe { next(seconds) }
}

/// libc's `thrd_sleep`: -1 after a signal, another negative value for a time that makes no sense; errno stays.
///
/// # Safety
/// `time` is readable; `rest` is null or writable.
#[no_mangle]
pub unsafe extern "C" fn thrd_sleep(time: *const timespec, rest: *mut timespec) -> c_int {
    if may_park() {
        // SAFETY: the caller's promise.
        return match deadline(libc::CLOCK_REALTIME, false, unsafe { *time }) {
            None => -2,
            Some(when) => {
                hook::sleep_until(when);
                0
            }
        };
    }
    let next = next!(c"thrd_sleep", fn(*const timespec, *mut timespec) -> c_int);
    // SAFETY: the caller's promise, passed on.
    unsafe { next(time, rest) }
}

/// libc's `sched_yield`.
#[no_mangle]
pub extern "C" fn sched_yield() -> c_int {
    if may_park() && hook::yield_now() {
        return 0;
    }
    // SAFETY: the call has no arguments and no preconditions.
    unsafe { raw(libc::SYS_sched_yield, [0; 6]) as c_int }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn t(tv_sec: i64, tv_nsec: i64) -> timespec {
        timespec { tv_sec, tv_nsec }
    }

    #[test]
    fn what_the_kernel_refuses_is_refused() {
        for bad in [t(-1, 0), t(0, -1), t(0, SECOND), t(1, i64::MAX)] {
            assert_eq!(deadline(libc::CLOCK_MONOTONIC, false, bad), None);
            assert_eq!(deadline(libc::CLOCK_REALTIME, true, bad), None);
        }
    }

    #[test]
    fn moments_and_durations() {
        assert_eq!(deadline(libc::CLOCK_MONOTONIC, true, t(5, 7)), Some(5_000_000_007));
        let before = hook::now();
        let when = deadline(libc::CLOCK_REALTIME, false, t(1, 0)).unwrap();
        assert!(when >= before + 1_000_000_000 && when <= hook::now() + 1_000_000_000);
        assert_eq!(deadline(libc::CLOCK_MONOTONIC, false, t(i64::MAX, 0)), Some(u64::MAX), "for ever");
        assert!(deadline(libc::CLOCK_REALTIME, true, t(0, 0)).unwrap() <= hook::now(), "long past");
    }
}
