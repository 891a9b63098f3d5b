//! What the netpoller knows of one descriptor number; see the head of `poll`.

use super::{Interest, Waited};
use crate::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use crate::os::epoll::Readiness;
use crate::sched::g::{Claim, Ticket};
use crate::sched::global::Batch;
use crate::sync::list::{Links, List, Listed};
use crate::sync::rawmutex::RawMutex;
use core::cell::Cell;

/// All zero is a number of which nothing is known.
#[repr(C, align(64))]
pub(super) struct Desc {
    /// Changes so far, by interest. Written under the lock.
    changes: [AtomicU32; 2],
    /// One more than `changes` was when an attempt left nothing; 0: none has.
    spent: [AtomicU32; 2],
    /// Which file the number stands for, as far as hooks know: grows when one is opened or closed. Written under the lock.
    pub(super) generation: AtomicU32,
    /// Waits in the queues. Written under the lock.
    queued: AtomicU32,
    /// The caller's 32 bits below, the generation that they are true of above.
    facts: AtomicU64,
    /// An event announced something that no later one announces again: do not rely on `spent`.
    lasting: AtomicBool,
    /// Somebody has looked at this record since the number was last opened or closed.
    used: AtomicBool,
    pub(super) state: RawMutex<State>,
}

/// Under the lock.
pub(super) struct State {
    queues: [List<Node>; 2],
    /// The file is in the epoll set under the present generation.
    pub(super) registered: bool,
    /// sysmon's tick when the oldest wait may have begun; 0 once sysmon has seen to it that an event would be reported.
    pub(super) since: u32,
}

/// A waiting goroutine in one queue. Belongs to an `Attempt`, which outlives the wait.
pub(super) struct Node {
    pub(super) links: Links<Node>,
    /// Written by the owner before it links the node.
    ticket: Cell<Option<Ticket>>,
    /// One event is for one of these, and for all others.
    exclusive: Cell<bool>,
    /// How the wait ended, for the owner; written before the node's ticket is claimed.
    pub(super) outcome: Cell<Option<Waited>>,
}

impl Node {
    pub(super) const fn new() -> Node {
        Node { links: Links::new(), ticket: Cell::new(None), exclusive: Cell::new(false), outcome: Cell::new(None) }
    }
}

impl Listed for Node {
    fn links(&self) -> &Links<Node> {
        &self.links
    }
}

impl Desc {
    /// The number of changes so far.
    #[inline]
    pub(super) fn changes(&self, interest: Interest) -> u32 {
        if !self.used.load(Ordering::Relaxed) {
            self.used.store(true, Ordering::Relaxed);
        }
        // Acquire: an attempt made after this sample sees what the change was about (a system call orders it anyway).
        self.changes[interest as usize].load(Ordering::Acquire)
    }

    /// One change more. Under the lock.
    fn change(&self, interest: Interest) {
        let changes = &self.changes[interest as usize];
        changes.store(changes.load(Ordering::Relaxed).wrapping_add(1), Ordering::Release);
    }

    pub(super) fn is_spent(&self, interest: Interest, changes: u32) -> bool {
        self.spent[interest as usize].load(Ordering::Relaxed) == changes.wrapping_add(1)
            && changes != u32::MAX
            && !self.lasting.load(Ordering::Relaxed)
    }

    pub(super) fn set_spent(&self, interest: Interest, changes: u32) {
        self.spent[interest as usize].store(changes.wrapping_add(1), Ordering::Relaxed);
    }

    pub(super) fn facts(&self) -> (u32, u32) {
        let generation = self.generation.load(Ordering::Acquire);
        let facts = self.facts.load(Ordering::Relaxed);
        (generation, if (facts >> 32) as u32 == generation { facts as u32 } else { 0 })
    }

    pub(super) fn set_facts(&self, generation: u32, bits: u32) {
        self.used.store(true, Ordering::Relaxed);
        self.facts.store(u64::from(generation) << 32 | u64::from(bits), Ordering::Relaxed);
    }

    /// Whether anybody waits. A hint, without the lock.
    #[inline]
    pub(super) fn has_waiters(&self) -> bool {
        self.queued.load(Ordering::Relaxed) != 0
    }

    /// How many wait.
    #[cfg(test)]
    pub(super) fn waiters(&self) -> usize {
        self.queued.load(Ordering::Relaxed) as usize
    }

    /// Whether nothing is known of the number, so that nothing need be forgotten.
    #[inline]
    pub(super) fn is_untouched(&self) -> bool {
        !self.used.load(Ordering::Relaxed)
    }

    /// Links a node for a wait. Under the lock.
    ///
    /// # Safety
    /// It is in no queue, and stays where it is until it has been taken out.
    pub(super) unsafe fn push(
        &self,
        state: &mut State,
        interest: Interest,
        node: &Node,
        ticket: Ticket,
        exclusive: bool,
    ) {
        node.ticket.set(Some(ticket));
        node.exclusive.set(exclusive);
        node.outcome.set(None);
        // SAFETY: the caller's promise.
        unsafe { state.queues[interest as usize].push(node) };
        self.queued.store(self.queued.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        self.used.store(true, Ordering::Relaxed);
    }

    /// Takes a node out. Under the lock.
    ///
    /// # Safety
    /// It is in this queue.
    pub(super) unsafe fn remove(&self, state: &mut State, interest: Interest, node: &Node) {
        // SAFETY: the caller's promise.
        unsafe { state.queues[interest as usize].remove(node) };
        self.queued.store(self.queued.load(Ordering::Relaxed) - 1, Ordering::Relaxed);
    }

    /// An event: counts a change and ends waits. Under the lock.
    pub(super) fn ready(&self, state: &mut State, readiness: Readiness, runnable: &mut Batch) {
        if readiness.lasting {
            self.lasting.store(true, Ordering::Relaxed);
        }
        for (interest, changed) in [(Interest::Read, readiness.read), (Interest::Write, readiness.write)] {
            if changed {
                self.change(interest);
                self.wake(state, interest, readiness.lasting, Waited::Ready, runnable);
            }
        }
    }

    /// Ends waits in one queue: those of all that share, and of the first that does not, or of `all`. Under the lock.
    pub(super) fn wake(&self, state: &mut State, interest: Interest, all: bool, outcome: Waited, runnable: &mut Batch) {
        let mut one = false;
        let mut at = state.queues[interest as usize].first();
        // SAFETY: linked nodes live, and `next` is read before the node is taken out and its goroutine may go on.
        while let Some(node) = unsafe { at.as_ref() } {
            at = List::after(node);
            if one && node.exclusive.get() && !all {
                continue;
            }
            let exclusive = node.exclusive.get();
            let ticket = node.ticket.get().expect("a linked node has a ticket");
            // SAFETY: it was found there.
            unsafe { self.remove(state, interest, node) };
            node.outcome.set(Some(outcome));
            // From the claim on the node is its owner's again.
            match ticket.claim(false) {
                Claim::Lost => continue, // its timer was first, or another descriptor of the same wait
                Claim::Running => {}
                // SAFETY: the claim made `g` ours, and it lives.
                Claim::Owned(g) => runnable.push(unsafe { &raw const (*g).task }),
            }
            one |= exclusive;
        }
    }

    /// Another file stands behind the number from now on, or none: forgets all and ends all waits. Under the lock.
    pub(super) fn forget(&self, state: &mut State, outcome: Waited, runnable: &mut Batch) {
        let generation = self.generation.load(Ordering::Relaxed).wrapping_add(1);
        self.generation.store(generation, Ordering::Release);
        self.lasting.store(false, Ordering::Relaxed);
        self.used.store(false, Ordering::Relaxed);
        state.registered = false;
        for interest in [Interest::Read, Interest::Write] {
            self.change(interest);
            self.wake(state, interest, true, outcome, runnable);
        }
    }
}
