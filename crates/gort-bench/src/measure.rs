//! Clocks and gauges that all rows share: how long to repeat, how far to scale down, what the process holds and uses.

use std::mem::{size_of, zeroed};
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

/// What the process has used so far, all its threads together.
pub struct Usage {
    /// CPU time, in the kernel and outside.
    pub cpu: Duration,
    /// How often a thread gave up its CPU because it waited.
    pub voluntary_switches: u64,
}

impl Usage {
    /// Asks the kernel.
    ///
    /// # Panics
    /// If the kernel refuses.
    pub fn now() -> Self {
        // SAFETY: a rusage is plain numbers, for which zero is a value; the kernel writes just that.
        let (usage, result) = unsafe {
            let mut usage: libc::rusage = zeroed();
            let result = libc::getrusage(libc::RUSAGE_SELF, &mut usage);
            (usage, result)
        };
        assert_eq!(result, 0, "getrusage");
        let time = |t: libc::timeval| Duration::new(t.tv_sec as u64, t.tv_usec as u32 * 1000);
        Self { cpu: time(usage.ru_utime) + time(usage.ru_stime), voluntary_switches: usage.ru_nvcsw as u64 }
    }
}

/// CPU time of the process that started this one, in the kernel and outside, to a hundredth of a second.
///
/// # Panics
/// If `/proc` does not tell.
pub fn parents_cpu() -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", std::os::unix::process::parent_id())).expect("/proc");
    // Behind the name in brackets, which may contain anything, user and system time are the 12th and 13th field.
    let (_, fields) = stat.rsplit_once(')').expect("a name in brackets");
    let ticks: u64 = fields.split_whitespace().skip(11).take(2).map(|n| n.parse::<u64>().expect("a number")).sum();
    // SAFETY: takes a number and returns one.
    let per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    Duration::from_secs_f64(ticks as f64 / per_second as f64)
}

/// Descriptors that a process has open apart from connections, with some to spare.
const OTHER_DESCRIPTORS: u64 = 100;

/// Makes sure that this process may have `connections` open, by raising its soft limit to the hard one. Says what is missing if
/// that is not enough.
pub fn need_descriptors(connections: usize) -> Result<(), String> {
    let need = connections as u64 + OTHER_DESCRIPTORS;
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the kernel writes, then reads, just the struct.
    let raised = unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) == 0 && {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &limit) == 0
        }
    };
    if raised && limit.rlim_max >= need {
        return Ok(());
    }
    let have = limit.rlim_max;
    Err(format!("the hard limit of open files (RLIMIT_NOFILE, `ulimit -Hn`) is {have}; {need} are needed"))
}

/// Lets this thread, and those it will start, use all CPUs that the system grants, whatever was inherited.
///
/// # Panics
/// If the kernel refuses.
pub fn use_all_cpus() {
    // SAFETY: a cpu_set_t is a plain array of bits, for which zero is a value; CPU_SET stays below CPU_SETSIZE, and the kernel reads
    // just the set, with its true size. 0 names the calling thread.
    let result = unsafe {
        let mut all: libc::cpu_set_t = zeroed();
        (0..libc::CPU_SETSIZE as usize).for_each(|cpu| libc::CPU_SET(cpu, &mut all));
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &all)
    };
    assert_eq!(result, 0, "sched_setaffinity");
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
    fn the_parent_has_used_the_cpu() {
        assert!(parents_cpu() < Duration::from_secs(1 << 32));
    }

    #[test]
    fn too_many_descriptors_are_refused_by_name() {
        assert_eq!(need_descriptors(1), Ok(()));
        assert!(need_descriptors(1 << 40).unwrap_err().contains("RLIMIT_NOFILE"));
    }

    #[test]
    fn memory_held_is_seen_to_grow() {
        note_start();
        let block = std::hint::black_box(vec![1u8; 64 << 20]);
        assert!(held_since_start() >= 60 << 20);
        drop(block);
    }
}
