//! Safe names for the functions of `c/bench.c`.

use std::ffi::c_int;
use std::time::Duration;

/// A Rust function that a C thread calls back. It must return its argument plus one.
pub type Callback = extern "C" fn(i64) -> i64;

extern "C" {
    fn bench_add(a: i64, b: i64) -> i64;
    fn bench_through(cb: Callback, x: i64) -> i64;
    fn bench_now() -> i64;
    fn bench_callback_here(cb: Callback, n: i64) -> f64;
    fn bench_callback_bound(cb: Callback, n: i64, threads: c_int) -> f64;
    fn bench_callback_first(cb: Callback, pairs: i64, status: *mut c_int) -> f64;
    fn bench_callback_wake(cb: Callback, n: i64, pause: i64) -> c_int;
}

/// Calls the C function that returns `a + b`.
#[inline]
pub fn add(a: i64, b: i64) -> i64 {
    // SAFETY: `bench_add` takes two integers by value, touches no memory and cannot fail; the sums of the rows are far from the
    // limits of i64, so there is no signed overflow in C.
    unsafe { bench_add(a, b) }
}

/// Calls the C function that returns what `cb` returns for `x`.
#[inline]
pub fn through(cb: Callback, x: i64) -> i64 {
    // SAFETY: `cb` is a function pointer that lives for ever and does not unwind, being `extern "C"`; the C function calls it once
    // on this thread, and does nothing else.
    unsafe { bench_through(cb, x) }
}

/// Monotonic time in nanoseconds, by the clock that [`callback_wake`] reads.
#[inline]
pub fn now() -> i64 {
    // SAFETY: reads a clock into memory of its own.
    unsafe { bench_now() }
}

/// Calls `cb` `n` times from C on the calling thread, and returns the nanoseconds of all calls together.
///
/// # Panics
/// If `cb` returns something else than its argument plus one.
pub fn callback_here(cb: Callback, n: u64) -> f64 {
    let n = i64::try_from(n).expect("the number of calls fits i64");
    // SAFETY: `cb` is a function pointer that lives for ever, and C calls it on this thread, before it returns.
    let ns = unsafe { bench_callback_here(cb, n) };
    assert!(ns >= 0.0, "the callback returned a wrong sum");
    ns
}

/// Lets so many fresh C threads call `cb` `n` times each, all at the same time, and returns the nanoseconds from the first call to
/// the end of the last.
///
/// # Panics
/// If a thread cannot be made, or `cb` returns something else than its argument plus one.
pub fn callback_bound(cb: Callback, n: u64, threads: u8) -> f64 {
    let n = i64::try_from(n).expect("the number of calls fits i64");
    // SAFETY: `cb` is a function pointer that lives for ever and may be called from any thread; the C function joins its threads
    // before it returns, so nothing of it outlives the call.
    let ns = unsafe { bench_callback_bound(cb, n, threads.into()) };
    assert!(ns != -1.0, "pthread_create failed");
    assert!(ns >= 0.0, "the callback returned a wrong sum");
    ns
}

/// Lets a fresh C thread call `cb` `n` times with the time, as of [`now`], and sleep before each call. Returns when it has ended.
///
/// # Panics
/// If the thread cannot be made, or `cb` returns something else than its argument plus one.
pub fn callback_wake(cb: Callback, n: usize, pause: Duration) {
    let n = i64::try_from(n).expect("the number of calls fits i64");
    let pause = i64::try_from(pause.as_nanos()).expect("the pause fits i64");
    // SAFETY: as in `callback_bound`.
    let status = unsafe { bench_callback_wake(cb, n, pause) };
    assert_eq!(status, 0, "bench_callback_wake failed (-1 thread, -2 sum)");
}

/// Makes `pairs` pairs of C threads in turn, one that calls `cb` once and one that does not, and returns the median difference of
/// their create-and-join times in nanoseconds.
///
/// # Panics
/// If a thread cannot be made, memory is short, or `cb` returns something else than its argument plus one.
pub fn callback_first(cb: Callback, pairs: u64) -> f64 {
    let pairs = i64::try_from(pairs).expect("the number of pairs fits i64");
    let mut status = 0;
    // SAFETY: as in `callback_bound`; `status` is a live local that the C function writes only before it returns.
    let ns = unsafe { bench_callback_first(cb, pairs, &mut status) };
    assert_eq!(status, 0, "bench_callback_first failed (-1 thread, -2 sum, -3 memory)");
    ns
}
