//! A library with a runtime of its own, as a host loads it.

use gort_rt::{ffi, thread};
use std::time::Duration;

/// A callback that needs no goroutine: returns its argument, or -1 if it is not let in.
#[no_mangle]
pub extern "C" fn plugin_callback(value: i64) -> i64 {
    ffi::callback_or(|| value, || -1)
}

/// Adds up 0 .. n on n goroutines. -1 if a spawn or the callback fails.
#[no_mangle]
pub extern "C" fn plugin_work(n: i64) -> i64 {
    let one = |i| thread::Builder::new().spawn(move || i);
    let work = || (0..n).map(|i| one(i).map_or(-1, |g| g.join().unwrap_or(-1))).sum();
    ffi::callback_or(work, || -1)
}

/// Starts the runtime. 0, or -1.
#[no_mangle]
pub extern "C" fn plugin_start(_: i64) -> i64 {
    gort_rt::Config::new().start().map_or(-1, |()| 0)
}

/// Ends the runtime, with patience in milliseconds. 0, or -1 if it could not be ended.
#[no_mangle]
pub extern "C" fn plugin_shutdown(patience: i64) -> i64 {
    gort_rt::shutdown(Duration::from_millis(patience.unsigned_abs())).map_or(-1, |()| 0)
}

/// Threads that have called in and have not ended.
#[no_mangle]
pub extern "C" fn plugin_bound(_: i64) -> i64 {
    gort_rt::stats().extra_ms_in_use as i64
}
