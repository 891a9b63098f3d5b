//! Clocks and gauges that all rows share: how long to repeat, how far to scale down, what the process holds.

use crate::os;
use std::sync::OnceLock;
use std::time::Duration;

/// Factor on all counts and times, from `GORT_BENCH_SCALE`; 1 unless set. The smoke test uses a small one.
///
/// # Panics
/// If the variable is not a number above 0 and at most 1.
pub fn scale() -> f64 {
    let Ok(text) = std::env::var("GORT_BENCH_SCALE") else {
        return 1.0;
    };
    let scale: f64 = text.parse().expect("GORT_BENCH_SCALE is a number");
    assert!(scale > 0.0 && scale <= 1.0, "GORT_BENCH_SCALE is above 0 and at most 1");
    scale
}

/// `count` times the scale, at least 1.
pub fn scaled(count: usize) -> usize {
    ((count as f64 * scale()) as usize).max(1)
}

/// `time` by the scale.
pub fn scaled_time(time: Duration) -> Duration {
    time.mul_f64(scale())
}

/// How long the timed part of a repeated row should take.
fn target() -> Duration {
    scaled_time(Duration::from_millis(300))
}

/// Repeats a workload for about 0.3 s and returns the nanoseconds of one repetition.
///
/// `timed(n)` performs `n` repetitions and returns their time. It is first called with small numbers that grow until the time is
/// long enough to extrapolate from; those calls are the warm-up.
pub fn per_op(mut timed: impl FnMut(u64) -> Duration) -> f64 {
    let target = target();
    let mut n = 1;
    let n = loop {
        let took = timed(n);
        if took >= target / 8 {
            let more = target.as_secs_f64() / took.as_secs_f64();
            break ((n as f64 * more) as u64).max(1);
        }
        n *= 4;
    };
    timed(n).as_nanos() as f64 / n as f64
}

/// Rounds of which the best counts: what disturbs only adds.
const ROUNDS: usize = 5;

/// The best of some rounds of each measurement, taken in turn.
pub fn best<const N: usize>(measure: [&dyn Fn() -> f64; N]) -> [f64; N] {
    let mut best = [f64::INFINITY; N];
    for _ in 0..ROUNDS {
        for (best, measure) in best.iter_mut().zip(measure) {
            *best = best.min(measure());
        }
    }
    best
}

/// For each share the value that so large a part of all values does not exceed.
///
/// # Panics
/// If there is no value.
pub fn percentile(mut values: Vec<f64>, shares: &[f64]) -> Vec<f64> {
    values.sort_by(f64::total_cmp);
    let at = |share: &f64| (values.len() as f64 * share).ceil() as usize;
    shares.iter().map(|share| values[at(share).max(1) - 1]).collect()
}

/// What the process held before any runtime started.
static AT_START: OnceLock<u64> = OnceLock::new();

/// Notes how much memory the process holds. To be called before a runtime starts; later calls change nothing.
pub fn note_start() {
    AT_START.get_or_init(os::held_bytes);
}

/// Bytes of memory the process has taken since [`note_start`].
///
/// # Panics
/// If the start was not noted.
pub fn held_since_start() -> u64 {
    let before = AT_START.get().expect("the start was noted");
    os::held_bytes().saturating_sub(*before)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn per_op_reports_the_time_of_one_repetition() {
        let ns = per_op(|n| Duration::from_micros(3) * u32::try_from(n).unwrap());
        assert_eq!(ns, 3000.0);
    }

    #[test]
    fn a_percentile_is_a_value_that_is_there() {
        let values: Vec<_> = (1..=100).rev().map(f64::from).collect();
        assert_eq!(percentile(values, &[0.5, 0.99, 1.0]), [50.0, 99.0, 100.0]);
        assert_eq!(percentile(vec![7.0], &[0.0, 0.5, 0.99]), [7.0; 3]);
    }

    #[test]
    fn the_best_of_each_is_kept() {
        let round = std::cell::Cell::new(0.0);
        let next = || {
            round.set(round.get() + 1.0);
            round.get()
        };
        assert_eq!(best([&next, &|| 3.0]), [1.0, 3.0]);
        assert_eq!(round.get(), ROUNDS as f64);
    }

    #[test]
    fn memory_held_is_seen_to_grow() {
        note_start();
        let block = std::hint::black_box(vec![1u8; 64 << 20]);
        assert!(held_since_start() >= 60 << 20);
        drop(block);
    }
}
