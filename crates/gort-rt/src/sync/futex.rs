//! The futex table: goroutines that wait on a word of memory.
//!
//! The kernel's futex semantics for goroutines, keyed by address, for waits and wakes within this process. Kernel threads
//! that wait on the same word stay in the kernel's own table; a wake is served from both and counts each waiter once:
//! goroutines first, the rest of the count goes to the kernel (`gort-interpose` does that).
//!
//! # Why a wake-up is not lost
//! ```text
//!   waiter                                waker, after it changed the word
//!   lock the bucket                       lock the bucket
//!   *word == expected ?  no: leave        take matching nodes out, claim their tickets
//!   arm, queue a node, unlock             unlock
//!   park
//! ```
//! The lock orders the two. If the waker comes second, the node is there. If the waiter comes second, it reads the changed
//! word and does not wait. From the queue on, the ticket of the wait decides: see `sched::g`.
//!
//! A timer ends a wait by claiming its ticket and nothing else; the goroutine then takes its node out itself. A waker that
//! meets such a node loses the claim and looks for another.

use crate::sched::g::{Claim, Ticket, G};
use crate::sched::global::Batch;
use crate::sched::{self, wake};
use crate::sync::rawmutex::RawMutex;
use crate::time;
use core::cell::Cell;
use core::ptr;
use core::sync::atomic::{AtomicU32, Ordering};

/// Buckets in the table; memory is committed as buckets are used.
const BUCKETS: usize = 1 << 16;

/// A waiting goroutine; lies on its stack until the wait is over.
struct Node {
    next: Cell<*const Node>,
    prev: Cell<*const Node>,
    word: usize,
    bits: u32,
    /// False once somebody has taken the node out; changes under the bucket's lock.
    linked: Cell<bool>,
    ticket: Ticket,
}

struct Queue {
    first: *const Node,
    last: *const Node,
}

// SAFETY: nodes are touched under the bucket's lock, and live while they are linked.
unsafe impl Send for Queue {}

#[repr(align(64))]
struct Bucket {
    queue: RawMutex<Queue>,
}

impl Queue {
    fn push(&mut self, node: &Node) {
        node.prev.set(self.last);
        if self.last.is_null() {
            self.first = node;
        } else {
            // SAFETY: linked nodes live.
            unsafe { (*self.last).next.set(node) };
        }
        self.last = node;
    }

    fn remove(&mut self, node: &Node) {
        let (prev, next) = (node.prev.get(), node.next.get());
        // SAFETY: neighbours of a linked node are linked, so they live.
        unsafe {
            match prev.as_ref() {
                Some(prev) => prev.next.set(next),
                None => self.first = next,
            }
            match next.as_ref() {
                Some(next) => next.prev.set(prev),
                None => self.last = prev,
            }
        }
        node.linked.set(false);
    }
}

static TABLE: [Bucket; BUCKETS] =
    [const { Bucket { queue: RawMutex::new(Queue { first: ptr::null(), last: ptr::null() }) } }; BUCKETS];

fn bucket(word: usize) -> &'static Bucket {
    // Fibonacci hashing of the word's number (futexes are 4-byte aligned).
    let hash = ((word >> 2) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    &TABLE[(hash >> (64 - BUCKETS.trailing_zeros())) as usize]
}

/// How a wait ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wait {
    /// A wake came.
    Woken,
    /// The word did not hold the expected value; no wait took place (`EAGAIN`).
    Changed,
    /// The deadline passed (`ETIMEDOUT`).
    TimedOut,
}

/// Makes the running goroutine `g` wait on `word` while it holds `expected`.
///
/// # Safety
/// `word` is readable.
pub(crate) unsafe fn wait(g: &G, word: *const AtomicU32, expected: u32, bits: u32, deadline: Option<u64>) -> Wait {
    let bucket = bucket(word as usize);
    let mut queue = bucket.queue.lock();
    // SAFETY: the caller vouches for the word.
    if unsafe { (*word).load(Ordering::Acquire) } != expected {
        return Wait::Changed;
    }
    let ticket = g.arm();
    let node = Node {
        next: Cell::new(ptr::null()),
        prev: Cell::new(ptr::null()),
        word: word as usize,
        bits,
        linked: Cell::new(true),
        ticket,
    };
    queue.push(&node);
    drop(queue);
    let timer = deadline.map(|when| time::set(g, ticket, when));
    if !sched::park(g) {
        // The waker took the node out before it claimed.
        if let Some(timer) = timer {
            timer.woken_early();
        }
        return Wait::Woken;
    }
    let mut queue = bucket.queue.lock();
    if node.linked.get() {
        queue.remove(&node);
    }
    Wait::TimedOut
}

/// Wakes up to `n` goroutines that wait on `word` with a bit of `bits`, oldest first. Returns how many.
///
/// From any thread. The word itself is not touched.
pub(crate) fn wake(word: usize, n: u32, bits: u32) -> u32 {
    let bucket = bucket(word);
    if n == 0 {
        return 0;
    }
    let mut woken = 0;
    let mut runnable = Batch::new();
    {
        let mut queue = bucket.queue.lock();
        let mut at = queue.first;
        // SAFETY: linked nodes live, and `next` is read before the node is taken out and its goroutine may go on.
        while let Some(node) = unsafe { at.as_ref() } {
            at = node.next.get();
            if node.word != word || node.bits & bits == 0 {
                continue;
            }
            let ticket = node.ticket;
            queue.remove(node);
            match ticket.claim(false) {
                Claim::Lost => continue, // its timer was first
                Claim::Running => {}
                // SAFETY: the claim made `g` ours, and it lives.
                Claim::Owned(g) => runnable.push(unsafe { &raw const (*g).task }),
            }
            woken += 1;
            if woken == n {
                break;
            }
        }
    }
    let one = runnable.len == 1;
    while let Some(task) = runnable.pop() {
        wake::ready(task, one);
    }
    woken
}
