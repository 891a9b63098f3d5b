//! Waiting for a handle: a timer, a thread, a process.
//!
//! `std::thread::sleep` makes a timer of high resolution, sets it and waits for its handle. What a timer was set to is noted here
//! under its handle, so that the wait can park until then. The notes are few, and a new one may take an old one's place: who finds
//! none waits as for any other handle. A note counts once: who waits takes it.
//!
//! A note may be wrong, where a timer was closed that nobody has waited for, and its number is another object's now. The end of a wait
//! is what the system says, which is asked after [`TRUST`], and each time that as much has gone by again as before: so such a wait
//! takes that much longer than it should, or twice as long, and for once. The same holds where two goroutines write a note at once.

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
/// How long to trust a note at first, in nanoseconds.
const TRUST: u64 = 100_000_000;

impl Note {
    /// It is no longer that of `timer`.
    fn forget(&self, timer: HANDLE) -> bool {
        self.handle.compare_exchange(timer.addr(), 0, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// Takes the moment at which `timer` is due. Whoever writes a note puts 0 for the handle first; so the moment that was read while
    /// the handle was this one, before and after, belongs to it.
    fn take(&self, timer: HANDLE) -> Option<u64> {
        if self.handle.load(Ordering::Acquire) != timer.addr() {
            return None;
        }
        let due = self.due.load(Ordering::Acquire);
        self.forget(timer).then_some(due)
    }
}

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
    if done != 0 {
        // SAFETY: the system has read it just now.
        let due = unsafe { *due };
        let note = note(timer);
        note.forget(timer);
        // Negative: a duration, in units of 100 ns. Moments of the calendar are left to the system, and so are threads' own timers.
        if due < 0 && may_park() {
            note.handle.store(0, Ordering::Relaxed);
            // Release: who finds this moment finds that handle gone.
            note.due.store(hook::now().saturating_add(due.unsigned_abs().saturating_mul(100)), Ordering::Release);
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
    if let Some(due) = note(handle).take(handle) {
        let last = due.min(end.unwrap_or(u64::MAX));
        let mut trust = TRUST;
        // At the end not only once: the system's clock may be behind ours, by as long as one of its ticks.
        let mut ticks = TICKS;
        while ticks > 0 {
            let now = hook::now();
            let until = if now < last {
                last.min(now.saturating_add(trust))
            } else {
                ticks -= 1;
                now + TICK
            };
            hook::sleep_until(until);
            trust = trust.saturating_mul(2);
            match real(0) {
                WAIT_TIMEOUT => {}
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
