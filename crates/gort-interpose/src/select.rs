//! `select`: as `poll`, with sets of bits.
//!
//! The kernel overwrites the caller's sets with its answer, so they are copied first and put back before each question. As
//! on Linux, `select` leaves in its timeout what was left of it. Calls for more than `FD_SETSIZE` descriptors are handed off:
//! the kernel looks at no more bits than the process has descriptors, so a program that gives a larger number need not have
//! sets of that size.

use crate::attempts;
use crate::hand_off::hand_off;
use crate::next::next;
use crate::ready::{moment, time_until};
use crate::switch::may_park;
use crate::sys::raw;
use crate::Ours;
use core::ptr;
use gort_rt::ffi::blocking;
use gort_rt::hook::{self, Interest};
use libc::{c_int, fd_set, sigset_t, timespec, timeval};

/// What this file defines.
pub(crate) static HOOKS: &[Ours] = &[
    Ours::new(c"select", select as *const ()),
    Ours::new(c"__select", __select as *const ()),
    Ours::new(c"pselect", pselect as *const ()),
];

const WORDS: usize = libc::FD_SETSIZE / 64;

/// The caller's sets, and what was in them.
struct Sets {
    /// For reading, writing, and exceptional conditions.
    theirs: [*mut u64; 3],
    asked: [[u64; WORDS]; 3],
    words: usize,
}

impl Sets {
    /// # Safety
    /// Each set is null or has room for `n` bits, in whole words, which may be written to as long as the value is used.
    unsafe fn new(n: c_int, sets: [*mut fd_set; 3]) -> Sets {
        let words = (n as usize).div_ceil(64);
        let mut saved = Sets { theirs: sets.map(|set| set.cast()), asked: [[0; WORDS]; 3], words };
        for (theirs, asked) in saved.theirs.iter().zip(&mut saved.asked) {
            if !theirs.is_null() {
                // SAFETY: the caller's promise; `words` is at most WORDS.
                unsafe { ptr::copy_nonoverlapping(*theirs, asked.as_mut_ptr(), words) };
            }
        }
        saved
    }

    /// Puts the question back into the caller's sets.
    fn restore(&self) {
        for (theirs, asked) in self.theirs.iter().zip(&self.asked) {
            if !theirs.is_null() {
                // SAFETY: as in `new`.
                unsafe { ptr::copy_nonoverlapping(asked.as_ptr(), *theirs, self.words) };
            }
        }
    }

    /// What to wait for. Exceptional conditions come to readers too.
    fn wanted(&self, n: c_int) -> impl Iterator<Item = (c_int, Interest)> + Clone + '_ {
        let [read, write, except] = &self.asked;
        let has = |set: &[u64; WORDS], fd: c_int| set[fd as usize / 64] >> (fd as usize % 64) & 1 != 0;
        (0..n).flat_map(move |fd| {
            let reads = (has(read, fd) || has(except, fd)).then_some((fd, Interest::Read));
            let writes = has(write, fd).then_some((fd, Interest::Write));
            reads.into_iter().chain(writes)
        })
    }
}

/// `select` on a goroutine; None: hand it off. The caller's sets hold the question then.
///
/// # Safety
/// As for `select`; `n` is at least 0 and at most `FD_SETSIZE`.
unsafe fn parked_select(n: c_int, sets: [*mut fd_set; 3], deadline: Option<u64>) -> Option<c_int> {
    // SAFETY: the caller's promise, passed on.
    let saved = unsafe { Sets::new(n, sets) };
    let probe = || {
        saved.restore();
        let mut at_once = timespec { tv_sec: 0, tv_nsec: 0 };
        let [read, write, except] = saved.theirs.map(|set| set as usize);
        let args = [n as usize, read, write, except, &raw mut at_once as usize, 0];
        // SAFETY: the caller's promise, passed on; the timeout lives.
        let answer = unsafe { raw(libc::SYS_pselect6, args) } as c_int;
        (answer != 0).then_some(answer)
    };
    let answer = attempts::wait(saved.wanted(n), deadline, probe);
    if answer.is_none() {
        saved.restore();
    }
    answer
}

/// Whether a call for `n` descriptors may park.
fn suits(n: c_int) -> bool {
    (0..=libc::FD_SETSIZE as c_int).contains(&n) && may_park()
}

/// libc's `select`.
///
/// # Safety
/// As for that function.
#[no_mangle]
pub unsafe extern "C" fn select(
    n: c_int,
    read: *mut fd_set,
    write: *mut fd_set,
    except: *mut fd_set,
    timeout: *mut timeval,
) -> c_int {
    let next = next!(c"select", fn(c_int, *mut fd_set, *mut fd_set, *mut fd_set, *mut timeval) -> c_int);
    // SAFETY: the caller's promise, passed on.
    unsafe {
        let valid = timeout.as_ref().is_none_or(|time| time.tv_sec >= 0 && time.tv_usec >= 0);
        if !valid || !suits(n) {
            return hand_off(|| next(n, read, write, except, timeout));
        }
        let deadline = timeout.as_ref().map(|time| {
            let ns = (time.tv_sec as u64).saturating_mul(1_000_000_000);
            hook::now().saturating_add(ns).saturating_add((time.tv_usec as u64).saturating_mul(1000))
        });
        let answer = parked_select(n, [read, write, except], deadline);
        if let (Some(timeout), Some(when)) = (timeout.as_mut(), deadline) {
            let left = time_until(when);
            *timeout = timeval { tv_sec: left.tv_sec, tv_usec: left.tv_nsec / 1000 };
        }
        match answer {
            Some(answer) => answer,
            None => blocking(|| next(n, read, write, except, timeout)),
        }
    }
}

/// libc's `__select`, another name of `select`.
///
/// # Safety
/// As for that function.
#[no_mangle]
pub unsafe extern "C" fn __select(
    n: c_int,
    read: *mut fd_set,
    write: *mut fd_set,
    except: *mut fd_set,
    timeout: *mut timeval,
) -> c_int {
    // SAFETY: the caller's promise, passed on.
    unsafe { select(n, read, write, except, timeout) }
}

/// libc's `pselect`.
///
/// # Safety
/// As for that function.
#[no_mangle]
pub unsafe extern "C" fn pselect(
    n: c_int,
    read: *mut fd_set,
    write: *mut fd_set,
    except: *mut fd_set,
    timeout: *const timespec,
    mask: *const sigset_t,
) -> c_int {
    let next =
        next!(c"pselect", fn(c_int, *mut fd_set, *mut fd_set, *mut fd_set, *const timespec, *const sigset_t) -> c_int);
    // SAFETY: the caller's promise, passed on.
    unsafe {
        if !mask.is_null() || !suits(n) {
            return hand_off(|| next(n, read, write, except, timeout, mask));
        }
        let Ok(when) = moment(timeout) else { return next(n, read, write, except, timeout, mask) };
        match parked_select(n, [read, write, except], when) {
            Some(answer) => answer,
            None => {
                let left = when.map(time_until);
                let left = left.as_ref().map_or(ptr::null(), ptr::from_ref);
                blocking(|| next(n, read, write, except, left, mask))
            }
        }
    }
}
