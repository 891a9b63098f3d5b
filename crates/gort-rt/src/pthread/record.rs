//! What a goroutine keeps for those who know its number.
//!
//! The record lies in the G, in memory that is never unmapped, and is made of atomics: a look at it with a number that is
//! long out of date is a look at zeroes or at another goroutine's record, not a fault.
//!
//! ```text
//!   state:   NONE ── open ──▶ JOINABLE ◀─ join, time-out ─▶ JOINING ── joined ──▶ NONE
//!                  │             │ detach
//!                  └─────────▶ DETACHED ── buried ──▶ NONE
//!
//!   ended:   RUNNING ── a joiner is about to wait ──▶ WAITED
//!                └─────────── end ──────────▶ ENDED ◀───┘ and wakes
//! ```
//!
//! *Holds* keep the body from being used again: one is the scheduler's, until nobody runs on the stack any more; one is the
//! number's, until the goroutine was joined or detached. Who lets go of the last buries the body.

use crate::debug::why::Why;
use crate::os;
use crate::sched;
use crate::sched::deadlock::Blocked;
use crate::sync::futex;
use core::ffi::c_void;
use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Ordering};

/// Not numbered, or dead.
const NONE: u32 = 0;
const JOINABLE: u32 = 1;
const JOINING: u32 = 2;
const DETACHED: u32 = 3;

const RUNNING: u32 = 0;
const WAITED: u32 = 1;
const ENDED: u32 = 2;

/// Bytes of a thread's name, its zero byte included: Linux's limit.
pub(super) const NAME_BYTES: usize = 16;

/// See the module's head. All zero is a record of no number.
pub(crate) struct Record {
    state: AtomicU32,
    ended: AtomicU32,
    holds: AtomicU32,
    /// `pthread_exit` finds a frame to leave to.
    pub(super) exitable: AtomicBool,
    result: AtomicPtr<c_void>,
    /// The name, with zero bytes behind it.
    name: [AtomicU64; NAME_BYTES / 8],
}

/// Why a goroutine cannot be joined or detached, or not yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Refusal {
    /// The number is nobody's.
    Nobody,
    /// It is detached, or somebody else joins it.
    Taken,
    /// It has not ended in time.
    Late,
}

impl Record {
    pub(crate) const fn new() -> Record {
        Record {
            state: AtomicU32::new(NONE),
            ended: AtomicU32::new(RUNNING),
            holds: AtomicU32::new(0),
            exitable: AtomicBool::new(false),
            result: AtomicPtr::new(ptr::null_mut()),
            name: [const { AtomicU64::new(0) }; NAME_BYTES / 8],
        }
    }

    /// The goroutine gets a number. Before anybody else knows it.
    pub(super) fn open(&self, detached: bool) {
        self.ended.store(RUNNING, Ordering::Relaxed);
        self.holds.store(if detached { 1 } else { 2 }, Ordering::Relaxed);
        self.result.store(ptr::null_mut(), Ordering::Relaxed);
        self.name.iter().for_each(|word| word.store(0, Ordering::Relaxed));
        self.state.store(if detached { DETACHED } else { JOINABLE }, Ordering::Release);
    }

    /// The number is nobody's any more: the goroutine was joined, or its body is about to be buried.
    pub(crate) fn close(&self) {
        self.state.store(NONE, Ordering::Release);
    }

    /// Lets go of one hold. True: it was the last, so the caller buries the body.
    #[must_use]
    pub(crate) fn let_go(&self) -> bool {
        // AcqRel: what the others did with the body comes before what the last one does.
        self.holds.fetch_sub(1, Ordering::AcqRel) == 1
    }

    /// Whether the number is somebody's, living or not yet joined.
    pub(super) fn is_open(&self) -> bool {
        self.state.load(Ordering::Acquire) != NONE
    }

    pub(super) fn is_detached(&self) -> bool {
        self.state.load(Ordering::Acquire) == DETACHED
    }

    /// What the goroutine leaves to the one who joins it. Until [`Record::end`], so that it can be asked for again.
    pub(super) fn leave_result(&self, value: *mut c_void) {
        self.result.store(value, Ordering::Relaxed);
    }

    pub(super) fn result(&self) -> *mut c_void {
        self.result.load(Ordering::Relaxed)
    }

    /// The goroutine, at its end: nothing of the program's runs on it any more.
    pub(super) fn end(&self) {
        // AcqRel: the one who joins sees all that the goroutine did.
        if self.ended.swap(ENDED, Ordering::AcqRel) == WAITED {
            futex::wake(self.ended.as_ptr() as usize, u32::MAX, u32::MAX);
            os::futex_wake(&self.ended, u32::MAX);
        }
    }

    /// Whether the goroutine has come to its end.
    pub(super) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire) == ENDED
    }

    /// Claims the right to join.
    pub(super) fn begin_join(&self) -> Result<(), Refusal> {
        match self.state.compare_exchange(JOINABLE, JOINING, Ordering::Acquire, Ordering::Relaxed) {
            Ok(_) => Ok(()),
            Err(NONE) => Err(Refusal::Nobody),
            Err(_) => Err(Refusal::Taken),
        }
    }

    /// Gives the right to join back.
    fn abandon_join(&self) {
        // Fails if it was detached meanwhile, which is then left as it is.
        let _ = self.state.compare_exchange(JOINING, JOINABLE, Ordering::Release, Ordering::Relaxed);
    }

    /// Having claimed the right to join the goroutine numbered `id`: waits for its end, at most until `deadline` (nanoseconds of the monotonic clock; None:
    /// for ever). The right is given back if the goroutine has not ended then.
    pub(super) fn await_end(&self, id: u64, deadline: Option<u64>) -> Result<(), Refusal> {
        loop {
            let seen = self.ended.compare_exchange(RUNNING, WAITED, Ordering::Acquire, Ordering::Acquire);
            if seen == Err(ENDED) {
                return Ok(());
            }
            if deadline.is_some_and(|when| when <= os::now()) {
                self.abandon_join();
                return Err(Refusal::Late);
            }
            match sched::parkable() {
                Some(g) => {
                    // SAFETY: the word lives as long as the number, which we are joining.
                    unsafe { futex::wait_for(g, Why::join(id), &self.ended, WAITED, u32::MAX, deadline) };
                }
                None => {
                    let _blocked = deadline.is_none().then(Blocked::here);
                    os::futex_wait(&self.ended, WAITED, deadline);
                }
            }
        }
    }

    /// Nobody will join. True: the number's hold is the caller's to let go of. (Somebody who joins already goes on.)
    pub(super) fn detach(&self) -> Result<bool, Refusal> {
        match self.state.compare_exchange(JOINABLE, DETACHED, Ordering::AcqRel, Ordering::Relaxed) {
            Ok(_) => Ok(true),
            Err(JOINING) => Ok(false),
            Err(NONE) => Err(Refusal::Nobody),
            Err(_) => Err(Refusal::Taken),
        }
    }

    /// Sets the name; of `name`, 15 bytes count.
    pub(super) fn set_name(&self, name: &[u8]) {
        let mut bytes = [0; NAME_BYTES];
        let length = name.len().min(NAME_BYTES - 1);
        bytes[..length].copy_from_slice(&name[..length]);
        for (word, part) in self.name.iter().zip(bytes.chunks_exact(8)) {
            word.store(u64::from_ne_bytes(part.try_into().expect("eight bytes")), Ordering::Relaxed);
        }
    }

    /// The name, without copying it, for the goroutine itself. Async-signal-safe.
    pub(crate) fn name_bytes(&self) -> &[u8] {
        // SAFETY: 16 initialised bytes, which only the goroutine's own thread may change; that is the caller, or its signal
        // handler: the report of its end.
        let bytes: &[u8; NAME_BYTES] = unsafe { &*(&raw const self.name).cast() };
        bytes.split(|&b| b == 0).next().unwrap_or_default()
    }

    /// The name with zero bytes behind it; empty if nobody has given one.
    pub(crate) fn name(&self) -> [u8; NAME_BYTES] {
        let mut bytes = [0; NAME_BYTES];
        for (word, part) in self.name.iter().zip(bytes.chunks_exact_mut(8)) {
            part.copy_from_slice(&word.load(Ordering::Relaxed).to_ne_bytes());
        }
        bytes
    }
}
