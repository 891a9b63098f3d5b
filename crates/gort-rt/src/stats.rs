//! A snapshot of the runtime's counts.

use crate::backend::Runtime;
use crate::ffi::extra_m;
use crate::gate;
use crate::sched::census;
use crate::sched::global::Sched;
use core::sync::atomic::Ordering;

/// What the runtime counts. Taken at a moment without stopping anything, so the figures may be some nanoseconds apart.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Ps: goroutines that run cooperatively at a time. Some more than wanted for the moment that [`crate::set_procs`] takes.
    pub procs: usize,
    /// Kernel threads that the runtime has made and that are alive, without sysmon; those that *are* goroutines, where
    /// [`crate::Backend::Threads`] carries them.
    pub kernel_threads: usize,
    /// Those of them that sleep for want of work.
    pub idle_threads: usize,
    /// Goroutines that have been spawned and have not ended.
    pub goroutines: usize,
    /// Extra Ms ever made: the most foreign threads that were bound at one time.
    pub extra_ms: usize,
    /// Foreign threads that are bound to an extra M now.
    pub extra_ms_in_use: usize,
    /// Foreign threads that are in a callback now.
    pub callbacks: usize,
}

/// Counts of the runtime at this moment. Zero, but for `procs`, before it was started.
pub fn stats() -> Stats {
    let mut stats = Stats::default();
    let extra = extra_m::counts();
    stats.extra_ms = extra.made;
    stats.extra_ms_in_use = extra.in_use;
    stats.callbacks = gate::callbacks();
    match Runtime::chosen() {
        Some(runtime) => runtime.count(&mut stats),
        None => stats.procs = crate::Config::new().settle().map_or(0, |s| s.procs),
    }
    stats
}

/// What the scheduler counts.
pub(crate) fn of_scheduler(s: &Sched, stats: &mut Stats) {
    stats.procs = s.ps.in_use();
    stats.kernel_threads = s.threads.load(Ordering::Relaxed) as usize;
    stats.idle_threads = s.idle.lock().nms as usize;
    stats.goroutines = census::alive(s) as usize;
}
