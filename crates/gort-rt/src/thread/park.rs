//! `park` and `unpark`: one token a thread.
//!
//! The token word of a handle:
//!
//! ```text
//!   EMPTY ── unpark ──▶ TOKEN            park: TOKEN -> EMPTY, return at once
//!     │ park                             park: EMPTY -> waiting, wait, then whatever it is -> EMPTY
//!     ▼
//!   waiting ── unpark ──▶ TOKEN, and the unparker wakes the waiter
//! ```
//!
//! "Waiting" is the sequence number of the goroutine's wait (always above 3), or KERNEL for a thread that is none. `unpark`
//! is one swap; if it swapped a waiter out, it alone wakes it. A park that ends by its deadline takes the word back to
//! EMPTY by a swap too and thereby takes the token, if one came at the last moment. An unparker that is late with its
//! claim finds another number in the wait word, and loses: see `sched::waitword`.

use super::current::{with_current, Inner};
use crate::atomic::{AtomicU32, Ordering};
use crate::debug::why::Why;
use crate::os;
use crate::sched::deadlock::Blocked;
use crate::sched::g::G;
use crate::sched::{self, wake};
use crate::time;
use std::time::Duration;

const EMPTY: u64 = 0;
const TOKEN: u64 = 1;
const KERNEL: u64 = 2;

/// Waits until somebody calls [`super::Thread::unpark`] on the caller's handle; returns at once if somebody has since the
/// last park. May return for no reason, as [`std::thread::park`] may.
pub fn park() {
    with_current(|thread| park_until(&thread.inner, None));
}

/// As [`park`], for at most `timeout`.
pub fn park_timeout(timeout: Duration) {
    with_current(|thread| park_until(&thread.inner, Some(deadline(timeout))));
}

/// The moment `timeout` from now, in nanoseconds; the end of time if that is further away.
pub(crate) fn deadline(timeout: Duration) -> u64 {
    os::now().saturating_add(u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX))
}

fn park_until(inner: &Inner, deadline: Option<u64>) {
    // Acquire: what the unparker did before it gave the token.
    if inner.token.compare_exchange(TOKEN, EMPTY, Ordering::Acquire, Ordering::Relaxed).is_ok() {
        return;
    }
    match sched::parkable() {
        Some(g) => on_goroutine(inner, g, deadline),
        None => on_thread(inner, deadline),
    }
}

fn on_goroutine(inner: &Inner, g: &G, deadline: Option<u64>) {
    let ticket = g.arm(Why::UNPARK);
    // Release: the armed wait word, for the claim.
    if inner.token.compare_exchange(EMPTY, ticket.seq(), Ordering::AcqRel, Ordering::Relaxed).is_ok() {
        let timer = deadline.map(|when| time::set(g, ticket, when));
        if !sched::park(g) {
            if let Some(timer) = timer {
                timer.woken_early();
            }
        }
    } else {
        g.disarm(); // a token came; nobody knows the ticket
    }
    inner.token.swap(EMPTY, Ordering::Acquire);
}

fn on_thread(inner: &Inner, deadline: Option<u64>) {
    if inner.token.compare_exchange(EMPTY, KERNEL, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
        let _blocked = deadline.is_none().then(Blocked::here);
        let word = word(inner);
        // Signals do not end it: programs may count on that as they may on a goroutine.
        while os::futex_wait(word, KERNEL as u32, deadline) && word.load(Ordering::Relaxed) == KERNEL as u32 {}
    }
    inner.token.swap(EMPTY, Ordering::Acquire);
}

/// The half of the token word in which EMPTY, TOKEN and KERNEL differ: what a kernel thread sleeps on.
fn word(inner: &Inner) -> &AtomicU32 {
    const LOW: usize = if cfg!(target_endian = "little") { 0 } else { 1 };
    // SAFETY: a u64 holds two u32 at addresses that suit them; the kernel only reads and compares this one.
    unsafe { &*(&raw const inner.token).cast::<AtomicU32>().add(LOW) }
}

/// See [`super::Thread::unpark`].
pub(super) fn unpark(inner: &Inner) {
    // AcqRel: release what the caller did; acquire the armed wait word.
    match inner.token.swap(TOKEN, Ordering::AcqRel) {
        EMPTY | TOKEN => {}
        KERNEL => {
            os::futex_wake(word(inner), 1);
        }
        seq => {
            if let Some(ticket) = inner.ticket(seq) {
                wake::wake(&ticket);
            }
        }
    }
}
