//! A one-shot event with one waiter: what `join` and `scope` wait on.
//!
//! ```text
//!   EMPTY ──── set ────▶ SET
//!     │                   ▲
//!     │ wait              │ set: wakes the waiter
//!     ▼                   │
//!   KERNEL or a number ───┘
//! ```
//!
//! The waiter announces itself by a compare-and-swap from EMPTY; `set` is a swap. Whichever comes second sees the other:
//! a waiter that fails finds SET, and a setter that swaps out an announcement wakes its author. A kernel thread may see SET,
//! return and free the event as soon as the swap is done; a goroutine waits until its ticket is claimed. The setter touches
//! the event accordingly.

use crate::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::debug::why::Why;
use crate::os;
use crate::sched;
use crate::sched::g::{Ticket, G};
use core::cell::Cell;
use core::ptr;

const EMPTY: u64 = 0;
const SET: u64 = 1;
const KERNEL: u64 = 2;

/// See the module's head.
pub(crate) struct Event {
    /// EMPTY, SET, KERNEL or the number of a goroutine's wait, which is 4 or more.
    state: AtomicU64,
    /// The goroutine that waits; written before its number is in `state`, by the one waiter there is.
    waiter: Cell<*const G>,
}

// SAFETY: `waiter` is written by the single waiter before it releases its number, and read by the setter after acquiring.
unsafe impl Sync for Event {}
// SAFETY: nothing in it belongs to a thread.
unsafe impl Send for Event {}

impl Event {
    pub(crate) const fn new() -> Event {
        Event { state: AtomicU64::new(EMPTY), waiter: Cell::new(ptr::null()) }
    }

    /// Whether the event has happened.
    pub(crate) fn is_set(&self) -> bool {
        self.state.load(Ordering::Acquire) == SET
    }

    /// The half of the state in which all values that the event itself gives it differ: what a kernel thread sleeps on.
    fn word(this: *const Event) -> *const AtomicU32 {
        const LOW: usize = if cfg!(target_endian = "little") { 0 } else { 1 };
        // The state comes at an address that is a multiple of 8, whatever the order of fields.
        // SAFETY: `this` is not read, only offset within the event.
        unsafe { (&raw const (*this).state).cast::<AtomicU32>().add(LOW) }
    }

    /// The event happens. Wakes the waiter.
    ///
    /// # Safety
    /// `this` is valid at the call. It may be freed by the waiter before this function returns.
    pub(crate) unsafe fn set(this: *const Event) {
        let word = Event::word(this);
        // SAFETY: valid until the waiter can know of the event: a kernel thread knows from the swap on, and its word is
        // only named after that, not read; a goroutine stays until its ticket is claimed.
        // AcqRel: release what the setter did; acquire the waiter.
        match unsafe { (*this).state.swap(SET, Ordering::AcqRel) } {
            EMPTY | SET => {}
            KERNEL => {
                os::futex_wake(word, 1);
            }
            seq => {
                // SAFETY: the number was published after the waiter, which lives: it waits.
                let ticket = unsafe {
                    let g = (*this).waiter.get();
                    Ticket::of((*g).wait, seq)
                };
                sched::wake::wake(&ticket);
            }
        }
    }

    /// Waits for the event, which is `what`. One waiter only, once.
    pub(crate) fn wait(&self, what: Why) {
        if self.is_set() {
            return;
        }
        match sched::parkable() {
            Some(g) => self.wait_on_goroutine(g, what),
            None => self.wait_on_thread(),
        }
    }

    fn wait_on_goroutine(&self, g: &G, what: Why) {
        let ticket = g.arm(what);
        self.waiter.set(g);
        match self.state.compare_exchange(EMPTY, ticket.seq(), Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => {
                sched::park(g);
            }
            Err(_) => {
                g.disarm(); // set meanwhile; nobody knows the ticket
            }
        }
    }

    fn wait_on_thread(&self) {
        if self.state.compare_exchange(EMPTY, KERNEL, Ordering::AcqRel, Ordering::Acquire).is_err() {
            return;
        }
        let _blocked = sched::deadlock::Blocked::here();
        // SAFETY: the event lives while we wait on it.
        let word = unsafe { &*Event::word(self) };
        while !self.is_set() {
            os::futex_wait(word, KERNEL as u32, None);
        }
    }
}
