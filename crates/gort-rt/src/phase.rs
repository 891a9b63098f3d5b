//! Who may start or end the runtime: one at a time, and nobody waits for a thread that may wait for him.
//!
//! ```text
//!   OFF ──start──▶ CHANGING ──▶ ON ──shutdown──▶ CHANGING ──▶ OFF
//! ```
//! The phase is taken by compare-and-swap, and whoever has made it CHANGING owns what belongs to the runtime as a whole, its
//! [`Life`]. No lock, because shutdown waits for goroutines, callbacks and destructors, any of which may ask for a start or an
//! end. They are told that it is under way. Only who comes from outside, while the runtime starts, waits.

use crate::atomic::{AtomicU32, Ordering};
use crate::error::Error;
use crate::oneone::Threads;
use crate::os::{self, Thread};
use crate::unload::Pin;
use core::cell::Cell;

const OFF: u32 = 0;
const CHANGING: u32 = 1;
const ON: u32 = 2;

/// A runtime that runs.
pub(crate) enum Life {
    /// The scheduler, with sysmon's thread.
    Scheduler(Thread),
    /// A kernel thread for each goroutine.
    Threads(&'static Threads),
}

/// See the module's head.
struct Runtime {
    phase: AtomicU32,
    /// Of whoever has made the phase CHANGING.
    life: Cell<Option<(Life, Pin)>>,
}

// SAFETY: `life` is touched by the one who has made the phase CHANGING, by an acquire; he leaves it by a release.
unsafe impl Sync for Runtime {}

static RUNTIME: Runtime = Runtime { phase: AtomicU32::new(OFF), life: Cell::new(None) };

/// Why a change cannot begin now.
pub(crate) enum Refused {
    /// The runtime is where it should go.
    There,
    /// Another thread starts or ends it.
    UnderWay,
}

/// The error of [`Refused::UnderWay`].
pub(crate) fn under_way() -> Error {
    Error::busy("another thread starts the runtime, or shuts it down, at this moment".into())
}

/// A start or an end that is under way. Dropped before it is done, it leaves things as they were.
pub(crate) struct Change {
    back_to: u32,
}

/// Begins a start.
pub(crate) fn start() -> Result<Change, Refused> {
    begin(OFF)
}

/// Begins the end of a life.
pub(crate) fn end() -> Result<(Change, Life, Pin), Refused> {
    let change = begin(ON)?;
    let (life, pin) = RUNTIME.life.take().expect("who starts the runtime leaves it");
    Ok((change, life, pin))
}

fn begin(from: u32) -> Result<Change, Refused> {
    match RUNTIME.phase.compare_exchange(from, CHANGING, Ordering::Acquire, Ordering::Relaxed) {
        Ok(_) => Ok(Change { back_to: from }),
        Err(CHANGING) => Err(Refused::UnderWay),
        Err(_) => Err(Refused::There),
    }
}

impl Change {
    /// The runtime runs, or goes on running, and the library stays loaded.
    pub(crate) fn on(mut self, life: Life, pin: Pin) {
        RUNTIME.life.set(Some((life, pin)));
        self.back_to = ON;
    }

    /// The runtime has ended.
    pub(crate) fn off(mut self) {
        self.back_to = OFF;
    }
}

impl Drop for Change {
    fn drop(&mut self) {
        RUNTIME.phase.store(self.back_to, Ordering::Release);
        os::futex_wake(&RUNTIME.phase, i32::MAX as u32);
    }
}

/// Waits until the change that is under way is over.
pub(crate) fn wait() {
    while RUNTIME.phase.load(Ordering::Acquire) == CHANGING {
        os::futex_wait(&RUNTIME.phase, CHANGING, None);
    }
}

/// Whether the runtime does not run, and nobody starts it. Async-signal-safe.
pub(crate) fn is_off() -> bool {
    RUNTIME.phase.load(Ordering::Acquire) == OFF
}
