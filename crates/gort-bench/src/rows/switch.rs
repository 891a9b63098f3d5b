//! Rows about going from one task to another: yielding, and handing a message there and back.

use super::{Channel, Threads};
use crate::measure::per_op;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Yields of each of the two tasks while the alternation is checked.
const CHECKED: usize = 1000;

/// Nanoseconds per yield of two tasks that do nothing else.
///
/// On one processor the tasks must really alternate; that is checked before the clock starts, because a yield that does not
/// switch would look fast.
pub fn yields<T: Threads>(procs: usize) -> f64 {
    if procs == 1 && T::ALTERNATES {
        let changes = alternations::<T>();
        assert!(changes > CHECKED, "only {changes} of {} yields let the other run", 2 * CHECKED);
    }
    per_op(|n| {
        let each = n.div_ceil(2);
        let spans = both::<T, _>(move |_| {
            let start = Instant::now();
            for _ in 0..each {
                T::yield_now();
            }
            (start, Instant::now())
        });
        wall(spans)
    })
}

/// How often, in `2 * CHECKED` yields, the task that runs is not the one that ran before.
fn alternations<T: Threads>() -> usize {
    let last = Arc::new(AtomicUsize::new(0));
    let [a, b] = both::<T, _>(move |me| {
        let turns = (0..CHECKED).map(|_| {
            let changed = last.swap(me, Ordering::Relaxed) != me;
            T::yield_now();
            usize::from(changed)
        });
        turns.sum::<usize>()
    });
    a + b
}

/// Runs `body(1)` and `body(2)` as two tasks that begin together, and returns both results.
fn both<T: Threads, R: Send + 'static>(body: impl Fn(usize) -> R + Clone + Send + 'static) -> [R; 2] {
    let ready = Arc::new(AtomicUsize::new(0));
    let tasks = [1, 2].map(|me| {
        let (ready, body) = (ready.clone(), body.clone());
        T::spawn(move || {
            ready.fetch_add(1, Ordering::Relaxed);
            while ready.load(Ordering::Relaxed) < 2 {
                T::yield_now();
            }
            body(me)
        })
    });
    tasks.map(T::join)
}

/// From the first start to the last end.
fn wall(spans: [(Instant, Instant); 2]) -> Duration {
    let [(start_a, end_a), (start_b, end_b)] = spans;
    end_a.max(end_b) - start_a.min(start_b)
}

/// Nanoseconds for a message there and an answer back. Both tasks call `prepare` first, this one and another.
pub fn pingpong<C: Channel, T: Threads>(prepare: fn()) -> f64 {
    prepare();
    per_op(|n| {
        let (there, inbox) = C::new();
        let (back, answers) = C::new();
        let echo = T::spawn(move || {
            prepare();
            let mut sum = 0;
            for _ in 0..n {
                let value = C::recv(&inbox);
                sum += value;
                C::send(&back, value + 1);
            }
            sum
        });
        let start = Instant::now();
        for value in 0..n {
            C::send(&there, value);
            assert_eq!(C::recv(&answers), value + 1, "a wrong answer");
        }
        let took = start.elapsed();
        assert_eq!(T::join(echo), n * (n - 1) / 2, "messages were lost");
        took
    })
}
