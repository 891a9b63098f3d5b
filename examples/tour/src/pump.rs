//! The C library of the tour, `c/pump.h`, as Rust sees it.

use std::ffi::c_void;

/// The function that the library calls for each event.
pub type Handler = unsafe extern "C" fn(host: *mut c_void, thread: u32, event: u64, value: i64) -> i64;

/// What the library saw; the fields are explained in `pump.h`.
#[repr(C)]
#[derive(Debug, Default)]
pub struct Tally {
    pub calls: u64,
    pub refused: u64,
    pub wrong: u64,
    pub sent_sum: i64,
    pub refused_sum: i64,
    pub nanoseconds: u64,
}

mod c {
    use super::{c_void, Handler, Tally};

    extern "C" {
        pub fn pump_run(threads: u32, events: u64, handler: Handler, host: *mut c_void, tally: *mut Tally) -> u32;
        pub fn pump_nap(milliseconds: u64);
        pub fn pump_napping() -> u32;
    }
}

/// Lets `threads` C threads call `handler` with `events` events each, and waits for them. Returns how many
/// threads the library could start, and its tally.
///
/// # Safety
///
/// `handler` must accept `host`, and be callable from many threads at once, until this returns.
pub unsafe fn run(threads: u32, events: u64, handler: Handler, host: *const c_void) -> (u32, Tally) {
    let mut tally = Tally::default();
    // SAFETY: the declarations match pump.h, the tally lives across the call, and the caller vouches for
    // the handler. The library joins its threads, so nothing of ours is used after the return.
    let started = unsafe { c::pump_run(threads, events, handler, host.cast_mut(), &mut tally) };
    (started, tally)
}

/// Blocks the kernel thread below for `milliseconds`. No hook can turn this into parking.
pub fn nap(milliseconds: u64) {
    // SAFETY: takes a number, touches only its own frame and an atomic counter.
    unsafe { c::pump_nap(milliseconds) }
}

/// How many callers are inside [`nap`] now.
pub fn napping() -> u32 {
    // SAFETY: reads an atomic counter.
    unsafe { c::pump_napping() }
}
