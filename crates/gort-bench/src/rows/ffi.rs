//! Rows about C: threads that the runtime did not make calling in, and calls out.

use crate::c::{self, Callback};
use crate::measure::{per_op, scaled};
use std::hint::black_box;
use std::time::{Duration, Instant};

/// Pairs of fresh threads in the `callback_first` row.
pub const FIRST_PAIRS: usize = 4000;

/// Nanoseconds per call of `cb` by a C thread that has called it before.
pub fn callback_bound(cb: Callback) -> f64 {
    per_op(|n| Duration::from_nanos(c::callback_bound(cb, n) as u64))
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
