//! A one-shot event with one waiter: what `join` and `scope` wait on.
//!
//! ```text
//!   EMPTY ──── set ────▶ SET
//!     │                   ▲
//!     │ wait              │ set: wakes the waiter
//!     ▼                   │
//!   KERNEL or a ticket ───┘
//! ```
//!
//! The waiter announces itself by a compare-and-swap from EMPTY; `set` is a swap. Whichever comes second sees the other:
//! a waiter that fails finds SET, and a setter that swaps out an announcement wakes its author. After its swap (or, for a
//! kernel thread, after the store to `word`) the setter does not touch the event any more, so a woken waiter may free it.

use crate::os;
use crate::sched;
use crate::sched::g::{Ticket, G};
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

const EMPTY: usize = 0;
const SET: usize = 1;
const KERNEL: usize = 2;
const GOROUTINE: usize = 3;

/// See the module's head.
pub(crate) struct Event {
    state: AtomicUsize,
    /// What a kernel thread sleeps on.
    word: AtomicU32,
    /// The waiting goroutine's; written before the state says GOROUTINE, by the one waiter there is.
    ticket: UnsafeCell<Option<Ticket>>,
}

// SAFETY: `ticket` is written by the single waiter before its release of GOROUTINE and read by the setter after acquiring.
unsafe impl Sync for Event {}
// SAFETY: nothing in it belongs to a thread.
unsafe impl Send for Event {}

impl Event {
    pub(crate) const fn new() -> Event {
        Event { state: AtomicUsize::new(EMPTY), word: AtomicU32::new(0), ticket: UnsafeCell::new(None) }
    }

    /// Whether the event has happened.
    pub(crate) fn is_set(&self) -> bool {
        self.state.load(Ordering::Acquire) == SET
    }

    /// The event happens. Wakes the waiter.
    ///
    /// # Safety
    /// `this` is valid at the call. It may be freed by the waiter before this function returns.
    pub(crate) unsafe fn set(this: *const Event) {
        // SAFETY: valid until the waiter can know of the event, see each arm.
        let event = unsafe { &*this };
        // AcqRel: release what the setter did; acquire the ticket.
        match event.state.swap(SET, Ordering::AcqRel) {
            EMPTY | SET => {}
            KERNEL => {
                let word = &raw const event.word;
                event.word.store(1, Ordering::Release); // the waiter may return, and free the event, from here on
                os::futex_wake(word, 1);
            }
            _ => {
                // SAFETY: GOROUTINE was published after the ticket; the waiter stays until its ticket is claimed.
                let ticket = unsafe { (*event.ticket.get()).expect("published with the state") };
                sched::wake::wake(&ticket);
            }
        }
    }

    /// Waits for the event. One waiter only, once.
    pub(crate) fn wait(&self) {
        if self.is_set() {
            return;
        }
        match sched::parkable() {
            Some(g) => self.wait_on_goroutine(g),
            None => self.wait_on_thread(),
        }
    }

    fn wait_on_goroutine(&self, g: &G) {
        let ticket = g.arm();
        // SAFETY: the setter reads it only after the state says GOROUTINE.
        unsafe { *self.ticket.get() = Some(ticket) };
        match self.state.compare_exchange(EMPTY, GOROUTINE, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => {
                sched::park(g);
            }
            Err(_) => {
                g.disarm(); // nobody knows the ticket
            }
        }
    }

    fn wait_on_thread(&self) {
        if self.state.compare_exchange(EMPTY, KERNEL, Ordering::AcqRel, Ordering::Acquire).is_err() {
            return;
        }
        let _blocked = sched::deadlock::Blocked::here();
        while self.word.load(Ordering::Acquire) == 0 {
            os::futex_wait(&self.word, 0, None);
        }
    }
}

