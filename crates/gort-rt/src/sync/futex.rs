//! The futex table: goroutines that wait on a word of memory, or for an object of libc's.
//!
//! The kernel's futex semantics for goroutines, keyed by address, for waits and wakes within this process. Kernel threads
//! that wait on the same word stay in the kernel's own table; a wake is served from both and counts each waiter once:
//! goroutines first, the rest of the count goes to the kernel (`gort-interpose` does that).
//!
//! A lock, semaphore or condition variable of libc's is waited for in the same way, under its address; in place of "the word
//! holds what was expected" stands a question that the waiter asks, such as "can I have the lock now?". One thing that only
//! mutexes need, a release that nobody announces, is in [`sentry`].
//!
//! # Why a wake-up is not lost
//! ```text
//!   waiter                                waker, after it changed the word
//!   lock the bucket, full fence           full fence
//!   bucket.waiters + 1                    lock free, and then bucket.waiters == 0 ?  nobody waits
//!   *word == expected ?  no: leave        lock the bucket
//!   arm, queue a node, unlock             take matching nodes out, claim their tickets, unlock
//!   park
//! ```
//! If the waker finds the lock free, then either the waiter's fence comes later in the order of fences: then it reads
//! the changed word and does not wait; or it comes earlier, so the waiter has unlocked, and the waker reads its count.
//! If the waker finds the lock taken or somebody counted, it takes the lock, which orders the two (fence or not):
//! either the node is there, or the waiter locks after the waker and reads the changed word. From the queue on, the
//! ticket of the wait decides: see `sched::waitword`. (The count is there so that a wake that concerns no goroutine
//! takes no lock: wakes are made in signal handlers too. That the lock itself serves as the announcement spares the
//! waiter a locked instruction.) The same holds with a question in place of the word's value: a try at a lock, say,
//! which fails only if it comes before the release in the order of changes of the lock's memory.
//!
//! A signal handler may wake, and may have interrupted its own thread in a bucket: it does not wait for the lock but leaves
//! word (`Bucket::missed`), and whoever lets go of the lock then wakes everybody in the bucket.
//!
//! A timer ends a wait by claiming its ticket and nothing else; the goroutine then takes its node out itself. A waker that
//! meets such a node loses the claim and looks for another.

pub(crate) mod sentry;

use crate::arch;
use crate::atomic::{bound, fence, spin_loop, AtomicU32, Ordering};
use crate::chaos::{self, Whim};
use crate::debug::why::Why;
use crate::sched::g::{Claim, Ticket, G};
use crate::sched::global::Batch;
use crate::sched::{self, wake};
use crate::sync::list::{Links, List, Listed};
use crate::sync::rawmutex::{RawMutex, RawMutexGuard};
use crate::time;
use core::ops::{Deref, DerefMut};
use sentry::Note;

/// Buckets in the table; memory is committed as buckets are used.
const BUCKETS: usize = bound(1 << 16, 2);

/// A waiting goroutine; lies on its stack until the wait is over.
struct Node {
    links: Links<Node>,
    word: usize,
    bits: u32,
    ticket: Ticket,
}

impl Listed for Node {
    fn links(&self) -> &Links<Node> {
        &self.links
    }
}

/// What a bucket's lock guards.
struct Queue {
    waiters: List<Node>,
    /// See [`sentry`].
    notes: List<Note>,
}

#[repr(align(64))]
struct Bucket {
    /// Goroutines in the queue or about to be; see the module's head. Written under the lock.
    waiters: AtomicU32,
    /// 1 after a waker found the lock taken and went away.
    missed: AtomicU32,
    /// Kernel threads that wait, in the kernel, on words of this bucket, as far as hooks know; for fairness only.
    kernel: AtomicU32,
    /// Counts wakes while `kernel` is not zero.
    turns: AtomicU32,
    queue: RawMutex<Queue>,
}

impl Bucket {
    fn lock(&self) -> Locked<'_> {
        Locked { bucket: self, queue: Some(self.queue.lock()) }
    }

    /// The lock, for a waker, who may be a signal handler on the very thread that holds it. None: it stays taken; whoever
    /// holds it will wake everybody when it lets go (waits may end for no reason, so that is allowed).
    fn lock_for_wake(&self) -> Option<Locked<'_>> {
        let queue = (0..SPINS).find_map(|_| {
            let queue = self.queue.try_lock();
            if queue.is_none() {
                spin_loop();
            }
            queue
        });
        let queue = queue.or_else(|| {
            // The holder lets go, then looks at `missed`; we set it, then look at the lock. One of us sees the other.
            self.missed.store(1, Ordering::SeqCst);
            fence(Ordering::SeqCst);
            self.queue.try_lock()
        });
        queue.map(|queue| Locked { bucket: self, queue: Some(queue) })
    }

    /// Takes out up to `n` nodes that `wanted` approves of, oldest first, and claims their waits. Returns how many it ended.
    fn take(&self, queue: &mut Queue, n: u32, wanted: impl Fn(&Node) -> bool, runnable: &mut Batch) -> u32 {
        let mut woken = 0;
        let mut taken = 0;
        let mut at = queue.waiters.first();
        // SAFETY: linked nodes live, and `next` is read before the node is taken out and its goroutine may go on.
        while let Some(node) = unsafe { at.as_ref() } {
            at = List::after(node);
            if !wanted(node) {
                continue;
            }
            let ticket = node.ticket;
            // SAFETY: it was found in this list.
            unsafe { queue.waiters.remove(node) };
            taken += 1;
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
        self.count_out(taken);
        woken
    }

    /// Makes up for wakes that found the lock taken: wakes everybody.
    #[cold]
    fn make_up(&self) {
        while self.missed.swap(0, Ordering::SeqCst) != 0 {
            let mut runnable = Batch::new();
            self.take(&mut self.queue.lock(), u32::MAX, |_| true, &mut runnable);
            run(runnable);
        }
    }

    /// One waiter more; under the lock.
    fn count_in(&self) {
        self.waiters.store(self.waiters.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// Whether somebody may be waiting here; false is to be trusted only after a fence. See the module's head.
    #[inline]
    fn is_in_use(&self) -> bool {
        // In this order: who has unlocked has counted himself in before.
        self.queue.is_held() || self.waiters.load(Ordering::Relaxed) != 0
    }

    /// `n` waiters less; under the lock.
    fn count_out(&self, n: u32) {
        self.waiters.store(self.waiters.load(Ordering::Relaxed) - n, Ordering::Relaxed);
    }
}

/// Tries of a waker before it leaves the waking to the holder of the lock.
const SPINS: usize = bound(1000, 1);

/// Holds a bucket's lock; when it lets go it makes up for wakes that were missed meanwhile.
struct Locked<'a> {
    bucket: &'a Bucket,
    queue: Option<RawMutexGuard<'a, Queue>>,
}

impl Deref for Locked<'_> {
    type Target = Queue;

    fn deref(&self) -> &Queue {
        self.queue.as_ref().expect("held until it is dropped")
    }
}

impl DerefMut for Locked<'_> {
    fn deref_mut(&mut self) -> &mut Queue {
        self.queue.as_mut().expect("held until it is dropped")
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        self.queue = None;
        // Between letting go and the look at `missed`: see `lock_for_wake`.
        arch::fence_after_rmw();
        if self.bucket.missed.load(Ordering::SeqCst) != 0 {
            self.bucket.make_up();
        }
    }
}

static TABLE: [Bucket; BUCKETS] = [const {
    Bucket {
        waiters: AtomicU32::new(0),
        missed: AtomicU32::new(0),
        kernel: AtomicU32::new(0),
        turns: AtomicU32::new(0),
        queue: RawMutex::new(Queue { waiters: List::new(), notes: List::new() }),
    }
}; BUCKETS];

fn bucket(word: usize) -> &'static Bucket {
    // Fibonacci hashing of the word's number (futexes are 4-byte aligned).
    let hash = ((word >> 2) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    &TABLE[(hash >> (64 - BUCKETS.trailing_zeros())) as usize]
}

/// How a wait ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wait {
    /// A wake came; or, with `GORT_CHAOS`, none.
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
    // SAFETY: the caller's promise.
    unsafe { wait_for(g, Why::word(word as usize), word, expected, bits, deadline) }
}

/// As [`wait`], for what the word stands for.
///
/// # Safety
/// As for [`wait`].
pub(crate) unsafe fn wait_for(
    g: &G,
    why: Why,
    word: *const AtomicU32,
    expected: u32,
    bits: u32,
    deadline: Option<u64>,
) -> Wait {
    // SAFETY: the caller vouches for the word.
    let changed = || unsafe { (*word).load(Ordering::SeqCst) } != expected;
    wait_unless(g, why, word as usize, bits, deadline, changed, || true)
}

/// Makes the running goroutine `g` wait for a wake of `key`, the address of what `why` says, unless `ready` says that it need not (`Changed`).
///
/// `ready` runs under the bucket's lock, after the goroutine was counted in: it must not wait, wake, or switch. `last` runs
/// when any wake would reach the goroutine already, without the lock: it may wake and yield, and must not wait. If it
/// returns false the wait is taken back: `Changed`, or `Woken` if a wake was spent on it.
pub(crate) fn wait_unless(
    g: &G,
    why: Why,
    key: usize,
    bits: u32,
    deadline: Option<u64>,
    ready: impl FnOnce() -> bool,
    last: impl FnOnce() -> bool,
) -> Wait {
    match wait_or(g, why, key, bits, deadline, |_| ready().then_some(()), last) {
        Ok(wait) => wait,
        Err(()) => Wait::Changed,
    }
}

/// As [`wait_unless`]; what `instead` returns in place of waiting is the error.
fn wait_or<R>(
    g: &G,
    why: Why,
    key: usize,
    bits: u32,
    deadline: Option<u64>,
    instead: impl FnOnce(&mut Queue) -> Option<R>,
    last: impl FnOnce() -> bool,
) -> Result<Wait, R> {
    let bucket = bucket(key);
    let mut queue = bucket.lock();
    // What `instead` reads, by whatever instructions libc has, it reads after the lock was taken: see the module's head.
    arch::fence_after_rmw();
    bucket.count_in();
    if let Some(other) = instead(&mut queue) {
        bucket.count_out(1);
        return Err(other);
    }
    let ticket = g.arm(why);
    let node = Node { links: Links::new(), word: key, bits, ticket };
    // SAFETY: it is new, and stays here until the wait is over: then somebody has taken it out, or we do.
    unsafe { queue.waiters.push(&node) };
    drop(queue);
    let stays = last();
    if !stays || chaos::wants(Whim::Futex, None) {
        let mut queue = bucket.lock();
        if !node.links.is_linked() {
            return Ok(Wait::Woken); // claimed, by a waker who found us on our feet
        }
        // SAFETY: it is in this bucket's list.
        unsafe { queue.waiters.remove(&node) };
        bucket.count_out(1);
        g.disarm(); // nobody claims but wakers that hold the lock: there is no timer yet
        if stays {
            chaos::count(Whim::Futex);
            return Ok(Wait::Woken); // for no reason
        }
        return Ok(Wait::Changed);
    }
    let timer = deadline.map(|when| time::set(g, ticket, when));
    if !sched::park(g) {
        // The waker took the node out before it claimed.
        if let Some(timer) = timer {
            timer.woken_early();
        }
        return Ok(Wait::Woken);
    }
    let mut queue = bucket.lock();
    if node.links.is_linked() {
        // SAFETY: it is in this bucket's list.
        unsafe { queue.waiters.remove(&node) };
        bucket.count_out(1);
    }
    Ok(Wait::TimedOut)
}

/// While it lives, the calling kernel thread waits in the kernel on a word. A hint, so that goroutines that contend for the
/// word do not keep it waiting for ever; see `kernels_turn`.
pub struct KernelWait(&'static AtomicU32);

impl KernelWait {
    /// Counts a wait on the word at this address.
    pub fn on(word: usize) -> KernelWait {
        let kernel = &bucket(word).kernel;
        kernel.fetch_add(1, Ordering::Relaxed);
        KernelWait(kernel)
    }
}

impl Drop for KernelWait {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Whether this wake of the word should be offered to the kernel's waiters first: every second one while there are any.
pub(crate) fn kernels_turn(word: usize) -> bool {
    let bucket = bucket(word);
    bucket.kernel.load(Ordering::Relaxed) != 0 && bucket.turns.fetch_add(1, Ordering::Relaxed) % 2 == 1
}

/// Whether goroutines may be waiting for `key`: a wake that would find nobody can be left out.
///
/// The caller has just changed the object by an atomic read-modify-write.
#[inline]
pub(crate) fn has_waiters(key: usize) -> bool {
    arch::fence_after_rmw();
    bucket(key).is_in_use()
}

/// Wakes up to `n` goroutines that wait on `word` with a bit of `bits`, oldest first. Returns how many, and whether others
/// seem to wait still: for the same word or for one in the same bucket.
///
/// From any thread. The word itself is not touched.
pub(crate) fn wake(word: usize, n: u32, bits: u32) -> (u32, bool) {
    let bucket = bucket(word);
    if n == 0 {
        return (0, false);
    }
    if !bucket.is_in_use() {
        arch::full_fence();
        if !bucket.is_in_use() {
            return (0, false);
        }
    }
    let Some(mut queue) = bucket.lock_for_wake() else { return (0, false) };
    let mut runnable = Batch::new();
    let woken = bucket.take(&mut queue, n, |node| node.word == word && node.bits & bits != 0, &mut runnable);
    let others = bucket.waiters.load(Ordering::Relaxed) != 0;
    drop(queue);
    run(runnable);
    (woken, others)
}

/// Makes goroutines runnable whose waits were claimed.
fn run(mut runnable: Batch) {
    let one = runnable.len == 1;
    while let Some(task) = runnable.pop() {
        wake::ready(task, one);
    }
}
