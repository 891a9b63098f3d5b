//! Timers: what ends a goroutine's wait at a given moment.
//!
//! Each P has a heap of its own ([`Shard`]), ordered by deadline, behind a lock that is hardly ever contended: a goroutine
//! adds to the heap of the P that it runs on. An entry is a deadline and the [`Ticket`] of a wait. Cancelling touches
//! nothing: a wait that ended otherwise makes its entry stale, because the ticket's number does not match any more. The
//! one who was woken early counts the stale entry, and whoever adds to a heap that is mostly stale sweeps it.
//!
//! Any P runs what is due in any heap, at every sixteenth switch and when it runs out of work; while all Ps are idle one M,
//! the timekeeper, sleeps until the earliest deadline. Nothing allocates under
//! a lock, or by the global allocator, which may itself wait.

mod array;

use crate::arch;
use crate::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::os;
use crate::sched::g::{Claim, Ticket, G};
use crate::sched::global::{sched, Sched};
use crate::sched::p::P;
use crate::sched::wake;
use crate::sync::rawmutex::RawMutex;
use array::Array;

#[derive(Clone, Copy)]
struct Entry {
    when: u64,
    ticket: Ticket,
}

/// One heap of timers. See the module's head.
pub(crate) struct Shard {
    heap: RawMutex<Array<Entry>>,
    /// The earliest deadline; `u64::MAX` when there is none.
    next: AtomicU64,
    /// Entries whose wait ended otherwise, roughly.
    stale: AtomicU32,
}

/// Below this many stale entries a sweep is not worth while.
const SWEEP_FROM: u32 = 64;
/// Children of a heap node.
const FANOUT: usize = 4;

impl Shard {
    pub(crate) const fn new() -> Shard {
        Shard { heap: RawMutex::new(Array::new()), next: AtomicU64::new(u64::MAX), stale: AtomicU32::new(0) }
    }

    fn add(&self, entry: Entry) {
        let mut spare = Array::new();
        loop {
            let mut heap = self.heap.lock();
            if self.stale.load(Ordering::Relaxed) > SWEEP_FROM
                && self.stale.load(Ordering::Relaxed) as usize > heap.len() / 2
            {
                heap.retain(|e| e.ticket.is_open());
                heapify(&mut heap);
                self.stale.store(0, Ordering::Relaxed);
            }
            if heap.is_full() {
                if spare.capacity() <= heap.len() {
                    let want = (heap.len() * 2).max(64);
                    drop(heap);
                    spare = Array::with_capacity(want); // not under the lock
                    continue;
                }
                spare.take_all(&mut heap);
                core::mem::swap(&mut *heap, &mut spare); // the old memory is freed after the lock
            }
            heap.push(entry);
            let last = heap.len() - 1;
            sift_up(&mut heap, last);
            self.next.store(heap[0].when, Ordering::Relaxed);
            return;
        }
    }

    /// Forgets all entries, of waits that are over.
    pub(crate) fn clear(&self) {
        let mut heap = self.heap.lock();
        heap.retain(|_| false);
        self.next.store(u64::MAX, Ordering::Relaxed);
        self.stale.store(0, Ordering::Relaxed);
    }

    /// Takes up to `out.len()` entries that are due.
    fn take_due(&self, now: u64, out: &mut [Option<Ticket>]) -> usize {
        let mut heap = self.heap.lock();
        let mut n = 0;
        while n < out.len() && heap.first().is_some_and(|e| e.when <= now) {
            let entry = heap.swap_remove(0);
            sift_down(&mut heap, 0);
            out[n] = Some(entry.ticket);
            n += 1;
        }
        self.next.store(heap.first().map_or(u64::MAX, |e| e.when), Ordering::Relaxed);
        n
    }
}

fn sift_up(heap: &mut [Entry], mut i: usize) {
    while i > 0 {
        let parent = (i - 1) / FANOUT;
        if heap[parent].when <= heap[i].when {
            return;
        }
        heap.swap(parent, i);
        i = parent;
    }
}

fn sift_down(heap: &mut [Entry], mut i: usize) {
    loop {
        let first = FANOUT * i + 1;
        let last = (first + FANOUT).min(heap.len());
        let Some(least) = (first..last).min_by_key(|c| heap[*c].when) else { return };
        if heap[i].when <= heap[least].when {
            return;
        }
        heap.swap(i, least);
        i = least;
    }
}

fn heapify(heap: &mut [Entry]) {
    for i in (0..heap.len()).rev() {
        sift_down(heap, i);
    }
}

/// A timer that was set, for [`Timer::woken_early`].
#[derive(Clone, Copy)]
pub(crate) struct Timer(&'static Shard);

impl Timer {
    /// The wait ended before the deadline: the entry is stale now.
    pub(crate) fn woken_early(self) {
        self.0.stale.fetch_add(1, Ordering::Relaxed);
    }
}

/// Ends the wait of `ticket`, which belongs to the running goroutine `g`, at `when` (absolute, nanoseconds), unless it ends
/// before. Not inside the runtime.
pub(crate) fn set(g: &G, ticket: Ticket, when: u64) -> Timer {
    // SAFETY: the M of a running goroutine is set and lives for ever. The number is a hint, so it may be outdated.
    let (hint, detached) = unsafe { ((*g.m.get()).last_p.get(), (*g.m.get()).p().is_none()) };
    let s = sched();
    let shard: &'static Shard = &s.ps[hint as usize].timers;
    g.record.waits_until(ticket.seq(), when);
    shard.add(Entry { when, ticket });
    // The entry was made known, under a lock; whoever goes idle counts itself in, then looks at all entries. One of us sees
    // the other.
    arch::fence_after_rmw();
    if detached || s.npidle.load(Ordering::SeqCst) as usize == s.ps.in_use() {
        wake::wake_timekeeper();
    }
    Timer(shard)
}

/// The earliest deadline of all.
pub(crate) fn next_of_all() -> u64 {
    next(sched())
}

#[inline]
fn next(s: &Sched) -> u64 {
    s.ps.iter().map(|p| p.timers.next.load(Ordering::Relaxed)).min().unwrap_or(u64::MAX)
}

/// Makes every goroutine runnable whose deadline has passed, on the caller's P, inside the runtime. True: there was one.
#[inline]
pub(crate) fn run_due(p: &P) -> bool {
    let s = sched();
    if next(s) == u64::MAX {
        return false;
    }
    run_due_now(s, p)
}

fn run_due_now(s: &Sched, p: &P) -> bool {
    let now = os::now();
    let mut any = false;
    for shard in s.ps.iter().map(|p| &p.timers) {
        while shard.next.load(Ordering::Relaxed) <= now {
            let mut due = [None; 64];
            let n = shard.take_due(now, &mut due);
            for ticket in due[..n].iter().flatten() {
                match ticket.claim(true) {
                    Claim::Owned(g) => {
                        any = true;
                        // SAFETY: the claim made `g` ours, and it lives.
                        p.put_ready(unsafe { &raw const (*g).task }, false);
                    }
                    Claim::Running => {}
                    Claim::Lost => {
                        let stale = shard.stale.load(Ordering::Relaxed);
                        shard.stale.store(stale.saturating_sub(1), Ordering::Relaxed);
                    }
                }
            }
            if n < due.len() {
                break;
            }
        }
    }
    if any {
        wake::wake_if_waiting(p);
    }
    any
}

#[cfg(test)]
mod tests;
