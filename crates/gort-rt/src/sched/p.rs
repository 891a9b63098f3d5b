//! P: the right to run goroutines cooperatively, and the queue of those that wait for it.
//!
//! What is ready waits in `runnext` and in the `ring`, each argued in its own file; what has not begun, in `young`.

use crate::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use crate::chaos;
use crate::poll::{Room, ROOM};
use crate::sched::census::Census;
use crate::sched::g::G;
use crate::sched::global::{sched, Batch};
use crate::sched::m::M;
use crate::sched::pool::Kept;
use crate::sched::revoke;
use crate::sched::ring::Ring;
use crate::sched::runnext::RunNext;
use crate::sched::task::Task;
use crate::sched::young::{self, Young};
use crate::time::Shard;
use core::cell::{Cell, UnsafeCell};
use core::ptr;
use crossbeam_utils::CachePadded;

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
    runnext: RunNext<Task>,
    ring: Ring<Task>,
    /// Dead goroutines for reuse; the holder's.
    pub(crate) free: UnsafeCell<Kept<G>>,
    /// Blocks for goroutines to be; the holder's.
    pub(crate) blocks: UnsafeCell<Kept<Task>>,
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
    /// Goroutines that came and went here; the holder counts.
    pub(crate) census: Census,
    /// Where the kernel puts events when this P polls; the holder's.
    pub(crate) room: UnsafeCell<Room>,
    /// The number of switches at which timers were last looked at on the way; the holder's.
    pub(crate) looked_at: Cell<u32>,
    /// A goroutine that parks has just looked for events here, and there were none; the holder's.
    pub(crate) looked: Cell<bool>,
    /// Times that a goroutine yielded here and nobody else was there; the holder's.
    pub(crate) alone: Cell<u32>,
    /// Next in the list of idle Ps (under the scheduler's lock).
    pub(crate) link: AtomicPtr<P>,
    /// See `chaos`; the holder's.
    pub(crate) dice: chaos::Dice,
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
    /// Looks in a row at which goroutines waited.
    pub(crate) waiting: AtomicUsize,
    /// When the oldest were last let begin.
    pub(crate) elders_at: AtomicU64,
    /// When all had begun.
    pub(crate) all_begun_at: AtomicU64,
}

// SAFETY: `free`, `blocks`, `young`, `credit`, `room`, `looked_at`, `looked`, `alone` and `dice` belong to the holder of the P,
// of whom there is one.
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
            runnext: RunNext::new(),
            ring: Ring::new(),
            free: UnsafeCell::new(Kept::new()),
            blocks: UnsafeCell::new(Kept::new()),
            young: UnsafeCell::new(Young::new()),
            young_len: AtomicUsize::new(0),
            elders: AtomicUsize::new(0),
            credit: Cell::new(0),
            timers: CachePadded::new(Shard::new()),
            census: Census::new(),
            room: UnsafeCell::new(ROOM),
            looked_at: Cell::new(0),
            looked: Cell::new(false),
            alone: Cell::new(0),
            link: AtomicPtr::new(ptr::null_mut()),
            dice: chaos::Dice::new(),
            seen: Seen::default(),
        }
    }

    /// Goroutines in the ring; exact for the owner, a moment's value for others.
    #[inline]
    pub(crate) fn ring_len(&self) -> u32 {
        self.ring.len()
    }

    /// Whether a goroutine stands in runnext.
    pub(crate) fn has_next(&self) -> bool {
        !self.runnext.is_empty()
    }

    /// Goroutines that were spawned here and have not begun.
    pub(crate) fn not_begun(&self) -> usize {
        self.young_len.load(Ordering::Relaxed)
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
        !self.runnext.is_empty() || self.young_len.load(Ordering::Relaxed) != 0
    }

    /// Owner: a goroutine was spawned. Inside the runtime.
    #[inline]
    pub(crate) fn put_young(&self, task: *const Task) {
        if chaos::on() {
            return self.put_ready(task, true);
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
        self.preempt.load(Ordering::Relaxed) || self.young_len.load(Ordering::Relaxed) > young::enough()
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

    /// Holder: takes whatever waits here, in the order in which it would run; of those that have not begun, the oldest first.
    pub(crate) fn take_all(&self, mut to: impl FnMut(*const Task)) {
        self.take_next().into_iter().for_each(&mut to);
        while let Some(task) = self.get() {
            to(task);
        }
        // SAFETY: as in `put_young`.
        let young = unsafe { &mut *self.young.get() };
        while let Some(task) = young.pop_oldest() {
            to(task);
        }
        self.young_len.store(0, Ordering::Relaxed);
        self.elders.store(0, Ordering::Relaxed);
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
        if let Some(old) = self.runnext.put(g, || &*sched().nmspinning) {
            self.put(old);
        }
    }

    /// Owner: takes runnext.
    #[inline]
    pub(crate) fn take_next(&self) -> Option<*const Task> {
        self.runnext.take(|| &*sched().nmspinning)
    }

    /// Owner: appends `g` to the ring, or half of the ring and `g` to the global queue when it is full.
    #[inline]
    pub(crate) fn put(&self, g: *const Task) {
        if !self.ring.put(g) {
            self.overflow(g);
        }
    }

    #[cold]
    fn overflow(&self, g: *const Task) {
        let mut batch = Batch::new();
        if let Some(n) = self.ring.grab(&mut |g| batch.push(g)) {
            debug_assert!(n > 0);
        }
        batch.push(g);
        sched().put_global(batch);
    }

    /// Owner: takes the first of the ring.
    #[inline]
    pub(crate) fn get(&self) -> Option<*const Task> {
        self.ring.get()
    }

    /// Thief, holder of `self`, spinning: takes half of `victim`'s ring, or with `next` its runnext. Returns one to run at once.
    pub(crate) fn steal_from(&self, victim: &P, next: bool) -> Option<*const Task> {
        let mut first = None;
        victim.ring.grab(&mut |g| match first {
            None => first = Some(g),
            Some(_) => self.put(g),
        });
        if first.is_none() && next {
            first = victim.runnext.steal(|| revoke::is_outside(victim));
        }
        first
    }

    /// Owner: makes `g` ready to run after what is queued, or, at chaos' whim, somewhere else.
    pub(crate) fn put_ready(&self, g: *const Task, next: bool) {
        match chaos::place(self) {
            Some(chaos::Place::Late) => chaos::late::hold(g),
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
