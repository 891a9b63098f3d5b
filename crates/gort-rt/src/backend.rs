//! What carries goroutines: the scheduler, or a kernel thread each.
//!
//! Chosen once, when the runtime starts. Only here is it asked about afterwards: who makes a goroutine, and what is counted.
//! Nothing else has to know, because to all code of the runtime a goroutine of the second kind is what the threads of
//! others have always been: one that cannot park ([`crate::sched::parkable`] has no goroutine for it). So whatever waits
//! (park, join, scopes, sleep, hooks, descriptors) blocks its kernel thread by the way that threads take anyway, and calls
//! out to C are plain calls.

use crate::config::Config;
use crate::error::Error;
use crate::identity;
use crate::oneone::Threads;
use crate::sched::global::{sched, Sched};
use crate::sched::procs;
use crate::sched::spawn;
use crate::start;
use crate::stats::{self, Stats};
use crate::thread::Inner;
use core::sync::atomic::{AtomicU8, Ordering};
use std::ffi::OsStr;
use std::sync::Arc;

/// Environment variable that chooses.
pub(crate) const VARIABLE: &str = "GORT_BACKEND";

/// What a goroutine is underneath; see [`Config::backend`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// A stack and thread-local storage of its own; a scheduler switches between many of them on few kernel threads.
    Goroutines,
    /// A kernel thread, from its spawn to its end: the same interface and the same promises, but for what comes of sharing
    /// kernel threads: nothing parks, so a goroutine costs as much as a thread, and there can be as many. For race
    /// detectors, sanitizers and other tools that know threads only, and to find out whether a fault is the scheduler's.
    ///
    /// Stacks have 2 MiB at least, since [`crate::ffi::on_system_stack`] runs on them too. There is no report of a
    /// dead-lock; an overflow of the stack is reported by std.
    Threads,
}

impl Backend {
    /// What carries goroutines where nobody says so: the scheduler, on targets that it has been ported to.
    pub(crate) const USUAL: Backend = if identity::USUAL { Backend::Goroutines } else { Backend::Threads };

    pub(crate) fn parse(value: &OsStr) -> Option<Backend> {
        match value.to_str()? {
            "goroutines" => Some(Backend::Goroutines),
            "threads" => Some(Backend::Threads),
            _ => None,
        }
    }
}

/// What carries goroutines in this process: the choice of the runtime's start, else what the environment says.
///
/// # Errors
/// A setting in the environment has no meaning.
pub fn backend() -> Result<Backend, Error> {
    match Runtime::chosen() {
        Some(Runtime::Scheduler(_)) => Ok(Backend::Goroutines),
        Some(Runtime::Threads(_)) => Ok(Backend::Threads),
        None => Ok(Config::new().settle()?.backend),
    }
}

/// The choice: a [`Backend`], from 1. Changes while the runtime does not run.
static CHOSEN: AtomicU8 = AtomicU8::new(0);

impl Backend {
    /// The start of the runtime has prepared this backend, which carries goroutines from now on.
    pub(crate) fn choose(self) {
        // Release: what was prepared.
        CHOSEN.store(self as u8 + 1, Ordering::Release);
    }
}

/// The runtime, by what carries its goroutines.
#[derive(Clone, Copy)]
pub(crate) enum Runtime {
    Scheduler(&'static Sched),
    Threads(&'static Threads),
}

impl Runtime {
    /// That of the latest start; None before the first.
    #[inline]
    pub(crate) fn chosen() -> Option<Runtime> {
        const GOROUTINES: u8 = Backend::Goroutines as u8 + 1;
        const THREADS: u8 = Backend::Threads as u8 + 1;
        match CHOSEN.load(Ordering::Acquire) {
            GOROUTINES => Some(Runtime::Scheduler(sched())),
            THREADS => Some(Runtime::Threads(Threads::installed())),
            _ => None,
        }
    }

    /// How many goroutines run in parallel.
    pub(crate) fn procs(self) -> usize {
        match self {
            Runtime::Scheduler(s) => s.ps.wanted(),
            Runtime::Threads(threads) => threads.procs(),
        }
    }

    /// Changes that number, and returns the one before. Kernel threads run as the kernel has it, so there it is a number only.
    pub(crate) fn set_procs(self, n: usize) -> usize {
        match self {
            Runtime::Scheduler(s) => procs::set(s, n),
            Runtime::Threads(threads) => threads.set_procs(n),
        }
    }

    /// Fills in the figures that the backend has.
    pub(crate) fn count(self, stats: &mut Stats) {
        match self {
            Runtime::Scheduler(s) => stats::of_scheduler(s, stats),
            Runtime::Threads(threads) => threads.count(stats),
        }
    }
}

/// Starts a goroutine that runs `f` and, after its thread-local destructors, what `f` returned. Starts the runtime, if that
/// was not done.
///
/// `f` must not unwind. `stack`: usable bytes, or None for the configured size. `O` is the type that dumps name as its origin.
///
/// # Safety
/// What `f` borrows outlives the goroutine.
#[inline]
pub(crate) unsafe fn spawn<O, F, D>(thread: Arc<Inner>, stack: Option<usize>, f: F) -> Result<(), Error>
where
    F: FnOnce() -> D + Send,
    D: FnOnce(),
{
    let entry = start::runtime()?;
    match entry.runtime {
        // SAFETY: the same contract.
        Runtime::Scheduler(s) => unsafe { spawn::spawn::<O, _, _>(s, thread, stack, f) },
        // SAFETY: the same contract.
        Runtime::Threads(threads) => unsafe { threads.spawn::<O, _, _>(thread, stack, f) },
    }
}
