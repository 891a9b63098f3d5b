//! Sleeping and yielding.

use crate::switch::may_park;
use core::mem::transmute;
use gort_rt::hook::{self, Function};
use windows_sys::core::BOOL;
use windows_sys::Win32::Foundation::TRUE;
use windows_sys::Win32::System::Threading::INFINITE;

/// What this file stands in for.
pub(crate) static HOOKS: &[&Function] = &[&SLEEP, &SWITCH];

static SLEEP: Function = Function::new(c"Sleep", sleep as *const ());
static SWITCH: Function = Function::new(c"SwitchToThread", switch as *const ());

const MILLISECOND: u64 = 1_000_000;

/// The moment, on the monotonic clock, at which so many milliseconds are over; None: never.
pub(crate) fn deadline(milliseconds: u32) -> Option<u64> {
    (milliseconds != INFINITE).then(|| hook::now().saturating_add(u64::from(milliseconds) * MILLISECOND))
}

/// In place of `Sleep`.
unsafe extern "system" fn sleep(milliseconds: u32) {
    if may_park() {
        match milliseconds {
            0 => hook::yield_now(),
            some => hook::sleep_until(deadline(some).unwrap_or(u64::MAX)),
        };
        return;
    }
    type Real = unsafe extern "system" fn(u32);
    // SAFETY: the type is that of the function with this name.
    unsafe { transmute::<*const (), Real>(SLEEP.real())(milliseconds) };
}

/// In place of `SwitchToThread`.
unsafe extern "system" fn switch() -> BOOL {
    if may_park() && hook::yield_now() {
        return TRUE;
    }
    type Real = unsafe extern "system" fn() -> BOOL;
    // SAFETY: the type is that of the function with this name.
    unsafe { transmute::<*const (), Real>(SWITCH.real())() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn milliseconds_from_now() {
        let before = hook::now();
        let when = deadline(5).unwrap();
        assert!(when >= before + 5 * MILLISECOND && when <= hook::now() + 5 * MILLISECOND);
        assert_eq!(deadline(INFINITE), None);
    }
}
