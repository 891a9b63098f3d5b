//! `GORT_INTERPOSE`: whether hooks park.

use core::sync::atomic::{AtomicU8, Ordering};
use windows_sys::Win32::Foundation::{GetLastError, SetLastError};

const UNKNOWN: u8 = 0;
const ON: u8 = 1;
const OFF: u8 = 2;

static STATE: AtomicU8 = AtomicU8::new(UNKNOWN);

/// Whether hooks park goroutines. Only asked on goroutines, so the environment is read when the runtime runs already.
#[inline]
pub(crate) fn enabled() -> bool {
    match STATE.load(Ordering::Relaxed) {
        ON => true,
        OFF => false,
        _ => ask(),
    }
}

#[cold]
fn ask() -> bool {
    // While std looks the variable up this is asked again, perhaps, and must not wait for itself.
    STATE.store(OFF, Ordering::Relaxed);
    // SAFETY: no preconditions.
    let last_error = unsafe { GetLastError() };
    let off = std::env::var_os("GORT_INTERPOSE").is_some_and(|value| value == "0");
    // SAFETY: no preconditions.
    unsafe { SetLastError(last_error) };
    STATE.store(if off { OFF } else { ON }, Ordering::Relaxed);
    !off
}

/// Whether the caller runs on a goroutine that should park here.
#[inline]
pub(crate) fn may_park() -> bool {
    gort_rt::hook::may_park() && enabled()
}
