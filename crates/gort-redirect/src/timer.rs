//! Waiting for a handle: a timer, a thread, a process.
//!
//! `std::thread::sleep` makes a timer of high resolution, sets it and waits for its handle. What a timer was set to is noted here
//! under its handle, so that the wait can park until then. The notes are few, and a new one may take an old one's place: who finds
//! none waits as for any other handle. A note that is wrong, since the handle was closed and its number is another object's now, does no
//! harm but delay: the end of a wait is what the system says.

use crate::switch::may_park;
use core::ffi::c_void;
use core::mem::transmute;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use gort_rt::ffi;
use gort_rt::hook::{self, Function};
use windows_sys::core::BOOL;
use windows_sys::Win32::Foundation::{GetLastError, SetLastError, HANDLE, WAIT_TIMEOUT};

/// What this file stands in for.
pub(crate) static HOOKS: &[&Function] = &[&SET, &WAIT];

static SET: Function = Function::new(c"SetWaitableTimer", set as *const ());
static WAIT: Function = Function::new(c"WaitForSingleObject", wait as *const ());

/// When a timer is due.
struct Note {
    handle: AtomicUsize,
    /// Nanoseconds of the monotonic clock.
    due: AtomicU64,
}

static NOTES: [Note; 256] = [const { Note { handle: AtomicUsize::new(0), due: AtomicU64::new(0) } }; 256];

/// Where the note of a handle is, if there is one. (Handles are multiples of four.)
fn note(handle: HANDLE) -> &'static Note {
    &NOTES[handle.addr() / 4 % NOTES.len()]
}

/// How often to look whether a timer that should be due is, and the pause between two looks, in nanoseconds.
const TICKS: u32 = 20;
const TICK: u64 = 1_000_000;

/// In place of `SetWaitableTimer`.
unsafe extern "system" fn set(
    timer: HANDLE,
    due: *const i64,
    period: i32,
    routine: *const c_void,
    argument: *const c_void,
    resume: BOOL,
) -> BOOL {
    type Real = unsafe extern "system" fn(HANDLE, *const i64, i32, *const c_void, *const c_void, BOOL) -> BOOL;
    // SAFETY: the type is that of the function with this name; the caller's promise, passed on.
    let done = unsafe { transmute::<*const (), Real>(SET.real())(timer, due, period, routine, argument, resume) };
    if done != 0 && may_park() {
        // SAFETY: the system has read it just now.
        let due = unsafe { *due };
        let note = note(timer);
        note.handle.store(0, Ordering::Relaxed);
        // Negative: a duration, in units of 100 ns. Moments of the calendar are left to the system.
        if due < 0 {
            note.due.store(hook::now().saturating_add(due.unsigned_abs().saturating_mul(100)), Ordering::Relaxed);
            note.handle.store(timer.addr(), Ordering::Release);
        }
    }
    done
}

/// In place of `WaitForSingleObject`.
unsafe extern "system" fn wait(handle: HANDLE, milliseconds: u32) -> u32 {
    type Real = unsafe extern "system" fn(HANDLE, u32) -> u32;
    // SAFETY: the type is that of the function with this name; the caller's promise, passed on.
    let real = |milliseconds| unsafe { transmute::<*const (), Real>(WAIT.real())(handle, milliseconds) };
    if milliseconds == 0 || !may_park() {
        return real(milliseconds);
    }
    match real(0) {
        WAIT_TIMEOUT => {}
        settled => return settled,
    }
    let end = crate::sleep::deadline(milliseconds);
    let note = note(handle);
    // Acquire: the moment was stored before the handle.
    if note.handle.load(Ordering::Acquire) == handle.addr() {
        let end = end.unwrap_or(u64::MAX);
        let mut until = note.due.load(Ordering::Relaxed);
        // Not only once: the system's clock may be behind ours, by as long as one of its ticks.
        for _ in 0..TICKS {
            hook::sleep_until(until.min(end));
            match real(0) {
                WAIT_TIMEOUT => until = hook::now() + TICK,
                settled => return settled,
            }
        }
    }
    let left = match end {
        None => milliseconds,
        Some(end) => end.saturating_sub(hook::now()).div_ceil(1_000_000) as u32,
    };
    let (result, error) = ffi::blocking(|| {
        let result = real(left);
        // SAFETY: no preconditions.
        (result, unsafe { GetLastError() })
    });
    // SAFETY: no preconditions.
    unsafe { SetLastError(error) };
    result
}
