//! Closing, and giving a number to another file.
//!
//! The netpoller is told before the call, when the number still stands for the file. It is not told of calls that fail
//! without closing anything; of a number that is not open nobody waits, so telling it does no harm there.
//!
//! The netpoller's own descriptors are not the program's: one that closes whatever may be open, as daemons do, passes them by.

use crate::hand_off::hand_off;
use crate::next::next;
use crate::sys::{as_libc, fail, kernel};
use crate::Ours;
use gort_rt::hook;
use libc::{c_int, c_uint};

/// What this file defines.
pub(crate) static HOOKS: &[Ours] = &[
    Ours::new(c"close", close as *const ()),
    Ours::new(c"close_range", close_range as *const ()),
    Ours::new(c"closefrom", closefrom as *const ()),
    Ours::new(c"dup2", dup2 as *const ()),
    Ours::new(c"dup3", dup3 as *const ()),
];

/// The netpoller knows no larger numbers.
const NUMBERS: u64 = 1 << 22;

/// libc's `close`, which may wait: a socket lingers, a network file system writes.
///
/// # Safety
/// As for that function.
#[no_mangle]
pub unsafe extern "C" fn close(fd: c_int) -> c_int {
    if hook::own_descriptors().contains(&fd) {
        return fail(libc::EBADF) as c_int; // as far as the program knows there is no such descriptor
    }
    hook::closing(fd);
    let next = next!(c"close", fn(c_int) -> c_int);
    // SAFETY: the caller's promise, passed on.
    hand_off(|| unsafe { next(fd) })
}

/// Tells the netpoller that all descriptors from `first` to `last` will be closed.
fn closing_all(first: c_uint, last: c_uint) {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    let args = [0, libc::RLIMIT_NOFILE as usize, 0, &raw mut limit as usize, 0, 0];
    // SAFETY: the kernel writes one `rlimit`, for this process.
    let known = unsafe { kernel(libc::SYS_prlimit64, args) } == 0;
    // Descriptors that were made before the limit was lowered are below the hard limit as a rule.
    let end = if known { limit.rlim_max.min(NUMBERS) } else { NUMBERS };
    (u64::from(first)..end.min(u64::from(last) + 1)).for_each(|fd| hook::closing(fd as c_int));
}

/// `close_range`, with the kernel's convention for errors, of all but the netpoller's own descriptors.
///
/// # Safety
/// As for `close_range`.
unsafe fn around_own(first: c_uint, last: c_uint, flags: c_int) -> isize {
    let close = |first: c_uint, last: c_uint| {
        // SAFETY: the caller's promise.
        unsafe { kernel(libc::SYS_close_range, [first as usize, last as usize, flags as usize, 0, 0, 0]) }
    };
    let mut from = first;
    for own in hook::own_descriptors().into_iter().filter_map(|fd| c_uint::try_from(fd).ok()) {
        if (from..=last).contains(&own) {
            if from < own {
                let result = close(from, own - 1);
                if result < 0 {
                    return result;
                }
            }
            from = own + 1;
        }
    }
    if from > last && from > first {
        return 0; // there was nothing behind our own
    }
    close(from, last)
}

// The next two make the system call themselves: not every libc that programs run with has them, and callers who look for
// them find ours.

/// libc's `close_range`.
///
/// # Safety
/// As for that function.
#[no_mangle]
pub unsafe extern "C" fn close_range(first: c_uint, last: c_uint, flags: c_int) -> c_int {
    // Any flag makes it something else: descriptors are marked and not closed, or closed in a table of this thread's own.
    if flags == 0 && first <= last {
        closing_all(first, last);
    }
    // SAFETY: the caller's promise, passed on.
    as_libc(hand_off(|| unsafe { around_own(first, last, flags) })) as c_int
}

/// libc's `closefrom`.
///
/// # Safety
/// As for that function.
#[no_mangle]
pub unsafe extern "C" fn closefrom(first: c_int) {
    let first = first.max(0) as c_uint;
    closing_all(first, c_uint::MAX);
    // SAFETY: the caller's promise, passed on.
    let done = hand_off(|| unsafe { around_own(first, c_uint::MAX, 0) });
    if done < 0 {
        // A kernel before 5.9.
        for fd in u64::from(first)..NUMBERS {
            // SAFETY: the caller's promise, passed on.
            unsafe { close(fd as c_int) };
        }
    }
}

/// Whether a number stands for a file.
fn is_open(fd: c_int) -> bool {
    // SAFETY: the call takes no pointers.
    unsafe { kernel(libc::SYS_fcntl, [fd as usize, libc::F_GETFD as usize, 0, 0, 0, 0]) >= 0 }
}

/// Gives the number `to` to the file of `from` by `replace`.
fn replacing(from: c_int, to: c_int, replace: impl FnOnce() -> c_int) -> c_int {
    if from == to || !is_open(from) {
        return replace(); // closes nothing
    }
    if hook::own_descriptors().contains(&to) {
        return fail(libc::EBUSY) as c_int; // what the kernel says of a number that is being taken
    }
    hook::closing(to);
    let fd = hand_off(replace);
    if fd >= 0 {
        hook::opened(fd);
    }
    fd
}

/// libc's `dup2`.
///
/// # Safety
/// As for that function.
#[no_mangle]
pub unsafe extern "C" fn dup2(from: c_int, to: c_int) -> c_int {
    let next = next!(c"dup2", fn(c_int, c_int) -> c_int);
    // SAFETY: the caller's promise, passed on.
    replacing(from, to, || unsafe { next(from, to) })
}

/// libc's `dup3`.
///
/// # Safety
/// As for that function.
#[no_mangle]
pub unsafe extern "C" fn dup3(from: c_int, to: c_int, flags: c_int) -> c_int {
    let next = next!(c"dup3", fn(c_int, c_int, c_int) -> c_int);
    // SAFETY: the caller's promise, passed on.
    let replace = || unsafe { next(from, to, flags) };
    if flags & !libc::O_CLOEXEC != 0 {
        return replace(); // refused
    }
    replacing(from, to, replace)
}
