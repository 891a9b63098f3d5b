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
//!
//! A waiter whose deadline has passed takes its announcement back, by a compare-and-swap to EMPTY. If that fails the event has
//! happened at the last moment, and so the wait has succeeded. The setter may be between its swap and its claim then, which is
//! going to fail; what it touches is the event, which whoever waits with a deadline leaves to the setter's own reference, and a
//! wait word, which is never unmapped. After a wait in vain there may be another one, of anybody's.

use crate::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::debug::why::Why;
use crate::os;
use crate::sched;
use crate::sched::g::{Ticket, G};
use crate::time;
use core::cell::Cell;

const EMPTY: u64 = 0;
const SET: u64 = 1;
const KERNEL: u64 = 2;

/// See the module's head.
pub(crate) struct Event {
    /// EMPTY, SET, KERNEL or the number of a goroutine's wait, which is 4 or more.
    state: AtomicU64,
    /// The wait word of the goroutine that waits; written before its number is in `state`, by the one waiter there is.
    waiter: Cell<Option<&'static AtomicU64>>,
}

// SAFETY: `waiter` is written by the single waiter before it releases its number, and read by the setter after acquiring.
unsafe impl Sync for Event {}
// SAFETY: nothing in it belongs to a thread.
unsafe impl Send for Event {}

impl Event {
    pub(crate) const fn new() -> Event {
        Event { state: AtomicU64::new(EMPTY), waiter: Cell::new(None) }
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
    /// `this` is valid at the call. It may be freed by a waiter without a deadline before this function returns; where there may
    /// be one with a deadline it is valid until then.
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
                // SAFETY: the event is there still: its waiter waits, or has a deadline, for which the caller has promised it.
                let word = unsafe { (*this).waiter.get() }.expect("the word was written before the number");
                sched::wake::wake(&Ticket::of(word, seq));
            }
        }
    }

    /// Waits for the event, which is `what`. One waiter at a time, and none after this one.
    pub(crate) fn wait(&self, what: Why) {
        self.wait_until(what, None);
    }

    /// As [`Event::wait`], until `deadline` at most, in nanoseconds of [`os::now`]. Whether the event has happened; if it has not,
    /// there may be another waiter.
    pub(crate) fn wait_until(&self, what: Why, deadline: Option<u64>) -> bool {
        if self.is_set() {
            return true;
        }
        match sched::parkable() {
            Some(g) => self.wait_on_goroutine(g, what, deadline),
            None => self.wait_on_thread(deadline),
        }
    }

    fn wait_on_goroutine(&self, g: &G, what: Why, deadline: Option<u64>) -> bool {
        let ticket = g.arm(what);
        self.waiter.set(Some(g.wait));
        if self.state.compare_exchange(EMPTY, ticket.seq(), Ordering::AcqRel, Ordering::Acquire).is_err() {
            g.disarm(); // set meanwhile; nobody knows the ticket
            return true;
        }
        let timer = deadline.map(|when| time::set(g, ticket, when));
        if sched::park(g) {
            return !self.take_back(ticket.seq());
        }
        if let Some(timer) = timer {
            timer.woken_early();
        }
        true
    }

    fn wait_on_thread(&self, deadline: Option<u64>) -> bool {
        if self.state.compare_exchange(EMPTY, KERNEL, Ordering::AcqRel, Ordering::Acquire).is_err() {
            return true;
        }
        let _blocked = deadline.is_none().then(sched::deadlock::Blocked::here);
        // SAFETY: the event lives while we wait on it.
        let word = unsafe { &*Event::word(self) };
        while !self.is_set() {
            if !os::futex_wait(word, KERNEL as u32, deadline) {
                return !self.take_back(KERNEL);
            }
        }
        true
    }

    /// The deadline has passed. False: the event has happened all the same.
    fn take_back(&self, announcement: u64) -> bool {
        // Acquire, for a failure: what the setter did. Release: `waiter`, for the next one who waits is another.
        self.state.compare_exchange(announcement, EMPTY, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}
