//! Options of sockets, and the end of one direction, as far as they change how calls wait.

use crate::kind::{self, About, Kind};
use crate::next::next;
use crate::Ours;
use gort_rt::hook;
use libc::{c_int, c_void, socklen_t};

/// What this file defines.
pub(crate) static HOOKS: &[Ours] =
    &[Ours::new(c"setsockopt", setsockopt as *const ()), Ours::new(c"shutdown", shutdown as *const ())];

/// The time-outs' names where `time_t` is wider than `long`; they work everywhere.
const SO_RCVTIMEO_NEW: c_int = 66;
const SO_SNDTIMEO_NEW: c_int = 67;

/// libc's `setsockopt`.
///
/// # Safety
/// As for that function.
#[no_mangle]
pub unsafe extern "C" fn setsockopt(
    fd: c_int,
    level: c_int,
    name: c_int,
    value: *const c_void,
    len: socklen_t,
) -> c_int {
    // SAFETY: the caller's promise, passed on.
    let result = unsafe {
        next!(c"setsockopt", fn(c_int, c_int, c_int, *const c_void, socklen_t) -> c_int)(fd, level, name, value, len)
    };
    let is_time_out = level == libc::SOL_SOCKET
        && matches!(name, libc::SO_RCVTIMEO | libc::SO_SNDTIMEO | SO_RCVTIMEO_NEW | SO_SNDTIMEO_NEW);
    if is_time_out && result == 0 {
        // That a time-out was taken away need not be known: whoever thinks that there is one asks how long it is.
        // SAFETY: the kernel has read a `timeval` there.
        let time = unsafe { value.cast::<libc::timeval>().read_unaligned() };
        if (time.tv_sec, time.tv_usec) != (0, 0) {
            kind::mode_changed();
        }
    }
    result
}

/// libc's `shutdown`.
///
/// # Safety
/// As for that function.
#[no_mangle]
pub unsafe extern "C" fn shutdown(fd: c_int, how: c_int) -> c_int {
    // SAFETY: the caller's promise, passed on.
    let result = unsafe { next!(c"shutdown", fn(c_int, c_int) -> c_int)(fd, how) };
    // A stream's end can be read by a call that does not wait. That of a socket of messages shows in blocking mode only: who
    // waits for one looks again, now that the socket's mode is not taken as known.
    if how != libc::SHUT_WR && About::of(fd).is_some_and(|mut about| about.kind() == Kind::Message) {
        kind::mode_changed();
        hook::opened(fd);
    }
    result
}
