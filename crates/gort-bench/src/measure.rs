//! Clocks and gauges that all rows share: how long to repeat, how far to scale down, how much memory the process holds.

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

/// How long the timed part of a repeated row should take.
fn target() -> Duration {
    Duration::from_millis(300).mul_f64(scale())
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

/// What the process held before any runtime started.
static AT_START: OnceLock<u64> = OnceLock::new();

/// Notes how much memory the process holds. To be called before a runtime starts; later calls change nothing.
pub fn note_start() {
    AT_START.get_or_init(held_bytes);
}

/// Bytes of memory the process has taken since [`note_start`].
///
/// # Panics
/// If the start was not noted.
pub fn held_since_start() -> u64 {
    let before = AT_START.get().expect("the start was noted");
    held_bytes().saturating_sub(*before)
}

/// Bytes of memory the process holds: resident pages and page tables.
///
/// # Panics
/// If `/proc/self/status` cannot be read or lacks a field.
fn held_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc/self/status");
    let kib = |name: &str| -> u64 {
        let line = status
            .lines()
            .find_map(|l| l.strip_prefix(name))
            .unwrap_or_else(|| panic!("/proc/self/status has no {name}"));
        let number = line.trim().trim_end_matches(" kB");
        number.parse().expect("a number of kB")
    };
    (kib("VmRSS:") + kib("VmPTE:")) * 1024
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
    fn memory_held_is_seen_to_grow() {
        note_start();
        let block = std::hint::black_box(vec![1u8; 64 << 20]);
        assert!(held_since_start() >= 60 << 20);
        drop(block);
    }
}
