//! Act (d): a thousand goroutines in a blocking C call, while the others keep their pace.
//!
//! The call is `pump_nap`, which enters the kernel by a bare system call: no hook sees it, and it holds its
//! kernel thread to the end. `gort::ffi::blocking` tells the runtime so, which passes the processor on to
//! another kernel thread meanwhile. A metronome goroutine sleeps a millisecond, counts, and sleeps again;
//! its pace before and during the calls shows whether the processors stayed free.

use crate::process;
use crate::pump;
use crate::report::{commas, Act};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Goroutines that block.
const BLOCKED: usize = 1_000;

/// How long each of them does.
const NAP: Duration = Duration::from_millis(500);

/// How long the metronome is listened to beforehand.
const BEFORE: Duration = Duration::from_millis(300);

/// Between two ticks of the metronome, and between two looks at the kernel threads.
const TICK: Duration = Duration::from_millis(1);

/// The part of its pace that the metronome must keep. Low, so that a busy machine is not taken for an
/// error: a program whose processors are all held would stand still.
const PACE_KEPT: f64 = 0.1;

/// Runs the act.
pub fn run() -> Act {
    let wanted = process::crowd(BLOCKED);
    let what = format!("{} goroutines blocked in C for {:.1} s", commas(wanted), NAP.as_secs_f64());
    let mut act = Act::new('d', "blocking", what);
    let threads_before = process::kernel_threads();
    let metronome = Metronome::start();

    let before = metronome.listen(|| sleep(BEFORE));
    let start = Instant::now();
    let mut peak = Peak::default();
    let mut returned = 0;
    let during = metronome.listen(|| {
        let blocked: Vec<_> = (0..wanted).map(|_| gort::thread::spawn(blocked)).collect();
        while !blocked.iter().all(gort::thread::JoinHandle::is_finished) {
            peak.look();
            sleep(TICK);
        }
        returned =
            blocked.into_iter().filter_map(|goroutine| goroutine.join().ok()).filter(|napped| *napped >= NAP).count();
    });
    act.took(start.elapsed());
    let ticks = metronome.stop();
    let threads_after = process::settle(threads_before);

    act.check("goroutines that slept and returned", returned, wanted);
    act.check("callers still in C", pump::napping(), 0);
    act.check("ticks heard", ticks >= before.ticks + during.ticks, true);
    let kept = during.pace() / before.pace();
    act.check("metronome kept its pace", kept >= PACE_KEPT, true);

    let processors = gort::stats().procs;
    act.compare(format!(
        "{:.0} s if each call held one of {processors} processors",
        NAP.as_secs_f64() * wanted as f64 / processors as f64
    ));
    act.detail(format!(
        "metronome: {:.0} ticks a second before, {:.0} during ({:.0} %)",
        before.pace(),
        during.pace(),
        100.0 * kept
    ));
    act.detail(format!(
        "kernel threads: {threads_before} before, {} at the peak with {} calls in C, {threads_after} after",
        commas(peak.threads),
        commas(peak.calls),
    ));
    act.detail(String::from("the C code makes the system call itself: nothing can turn it into parking"));
    act
}

/// The life of a goroutine that blocks. Returns how long it did.
fn blocked() -> Duration {
    let start = Instant::now();
    gort::ffi::blocking(|| pump::nap(NAP.as_millis() as u64));
    start.elapsed()
}

/// The most that was seen.
#[derive(Default)]
struct Peak {
    threads: u64,
    calls: u32,
}

impl Peak {
    fn look(&mut self) {
        self.calls = self.calls.max(pump::napping());
        self.threads = self.threads.max(process::kernel_threads());
    }
}

/// A goroutine that ticks.
struct Metronome {
    shared: Arc<Shared>,
    goroutine: gort::thread::JoinHandle<u64>,
}

#[derive(Default)]
struct Shared {
    ticks: AtomicU64,
    stop: AtomicBool,
}

/// What was heard in some time.
struct Heard {
    ticks: u64,
    time: Duration,
}

impl Heard {
    /// Ticks a second.
    fn pace(&self) -> f64 {
        self.ticks as f64 / self.time.as_secs_f64()
    }
}

impl Metronome {
    fn start() -> Self {
        let shared = Arc::new(Shared::default());
        let its = shared.clone();
        let goroutine = gort::thread::spawn(move || {
            let mut ticks = 0;
            while !its.stop.load(Relaxed) {
                sleep(TICK);
                ticks = its.ticks.fetch_add(1, Relaxed) + 1;
            }
            ticks
        });
        Self { shared, goroutine }
    }

    /// Counts the ticks while `f` runs.
    fn listen(&self, f: impl FnOnce()) -> Heard {
        let (start, first) = (Instant::now(), self.shared.ticks.load(Relaxed));
        f();
        Heard { ticks: self.shared.ticks.load(Relaxed) - first, time: start.elapsed() }
    }

    /// Ends it. Returns all its ticks, or zero if it panicked.
    fn stop(self) -> u64 {
        self.shared.stop.store(true, Relaxed);
        self.goroutine.join().unwrap_or(0)
    }
}
