//! Rows about C: threads that the runtime did not make calling in, and calls out.

use super::Measured;
use crate::c::{self, Callback};
use crate::measure::{best, per_op, percentile, scaled};
use crate::os::short_sleeps;
use std::hint::black_box;
use std::sync::mpsc;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Pairs of fresh threads in the `callback_first` row.
pub const FIRST_PAIRS: usize = 4000;

/// Wake-ups in the `callback_wake` row.
pub const WAKES: usize = 2000;
/// What the waking thread sleeps before each. Long enough for the woken to go to sleep, and for whoever looks for work to give up.
pub const PAUSE: Duration = Duration::from_micros(150);

/// Nanoseconds per call of `cb` by so many C threads, each of which has called it before, at the same time.
fn bound_at_once(cb: Callback, threads: u8) -> f64 {
    per_op(|n| Duration::from_nanos(c::callback_bound(cb, n, threads) as u64))
}

/// Nanoseconds per call of `cb` by a C thread that has called it before.
pub fn callback_bound(cb: Callback) -> f64 {
    bound_at_once(cb, 1)
}

/// Nanoseconds per call of `cb` by each of two C threads that do so at the same time; how many times as many calls they get done
/// as one alone.
pub fn callback_parallel(cb: Callback) -> Vec<f64> {
    let [one, two] = best([&|| bound_at_once(cb, 1), &|| bound_at_once(cb, 2)]);
    vec![two, 2.0 * one / two]
}

/// Nanoseconds per call of `cb` on the calling thread, which should be the process's main one, and on one that C has made.
pub fn callback_main(cb: Callback) -> Vec<f64> {
    let here = || per_op(|n| Duration::from_nanos(c::callback_here(cb, n) as u64));
    best([&here, &|| bound_at_once(cb, 1)]).to_vec()
}

/// Where the callback of `callback_wake` sends what it gets.
static TO_WOKEN: OnceLock<mpsc::Sender<i64>> = OnceLock::new();

/// Sends `called_at` to the task that waits for it. What a C thread's callback does in the row `callback_wake`.
pub fn send_to_woken(called_at: i64) -> i64 {
    let sent = TO_WOKEN.get().expect("the row has begun").send(called_at);
    sent.expect("a receiver");
    called_at + 1
}

/// Median and 99th percentile of the nanoseconds from a C thread's call of `cb`, which calls [`send_to_woken`], to the moment when
/// the receiving task, made by `spawn`, goes on. To be called once, from a thread.
pub fn callback_wake(cb: Callback, spawn: impl FnOnce(Box<dyn FnOnce() + Send>)) -> Measured {
    short_sleeps()?;
    let (tx, rx) = mpsc::channel();
    let (done, result) = mpsc::channel();
    assert!(TO_WOKEN.set(tx).is_ok(), "once in a process");
    let wakes = scaled(WAKES);
    spawn(Box::new(move || {
        let mut last = 0;
        let delays = (0..wakes).map(|_| {
            let called_at = rx.recv().expect("a sender");
            let now = c::now();
            assert!(last < called_at && called_at <= now, "the calls are told apart by their times, and come in order");
            last = called_at;
            (now - called_at) as f64
        });
        done.send(delays.collect()).expect("somebody waits");
    }));
    c::callback_wake(cb, wakes, PAUSE);
    Ok(middle_and_late(result.recv().expect("all delays")))
}

/// What [`callback_wake`] makes of the delays.
pub fn middle_and_late(delays: Vec<f64>) -> Vec<f64> {
    assert_eq!(delays.len(), scaled(WAKES), "every call wakes");
    percentile(delays, &[0.5, 0.99])
}

/// Nanoseconds that one call of `cb` adds to the life of a fresh C thread.
pub fn callback_first(cb: Callback) -> f64 {
    c::callback_first(cb, scaled(50) as u64);
    c::callback_first(cb, scaled(FIRST_PAIRS) as u64)
}

/// Nanoseconds per `call`, which must return the sum of its arguments.
pub fn calls(call: impl Fn(i64, i64) -> i64) -> f64 {
    per_op(|n| {
        let start = Instant::now();
        let mut sum = 0;
        for _ in 0..n {
            sum = call(black_box(sum), black_box(1));
        }
        let took = start.elapsed();
        assert_eq!(sum, n as i64, "a wrong sum");
        took
    })
}
