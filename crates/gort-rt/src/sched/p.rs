//! P: the right to run goroutines cooperatively, and the queue of those that wait for it.
//!
//! # The ring
//! 256 slots, one producer (the M that holds the P), any number of consumers. `tail` is written by the producer only.
//! `head` is advanced by compare-and-swap, by the owner for one goroutine and by a thief for half of them. A thief copies
//! the pointers out before its compare-and-swap and throws the copies away when that fails; while it is under way the
//! producer cannot have overwritten them, because it never lets `tail - head` exceed the ring's size and the swap fails if
//! `head` has moved. `head` counts modulo 2^32 and cannot come round in that time.
//!
//! # runnext
//! One goroutine that a running one has made ready: it runs next and inherits the time slice, so a pair that passes
//! messages runs at the cost of a switch and cannot starve the ring (sysmon sets `preempt` when the slice is used up, and
//! the next scheduling point then queues it behind the others). Thieves may take it, but only in their last round.
//!
//! The owner touches it at nearly every switch and thieves hardly ever, so the thief pays for both:
//!
//! ```text
//!   owner, inside the runtime (in_runtime = 1)      thief
//!   nmspinning == 0 ?                               nmspinning + 1    (on its way to here)
//!     yes: plain load, plain store                  membarrier
//!     no:  exchange                                 owner inside the runtime ?  yes: give up
//!                                                   compare-and-swap to null
//!                                                   nmspinning - 1
//! ```
//! An owner that read 0 before the thief counted itself either is still inside at the membarrier, and the thief gives up,
//! or has left, and its store is visible. One that enters after the membarrier reads 1 and exchanges. One that reads the 0
//! of a thief that has finished acquires its compare-and-swap with it. (`revoke` explains the fence; without `membarrier`
//! the owner always exchanges.)

use crate::poll::{Room, ROOM};
use crate::sched::chaos;
use crate::sched::g::G;
use crate::sched::global::sched;
use crate::sched::m::M;
use crate::sched::pool::List;
use crate::sched::revoke;
use crate::sched::task::Task;
use crate::sched::young::{Young, ENOUGH};
use crate::time::Shard;
use core::cell::{Cell, UnsafeCell};
use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicI64, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use crossbeam_utils::CachePadded;

/// Goroutines that a ring holds.
pub(crate) const RING: u32 = 256;

/// See the module's head.
#[repr(align(128))]
pub(crate) struct P {
    pub(crate) id: u32,
    /// The M that holds this P; null when it is idle or being handed over. For sysmon.
    pub(crate) m: AtomicPtr<M>,
    /// Time slices begun. Owner writes, sysmon reads.
    pub(crate) schedtick: AtomicU32,
    /// Switches to a goroutine. Owner writes, sysmon reads.
    pub(crate) switches: AtomicU32,
    /// Set by sysmon when the slice is used up: do not let runnext inherit it.
    pub(crate) preempt: AtomicBool,
    /// Wakes by goroutines that run here; see `after_wake`.
    pub(crate) wakes: AtomicU32,
    runnext: AtomicPtr<Task>,
    head: CachePadded<AtomicU32>,
    tail: CachePadded<AtomicU32>,
    ring: [AtomicPtr<Task>; RING as usize],
    /// Dead goroutines for reuse; the holder's.
    pub(crate) free: UnsafeCell<List<G>>,
    /// Blocks for goroutines to be; the holder's.
    pub(crate) blocks: UnsafeCell<List<Task>>,
    /// Goroutines that were spawned here and have not begun; the holder's.
    young: UnsafeCell<Young>,
    /// How many; the holder writes.
    young_len: AtomicUsize,
    /// How many of the oldest should begin before the youngest; sysmon grants, the holder uses up.
    pub(crate) elders: AtomicUsize,
    /// Goroutines that may be spawned here before the budget is asked; the holder's.
    pub(crate) credit: Cell<usize>,
    /// Timers set by goroutines that ran here.
    pub(crate) timers: CachePadded<Shard>,
    /// Goroutines started here less those ended here. Owner writes, anybody sums.
    pub(crate) live: AtomicI64,
    /// Where the kernel puts events when this P polls; the holder's.
    pub(crate) room: UnsafeCell<Room>,
    /// The number of switches at which timers were last looked at on the way; the holder's.
    pub(crate) looked_at: Cell<u32>,
    /// Times that a goroutine yielded here and nobody else was there; the holder's.
    pub(crate) alone: Cell<u32>,
    /// Next in the list of idle Ps (under the scheduler's lock).
    pub(crate) link: AtomicPtr<P>,
    pub(crate) seen: Seen,
}

/// What sysmon saw of a P; sysmon's own.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) schedtick: AtomicU32,
    pub(crate) switches: AtomicU32,
    /// When the present slice was first seen.
    pub(crate) slice_at: AtomicU64,
    /// When the present switch was first seen.
    pub(crate) switch_at: AtomicU64,
    /// When the oldest were last let begin.
    pub(crate) elders_at: AtomicU64,
    /// When all had begun.
    pub(crate) all_begun_at: AtomicU64,
}

// SAFETY: see the module's head for the ring; `free`, `blocks`, `young`, `credit`, `room`, `looked_at` and `alone` belong to the holder of the P, of whom there is one.
unsafe impl Sync for P {}
// SAFETY: nothing in a P is tied to a thread.
unsafe impl Send for P {}

impl P {
    pub(crate) fn new(id: u32) -> P {
        P {
            id,
            m: AtomicPtr::new(ptr::null_mut()),
            schedtick: AtomicU32::new(0),
            switches: AtomicU32::new(0),
            preempt: AtomicBool::new(false),
            wakes: AtomicU32::new(0),
            runnext: AtomicPtr::new(ptr::null_mut()),
            head: CachePadded::new(AtomicU32::new(0)),
            tail: CachePadded::new(AtomicU32::new(0)),
            ring: [const { AtomicPtr::new(ptr::null_mut()) }; RING as usize],
            free: UnsafeCell::new(List::new()),
            blocks: UnsafeCell::new(List::new()),
            young: UnsafeCell::new(Young::new()),
            young_len: AtomicUsize::new(0),
            elders: AtomicUsize::new(0),
            credit: Cell::new(0),
            timers: CachePadded::new(Shard::new()),
            live: AtomicI64::new(0),
            room: UnsafeCell::new(ROOM),
            looked_at: Cell::new(0),
            alone: Cell::new(0),
            link: AtomicPtr::new(ptr::null_mut()),
            seen: Seen::default(),
        }
    }

    fn slot(&self, i: u32) -> &AtomicPtr<Task> {
        &self.ring[(i % RING) as usize]
    }

    /// Goroutines in the ring; exact for the owner, a moment's value for others.
    #[inline]
    pub(crate) fn ring_len(&self) -> u32 {
        let head = self.head.load(Ordering::Relaxed);
        self.tail.load(Ordering::Relaxed).wrapping_sub(head)
    }

    /// Whether anything waits here.
    pub(crate) fn has_work(&self) -> bool {
        self.has_hidden() || self.ring_len() as i32 > 0
    }

    /// Whether anything waits here besides runnext.
    pub(crate) fn has_work_behind(&self) -> bool {
        self.ring_len() as i32 > 0 || self.young_len.load(Ordering::Relaxed) != 0
    }

    /// Whether anything waits here that thieves do not take, or not at once.
    pub(crate) fn has_hidden(&self) -> bool {
        !self.runnext.load(Ordering::Relaxed).is_null() || self.young_len.load(Ordering::Relaxed) != 0
    }

    /// Owner: a goroutine was spawned. Inside the runtime.
    #[inline]
    pub(crate) fn put_young(&self, m: &M, task: *const Task) {
        if chaos::on() {
            return self.put_ready(m, task, true);
        }
        // SAFETY: the holder of the P is the only one who touches the list; the task is ours.
        let young = unsafe { &mut *self.young.get() };
        // SAFETY: as above.
        unsafe { young.push(task) };
        self.young_len.store(young.len(), Ordering::Relaxed);
    }

    /// sysmon, once a time slice: lets some of the oldest begin, so that age counts in the end; many of them when there have
    /// been some for long. (Not many at once: it makes broad what the youngest first keeps narrow.)
    pub(crate) fn grant_elders(&self, for_long: bool) {
        let young = self.young_len.load(Ordering::Relaxed);
        if young > 0 {
            let most = if for_long { young } else { 64 };
            self.elders.store(young.div_ceil(4).min(most), Ordering::Relaxed);
        }
    }

    /// Whether no spawned goroutine waits to begin.
    pub(crate) fn all_begun(&self) -> bool {
        self.young_len.load(Ordering::Relaxed) == 0
    }

    /// Whether a goroutine that runs here should let others run, because its slice is used up or it spawns far ahead.
    #[inline]
    pub(crate) fn wants_to_switch(&self) -> bool {
        self.preempt.load(Ordering::Relaxed) || self.young_len.load(Ordering::Relaxed) > ENOUGH
    }

    /// Owner: the next goroutine to begin.
    #[inline]
    pub(crate) fn begin(&self) -> Option<*const Task> {
        if self.young_len.load(Ordering::Relaxed) == 0 {
            return None;
        }
        // SAFETY: as in `put_young`.
        let young = unsafe { &mut *self.young.get() };
        let elders = self.elders.load(Ordering::Relaxed);
        let task = if elders == 0 {
            young.pop()
        } else {
            // sysmon may grant at the same time, and one of the two stores is lost: no harm.
            self.elders.store(elders - 1, Ordering::Relaxed);
            young.pop_oldest()
        };
        self.young_len.store(young.len(), Ordering::Relaxed);
        task
    }

    /// Owner: moves goroutines that have not begun to the ring, where thieves find them, if it is empty. True: there were
    /// some.
    pub(crate) fn show_young(&self) -> bool {
        if self.young_len.load(Ordering::Relaxed) < 2 || self.ring_len() != 0 {
            return false;
        }
        // SAFETY: as in `put_young`.
        let young = unsafe { &mut *self.young.get() };
        young.show(|task| self.put(task));
        self.young_len.store(young.len(), Ordering::Relaxed);
        true
    }

    /// Owner: makes `g` the next to run; what was there goes to the ring.
    #[inline]
    pub(crate) fn put_next(&self, g: *const Task) {
        if self.runnext.load(Ordering::Relaxed).is_null() {
            // Thieves only ever change it to null, so it is ours to fill. Release: g's state, to a thief.
            self.runnext.store(g.cast_mut(), Ordering::Release);
            return;
        }
        let old = self.replace_next(g.cast_mut());
        if !old.is_null() {
            self.put(old);
        }
    }

    /// Owner: puts `g` in the place of runnext; see the module's head.
    #[inline]
    fn replace_next(&self, g: *mut Task) -> *mut Task {
        // Acquire: the theft of a thief that does not spin any more.
        if revoke::others_pay() && sched().nmspinning.load(Ordering::Acquire) == 0 {
            let old = self.runnext.load(Ordering::Relaxed);
            // Release: g's state, to a thief to come.
            self.runnext.store(g, Ordering::Release);
            old
        } else {
            // AcqRel: release g's state to a thief; acquire nothing that matters, but the old pointer is published again.
            self.runnext.swap(g, Ordering::AcqRel)
        }
    }

    /// Owner: takes runnext.
    #[inline]
    pub(crate) fn take_next(&self) -> Option<*const Task> {
        let g = self.runnext.load(Ordering::Relaxed);
        if g.is_null() {
            return None;
        }
        // Only thieves may have changed it, to null.
        let g = self.replace_next(ptr::null_mut());
        (!g.is_null()).then_some(g.cast_const())
    }

    /// Owner: appends `g` to the ring, or half of the ring and `g` to the global queue when it is full.
    #[inline]
    pub(crate) fn put(&self, g: *const Task) {
        // Acquire: consumers have finished reading the slots that they gave free.
        let head = self.head.load(Ordering::Acquire);
        let tail = self.tail.load(Ordering::Relaxed);
        if tail.wrapping_sub(head) < RING {
            self.slot(tail).store(g.cast_mut(), Ordering::Relaxed);
            // Release: consumers that see the new tail see the slot and the goroutine's state.
            self.tail.store(tail.wrapping_add(1), Ordering::Release);
        } else {
            self.overflow(g);
        }
    }

    #[cold]
    fn overflow(&self, g: *const Task) {
        let mut batch = crate::sched::global::Batch::new();
        if let Some(n) = self.grab(&mut |g| batch.push(g)) {
            debug_assert!(n > 0);
        }
        batch.push(g);
        sched().put_global(batch);
    }

    /// Owner: takes the first of the ring.
    #[inline]
    pub(crate) fn get(&self) -> Option<*const Task> {
        let mut head = self.head.load(Ordering::Acquire);
        loop {
            let tail = self.tail.load(Ordering::Relaxed);
            if tail == head {
                return None;
            }
            let g = self.slot(head).load(Ordering::Relaxed);
            // AcqRel: take the goroutine over; show the slot free to our own `put`.
            match self.head.compare_exchange_weak(head, head.wrapping_add(1), Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Some(g),
                Err(now) => head = now,
            }
        }
    }

    /// Anybody: takes half of the ring, rounded up, and hands each goroutine to `each` in order. None: it was empty.
    fn grab(&self, each: &mut dyn FnMut(*const Task)) -> Option<u32> {
        let mut copy = [ptr::null_mut::<Task>(); (RING / 2) as usize];
        loop {
            // Acquire on both: see the slots below `tail`, and not an older `tail` than the `head` read before it.
            let head = self.head.load(Ordering::Acquire);
            let tail = self.tail.load(Ordering::Acquire);
            let len = tail.wrapping_sub(head);
            if len as i32 <= 0 {
                return None;
            }
            let n = len - len / 2;
            if n > RING / 2 {
                continue; // head and tail were read at different moments
            }
            for i in 0..n {
                copy[i as usize] = self.slot(head.wrapping_add(i)).load(Ordering::Relaxed);
            }
            if self.head.compare_exchange(head, head.wrapping_add(n), Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                copy[..n as usize].iter().for_each(|g| each(*g));
                return Some(n);
            }
        }
    }

    /// Thief, holder of `self`, spinning: takes half of `victim`'s ring, or with `next` its runnext. Returns one to run at once.
    pub(crate) fn steal_from(&self, victim: &P, next: bool) -> Option<*const Task> {
        let mut first = None;
        victim.grab(&mut |g| match first {
            None => first = Some(g),
            Some(_) => self.put(g),
        });
        if first.is_none() && next {
            let g = victim.runnext.load(Ordering::Relaxed);
            if !g.is_null()
                && revoke::is_outside(victim)
                && victim.runnext.compare_exchange(g, ptr::null_mut(), Ordering::AcqRel, Ordering::Relaxed).is_ok()
            {
                first = Some(g.cast_const());
            }
        }
        first
    }

    /// Owner: makes `g` ready to run after what is queued, or, at chaos' whim, somewhere else.
    pub(crate) fn put_ready(&self, m: &M, g: *const Task, next: bool) {
        match chaos::place(m) {
            Some(chaos::Place::Global) => sched().put_global_one(g),
            Some(chaos::Place::Tail) => self.put(g),
            Some(chaos::Place::Next) => self.put_next(g),
            None if next => self.put_next(g),
            None => self.put(g),
        }
    }

    /// Owner: adds to a counter that only the owner writes.
    #[inline]
    pub(crate) fn bump(counter: &AtomicU32) -> u32 {
        let v = counter.load(Ordering::Relaxed).wrapping_add(1);
        counter.store(v, Ordering::Relaxed);
        v
    }
}
