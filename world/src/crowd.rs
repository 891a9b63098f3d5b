//! Many goroutines at a time, and how many kernel threads they cost.
//!
//! The tests of one binary take turns ([`Watch`] holds the turn), because what is counted is the whole process.
//!
//! Two environment variables are for trying things by hand: `GORT_WORLD_SCALE` (0.1: a tenth of the goroutines) and
//! `GORT_WORLD_THREADS` (the most kernel threads that are accepted, in place of [`MOST_THREADS`]).

use gort_tests::measure::eventually;
use std::env;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{process, thread};

/// The most kernel threads that a test may cost, those of the test harness included.
pub const MOST_THREADS: usize = 16;

/// How many times as many they may be with `GORT_CHAOS`, which gives Ps to other kernel threads for no reason.
const CHAOS: usize = 8;

/// The most look-ups of names that go on at a time, for each of which libc blocks a kernel thread.
pub const NAMES: usize = 64;

/// Time between two looks at the number of kernel threads.
const LOOK: Duration = Duration::from_millis(2);

/// Kernel threads of a process that does nothing, and how long others may stay. Those that have nothing to do leave after a
/// second.
const AT_REST: usize = 9;
const LEAVING: Duration = Duration::from_secs(5);

/// A test that takes longer than this hangs.
const LIMIT: Duration = Duration::from_secs(150);

static TURN: Mutex<()> = Mutex::new(());

fn number(name: &str, default: f64) -> f64 {
    match env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")),
        Err(_) => default,
    }
}

/// `n`, or as much of it as `GORT_WORLD_SCALE` says; 4 at least.
pub fn scaled(n: usize) -> usize {
    ((n as f64 * number("GORT_WORLD_SCALE", 1.0)) as usize).max(4)
}

/// Runs `f(0)` to `f(n - 1)`, each on a goroutine of its own, all at a time; returns the results in that order.
///
/// # Panics
/// One of them panicked.
pub fn crowd<T: Send>(n: usize, f: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let f = &f;
    gort::thread::scope(|s| {
        let all: Vec<_> = (0..n).map(|i| s.spawn(move || f(i))).collect();
        all.into_iter().map(|one| one.join().expect("a goroutine of the crowd panicked")).collect()
    })
}

/// The number of kernel threads, from `/proc/self/status`, which was opened while there were descriptors.
fn kernel_threads(status: &File) -> usize {
    let mut text = [0; 4096];
    let length = status.read_at(&mut text, 0).expect("the kernel writes it anew each time");
    let text = String::from_utf8_lossy(&text[..length]);
    let line = text.lines().find_map(|line| line.strip_prefix("Threads:")).expect("the kernel writes this line");
    line.trim().parse().expect("a number")
}

/// Looks at the number of kernel threads all the time, and keeps other tests of this process waiting. A test that does not end
/// is ended with all of its process.
pub struct Watch {
    subject: &'static str,
    stop: mpsc::Sender<()>,
    looking: thread::JoinHandle<usize>,
    turn: MutexGuard<'static, ()>,
}

impl Watch {
    /// Waits for this test's turn, and until most of the kernel threads have left that tests before it needed, and begins to
    /// look. `subject` is for the report.
    pub fn start(subject: &'static str) -> Watch {
        // The test before may have failed; that is no reason to fail here.
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let status = File::open("/proc/self/status").expect("/proc is mounted");
        // Where threads stay for other reasons, the test says how many it accepts.
        eventually(LEAVING, || kernel_threads(&status) <= AT_REST);
        let (stop, stopped) = mpsc::channel();
        let looking = thread::spawn(move || {
            let (begin, mut most) = (Instant::now(), 0);
            loop {
                most = most.max(kernel_threads(&status));
                if stopped.recv_timeout(LOOK) != Err(RecvTimeoutError::Timeout) {
                    return most;
                }
                if begin.elapsed() > LIMIT {
                    eprintln!(
                        "{subject}: not done after {LIMIT:?}; {most} kernel threads at most; {:?}",
                        gort::stats()
                    );
                    process::abort();
                }
            }
        });
        Watch { subject, stop, looking, turn }
    }

    /// Checks that there were at most [`MOST_THREADS`] kernel threads at any time, and says how many.
    ///
    /// # Panics
    /// There were more.
    pub fn few(self) {
        self.at_most(MOST_THREADS);
    }

    /// Checks that there were at most `limit` kernel threads at any time, or several times as many with `GORT_CHAOS`, and says
    /// how many.
    ///
    /// # Panics
    /// There were more.
    pub fn at_most(self, limit: usize) {
        drop(self.stop);
        let most = self.looking.join().expect("it only looks");
        println!("{}: at most {most} kernel threads at a time", self.subject);
        let chaos = if env::var_os("GORT_CHAOS").is_some() { CHAOS } else { 1 };
        let limit = number("GORT_WORLD_THREADS", (chaos * limit) as f64) as usize;
        assert!(most <= limit, "{}: {most} kernel threads; at most {limit} were expected", self.subject);
        drop(self.turn);
    }
}
