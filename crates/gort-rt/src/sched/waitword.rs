//! The wait word of a goroutine: where those who would end its wait meet the one who saves it.
//!
//! A wait is one use of the word: a sequence number and a state. The word lies outside the goroutine's mapping and is
//! never given back or zeroed, so a late waker, such as a timer whose goroutine is long gone, may look at it for ever.
//!
//! ```text
//!             (1) arm                  (2) saved
//!   IDLE  ───────────────▶ ARMED  ───────────────▶ PARKED
//!     ▲  ▲                   │                        │
//!     │  └───────────────────┘ (3) claim              │
//!     └───────────────────────────────────────────────┘ (4) claim: the claimer makes the G runnable
//! ```
//!
//! 1. The goroutine itself, before it shows itself to anybody who could wake it. The sequence number grows by one.
//! 2. The context that was switched to, after the goroutine's registers were saved.
//! 3. A waker that comes before (2). It does nothing else: (2) fails and *its* author makes the G runnable.
//! 4. A waker that comes after (2) now owns the G, whose context is saved, and must make it runnable.
//!
//! A timer claims to `TIMED_OUT` in place of `IDLE`.
//!
//! # Why it holds
//! * *Run once.* Of all wakers that know the same sequence number one claim succeeds: (3) and (4) are one compare-and-swap
//!   on the whole word, and no later wait has that number (62 bits of it: a goroutine that waits a billion times a second
//!   does so for a century). After (3) the author of (2) is the only one who makes the goroutine runnable, after (4) the
//!   claimer is.
//! * *Not before it is saved.* It is made runnable by the author of (2), who comes after the saving in his own program; or
//!   by a claimer that read PARKED, with acquire, which (2) stored, with release, after the saving.
//! * *No wake-up lost.* A waker knows the number only through an object that the goroutine showed itself to after (1), by a
//!   release that the waker acquired; so it finds ARMED or PARKED, or a wait that somebody has ended already. If ARMED, the
//!   author of (2) finds the claim, because (2) and (3) meet in one word.
//! * What the waker did before its claim is visible to the goroutine that goes on: the claim is a release, and the goroutine,
//!   or the author of (2), acquires it.

use crate::atomic::{AtomicU64, Ordering};

const IDLE: u64 = 0;
const ARMED: u64 = 1;
const PARKED: u64 = 2;
const TIMED_OUT: u64 = 3;
const STATE: u64 = 3;

/// How a claim ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Outcome {
    /// Another waker was first, or the goroutine has gone on long ago.
    Lost,
    /// The wait is over; the goroutine has not parked yet and needs nothing.
    Running,
    /// The wait is over, and the goroutine was parked: the claimer must make it runnable.
    Parked,
}

/// Transition (1): begins a wait and returns its sequence number, 4 or more.
#[inline]
pub(crate) fn arm(word: &AtomicU64) -> u64 {
    let old = word.load(Ordering::Relaxed);
    debug_assert!(old & STATE != ARMED && old & STATE != PARKED, "a goroutine waits for one thing at a time");
    let seq = (old & !STATE) + (STATE + 1);
    // Relaxed: whoever may claim learns of the number through a later release (a lock, a queue).
    word.store(seq | ARMED, Ordering::Relaxed);
    seq
}

/// The goroutine itself takes an armed wait back. False: a waker has claimed it already.
#[inline]
pub(crate) fn disarm(word: &AtomicU64) -> bool {
    let seq = word.load(Ordering::Relaxed) & !STATE;
    word.compare_exchange(seq | ARMED, seq | IDLE, Ordering::Acquire, Ordering::Acquire).is_ok()
}

/// True while an armed wait was not claimed. For the goroutine itself.
#[inline]
pub(crate) fn is_armed(word: &AtomicU64) -> bool {
    word.load(Ordering::Acquire) & STATE == ARMED
}

/// Transition (2), by the context that was switched to. False: the wait was claimed before, so the caller makes the
/// goroutine runnable.
#[inline]
pub(crate) fn publish_parked(word: &AtomicU64) -> bool {
    let seq = word.load(Ordering::Relaxed) & !STATE;
    // Release: the saved context is complete for whoever claims. Acquire on failure: what the claimer did before.
    word.compare_exchange(seq | ARMED, seq | PARKED, Ordering::Release, Ordering::Acquire).is_ok()
}

/// The goroutine itself, after a wait: whether a timer ended it.
#[inline]
pub(crate) fn timed_out(word: &AtomicU64) -> bool {
    // Acquire: what the waker did before its claim is visible to the goroutine that it woke.
    word.load(Ordering::Acquire) & STATE == TIMED_OUT
}

/// Transitions (3) and (4): ends the wait numbered `seq`, unless somebody has already.
#[inline]
pub(crate) fn claim(word: &AtomicU64, seq: u64, timed_out: bool) -> Outcome {
    let end = seq | if timed_out { TIMED_OUT } else { IDLE };
    let mut now = word.load(Ordering::Relaxed);
    loop {
        if now != seq | ARMED && now != seq | PARKED {
            return Outcome::Lost;
        }
        // AcqRel: release what the waker did to the goroutine; acquire its saved context.
        match word.compare_exchange_weak(now, end, Ordering::AcqRel, Ordering::Relaxed) {
            Ok(_) if now & STATE == PARKED => return Outcome::Parked,
            Ok(_) => return Outcome::Running,
            Err(other) => now = other,
        }
    }
}

/// True while nobody has ended the wait numbered `seq`.
#[inline]
pub(crate) fn is_open(word: &AtomicU64, seq: u64) -> bool {
    let now = word.load(Ordering::Relaxed);
    now == seq | ARMED || now == seq | PARKED
}

/// How far a wait has come, for those who only look.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stage {
    /// It is over, or none has begun.
    Over,
    /// It has begun; the goroutine is about to be saved, or takes the wait back.
    Armed(u64),
    /// The goroutine is saved.
    Parked(u64),
}

/// The stage of the present wait, with its number.
pub(crate) fn look(word: &AtomicU64) -> Stage {
    // Acquire: what the goroutine said of the wait before it was saved.
    let now = word.load(Ordering::Acquire);
    match now & STATE {
        ARMED => Stage::Armed(now & !STATE),
        PARKED => Stage::Parked(now & !STATE),
        _ => Stage::Over,
    }
}

/// How many waits there have been.
pub(crate) fn count(word: &AtomicU64) -> u64 {
    word.load(Ordering::Relaxed) / (STATE + 1)
}

/// A word in which the wait number 4 is open, parked, or over: for tests.
#[cfg(test)]
pub(crate) fn for_test(open: bool) -> &'static AtomicU64 {
    Box::leak(Box::new(AtomicU64::new(4 | if open { PARKED } else { IDLE })))
}
