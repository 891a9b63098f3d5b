//! What the process holds.

use gort_tests::measure::{eventually, kernel_threads, resident_kib};
use std::fmt;
use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

/// What was held at rest.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Held {
    threads: usize,
    descriptors: usize,
    mappings: usize,
    kib: usize,
}

/// Looks that were taken at the process at rest.
pub static RESTS: AtomicUsize = AtomicUsize::new(0);

/// How long it may take until idle threads have left and memory has gone back: they go by halves, once a second.
const PATIENCE: Duration = Duration::from_secs(100);
/// Kernel threads that an idle runtime keeps: the last one, the one that waits for events, and the one that waits for a timer.
const MOST_IDLE: usize = 3;
/// This one, the one that looks for hangs, and sysmon.
const OTHER_THREADS: usize = 3;
/// Mappings more than before: chunks of stacks, of which more are made when many are alive at once, and arenas of malloc.
const MAPPINGS: usize = 60;
/// The same where chaos refuses address space, so that a chunk holds some dozens of stacks only and takes two mappings, or
/// where each stack takes two, since its guard is one: there are as many as were ever alive at once.
const MAPPINGS_OF_EACH: usize = 2000;
/// Memory more than before, in KiB: what malloc keeps in pieces differs from time to time.
const MEMORY: usize = 24 << 10;

impl Held {
    fn now() -> Held {
        Held {
            threads: kernel_threads(),
            // One is the directory itself.
            descriptors: fs::read_dir("/proc/self/fd").expect("/proc is mounted").count() - 1,
            mappings: fs::read_to_string("/proc/self/maps").expect("/proc is mounted").lines().count(),
            kib: resident_kib(),
        }
    }

    /// What is held when nothing happens: no goroutine alive, no callback under way, no thread bound, and as few kernel
    /// threads as an idle runtime has.
    ///
    /// # Panics
    /// Something is left over, or more is held than `before`.
    pub fn at_rest(before: Option<&Held>) -> Held {
        let quiet = || {
            let s = gort::stats();
            RESTS.fetch_add(1, SeqCst);
            s.goroutines == 0 && s.callbacks == 0 && s.extra_ms_in_use == 0 && s.kernel_threads == s.idle_threads
        };
        assert!(eventually(PATIENCE, quiet), "not at rest: {:?}", gort::stats());
        let faults = std::env::var("GORT_CHAOS").is_ok_and(|v| v.ends_with(",faults"));
        let guards = std::env::var("GORT_GUARD").is_ok_and(|v| v == "mprotect");
        let mappings = if faults || guards { MAPPINGS_OF_EACH } else { MAPPINGS };
        let mut now = Held::now();
        let settled = eventually(PATIENCE, || {
            RESTS.fetch_add(1, SeqCst);
            now = Held::now();
            let idle = gort::stats().kernel_threads;
            let few = quiet() && idle <= MOST_IDLE && now.threads == OTHER_THREADS + idle;
            few && before.is_none_or(|before| {
                now.descriptors <= before.descriptors
                    && now.mappings <= before.mappings + mappings
                    && now.kib <= before.kib + before.kib / 4 + MEMORY
            })
        });
        let then = before.map_or_else(|| "nothing".to_string(), Held::to_string);
        assert!(settled, "held is {now}; before it was {then}; {:?}", gort::stats());
        now
    }
}

/// The runtime has been shut down: nobody is left but this thread and the one that looks for hangs.
///
/// # Panics
/// Somebody is.
pub fn only_our_own_threads() {
    assert!(eventually(PATIENCE, || kernel_threads() == OTHER_THREADS - 1), "{} kernel threads", kernel_threads());
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Held { threads, descriptors, mappings, kib } = self;
        write!(f, "{threads} threads, {descriptors} descriptors, {mappings} mappings, {kib} KiB")
    }
}
