//! `GORT_INTERPOSE`: whether hooks park.

use core::sync::atomic::{AtomicU8, Ordering};

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
    // SAFETY: the name is a C string; the value is only looked at here. (Programs that change the environment while other
    // threads read it have a problem of their own.)
    let off = unsafe {
        let value = libc::getenv(c"GORT_INTERPOSE".as_ptr());
        !value.is_null() && *value == b'0' as libc::c_char && *value.add(1) == 0
    };
    STATE.store(if off { OFF } else { ON }, Ordering::Relaxed);
    !off
}

/// Whether the caller runs on a goroutine that should park here.
#[inline]
pub(crate) fn may_park() -> bool {
    gort_rt::hook::may_park() && enabled()
}
