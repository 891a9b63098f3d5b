//! What all Ps and Ms share: the idle lists, the global queue and the injection stack.
//!
//! * The **global queue** holds what overflowed a ring, whose time slice was used up, and chaos' choice. A lock and a list.
//! * The **injection stack** takes goroutines from anybody without a P: foreign threads, plain threads, detached
//!   goroutines, signal handlers. Pushing is one compare-and-swap loop that never waits; whoever polls the global queue
//!   takes the whole stack and puts it, oldest first, behind what is queued.
//! * The **idle lists** of Ps and Ms lie under one lock. A P on its list has no work, unless no
//!   thread could be had to run it; then sysmon tries again.

use crate::sched::m::M;
use crate::sched::p::P;
use crate::sched::task::Task;
use crate::sync::rawmutex::RawMutex;
use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicI64, AtomicPtr, AtomicU32, AtomicUsize, Ordering};
use crossbeam_utils::CachePadded;
use std::sync::OnceLock;

/// See the module's head.
pub(crate) struct Sched {
    pub(crate) ps: Box<[P]>,
    /// Ms that look for work and hold a P. A waker that reads non-zero leaves the waking to them.
    pub(crate) nmspinning: CachePadded<AtomicU32>,
    /// Ps in the idle list.
    pub(crate) npidle: CachePadded<AtomicU32>,
    pub(crate) idle: RawMutex<Idle>,
    queue: RawMutex<Batch>,
    /// Goroutines in `queue`; a hint.
    queue_len: CachePadded<AtomicUsize>,
    inject: CachePadded<AtomicPtr<Task>>,
    /// Number of the next M.
    pub(crate) next_m: AtomicU32,
    /// Kernel threads of the runtime's own that are alive.
    pub(crate) threads: AtomicU32,
    /// Goroutines started less ended by those without a P.
    pub(crate) live: AtomicI64,
    /// sysmon's sleep: 0 awake, 1 asleep until poked.
    pub(crate) sysmon: AtomicU32,
    /// Set to make sysmon look for an idle P to wake on behalf of somebody who may not take a lock.
    pub(crate) poke: AtomicBool,
    /// Whether another processor may be at work while an M waits actively.
    pub(crate) many_cpus: bool,
    /// Usable bytes of a goroutine's stack where nothing else is said.
    pub(crate) stack_size: usize,
    /// `Slot::usable` of such a stack; 0 before the first.
    pub(crate) usual_slot: AtomicUsize,
}

/// Under the lock `Sched::idle`.
pub(crate) struct Idle {
    /// Idle Ps, linked through `P::link`.
    ps: *const P,
    /// Sleeping Ms, linked through `M::link`, latest first.
    ms: *const M,
    pub(crate) nms: u32,
    /// The sleeping M that waits for events; not in `ms`, but counted.
    pub(crate) poller: *const M,
    /// An M waits for events, or has been told to stop and has not yet: nobody else may begin.
    pub(crate) polling: bool,
    /// The sleeping M that wakes for the next timer, and when.
    pub(crate) timekeeper: *const M,
    pub(crate) timekeeper_at: u64,
    /// Ms whose thread has ended.
    free: *const M,
}

// SAFETY: the pointers name Ps and Ms, which live as long as the process.
unsafe impl Send for Idle {}

impl Idle {
    pub(crate) fn put_p(&mut self, p: &'static P) {
        p.link.store(self.ps.cast_mut(), Ordering::Relaxed);
        self.ps = p;
        sched().npidle.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn take_p(&mut self) -> Option<&'static P> {
        // SAFETY: the list holds Ps, which live as long as the process.
        let p = unsafe { self.ps.as_ref() }?;
        self.ps = p.link.load(Ordering::Relaxed);
        sched().npidle.fetch_sub(1, Ordering::SeqCst);
        Some(p)
    }

    /// `polls`: the M will wait for events, which nobody else does.
    pub(crate) fn put_m(&mut self, m: &'static M, polls: bool) {
        if polls {
            debug_assert!(self.poller.is_null() && !self.polling, "one M polls at a time");
            self.poller = m;
            self.polling = true;
        } else {
            m.link.set(self.ms);
            self.ms = m;
        }
        m.idle.store(true, Ordering::Relaxed);
        self.nms += 1;
    }

    /// Takes a sleeping M; the one that waits for events last.
    pub(crate) fn take_m(&mut self) -> Option<&'static M> {
        let m = if self.ms.is_null() { self.poller } else { self.ms };
        // SAFETY: the list holds Ms, which are never freed.
        let m = unsafe { m.as_ref() }?;
        if ptr::eq(m, self.ms) {
            self.ms = m.link.get();
        }
        self.taken(m);
        Some(m)
    }

    /// Takes `m` itself off the list. False: somebody has taken it.
    pub(crate) fn remove_m(&mut self, m: &'static M) -> bool {
        if !m.idle.load(Ordering::Relaxed) {
            return false;
        }
        let mut at = self.ms;
        if ptr::eq(at, m) {
            self.ms = m.link.get();
        } else if !ptr::eq(self.poller, m) {
            // SAFETY: list members are live Ms; `m` is on the list (its flag says so), so the walk ends there.
            unsafe {
                while !ptr::eq((*at).link.get(), m) {
                    at = (*at).link.get();
                }
                (*at).link.set(m.link.get());
            }
        }
        self.taken(m);
        true
    }

    fn taken(&mut self, m: &M) {
        m.idle.store(false, Ordering::Relaxed);
        self.nms -= 1;
        if ptr::eq(self.poller, m) {
            self.poller = ptr::null();
        }
        if ptr::eq(self.timekeeper, m) {
            self.timekeeper = ptr::null();
            self.timekeeper_at = u64::MAX;
        }
    }

    pub(crate) fn put_free(&mut self, m: &'static M) {
        m.link.set(self.free);
        self.free = m;
    }

    pub(crate) fn take_free(&mut self) -> Option<&'static M> {
        // SAFETY: as in `take_m`.
        let m = unsafe { self.free.as_ref() }?;
        self.free = m.link.get();
        Some(m)
    }
}

/// A list of tasks, linked through `Task::next`, in order.
pub(crate) struct Batch {
    first: *const Task,
    last: *const Task,
    pub(crate) len: usize,
}

// SAFETY: the goroutines in a batch are owned by it.
unsafe impl Send for Batch {}

impl Batch {
    pub(crate) const fn new() -> Batch {
        Batch { first: ptr::null(), last: ptr::null(), len: 0 }
    }

    pub(crate) fn push(&mut self, g: *const Task) {
        // SAFETY: `g` and `last` are owned by the batch; goroutines outlive their stay in a list.
        unsafe {
            (*g).next.set(ptr::null());
            if self.first.is_null() {
                self.first = g;
            } else {
                (*self.last).next.set(g);
            }
        }
        self.last = g;
        self.len += 1;
    }

    pub(crate) fn pop(&mut self) -> Option<*const Task> {
        let g = self.first;
        if g.is_null() {
            return None;
        }
        // SAFETY: as in `push`.
        self.first = unsafe { (*g).next.get() };
        self.len -= 1;
        Some(g)
    }

    fn append(&mut self, other: Batch) {
        if other.first.is_null() {
            return;
        }
        if self.first.is_null() {
            self.first = other.first;
        } else {
            // SAFETY: as in `push`.
            unsafe { (*self.last).next.set(other.first) };
        }
        self.last = other.last;
        self.len += other.len;
    }
}

static SCHED: OnceLock<Sched> = OnceLock::new();

/// The scheduler's shared state; only after the runtime was started.
#[inline(always)]
pub(crate) fn sched() -> &'static Sched {
    debug_assert!(SCHED.get().is_some());
    // SAFETY: every path here starts at a goroutine, an M or `start`, which all come after `install`.
    unsafe { SCHED.get().unwrap_unchecked() }
}

/// The same, or None before the runtime was started.
pub(crate) fn try_sched() -> Option<&'static Sched> {
    SCHED.get()
}

/// Makes `n` Ps, all idle. The first call wins.
pub(crate) fn install(n: usize, stack_size: usize) -> &'static Sched {
    let s = SCHED.get_or_init(|| Sched {
        ps: (0..n as u32).map(P::new).collect(),
        nmspinning: CachePadded::new(AtomicU32::new(0)),
        npidle: CachePadded::new(AtomicU32::new(0)),
        idle: RawMutex::new(Idle {
            ps: ptr::null(),
            ms: ptr::null(),
            nms: 0,
            poller: ptr::null(),
            polling: false,
            timekeeper: ptr::null(),
            timekeeper_at: u64::MAX,
            free: ptr::null(),
        }),
        queue: RawMutex::new(Batch::new()),
        queue_len: CachePadded::new(AtomicUsize::new(0)),
        inject: CachePadded::new(AtomicPtr::new(ptr::null_mut())),
        next_m: AtomicU32::new(0),
        threads: AtomicU32::new(0),
        live: AtomicI64::new(0),
        sysmon: AtomicU32::new(0),
        poke: AtomicBool::new(false),
        many_cpus: crate::os::available_cpus() > 1,
        stack_size,
        usual_slot: AtomicUsize::new(0),
    });
    let mut idle = s.idle.lock();
    for p in s.ps.iter().rev() {
        idle.put_p(p);
    }
    s
}

impl Sched {
    /// Appends a batch to the global queue.
    pub(crate) fn put_global(&self, batch: Batch) {
        let mut queue = self.queue.lock();
        queue.append(batch);
        // SeqCst: as for `inject`, since some who call this hold no P.
        self.queue_len.store(queue.len, Ordering::SeqCst);
    }

    /// Appends one goroutine to the global queue.
    pub(crate) fn put_global_one(&self, g: *const Task) {
        let mut queue = self.queue.lock();
        queue.push(g);
        self.queue_len.store(queue.len, Ordering::Relaxed);
    }

    /// Pushes a goroutine without waiting for anybody; async-signal-safe. The caller wakes a P afterwards.
    pub(crate) fn inject(&self, g: *const Task) {
        let mut top = self.inject.load(Ordering::Relaxed);
        loop {
            // SAFETY: the caller owns `g` until the push succeeds.
            unsafe { (*g).next.set(top) };
            // SeqCst: the push and the caller's later look at `npidle` are ordered against the idle path's converse.
            match self.inject.compare_exchange_weak(top, g.cast_mut(), Ordering::SeqCst, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => top = now,
            }
        }
    }

    /// Whether the global queue or the injection stack holds anything.
    #[inline]
    pub(crate) fn has_global(&self) -> bool {
        self.queue_len.load(Ordering::SeqCst) != 0 || !self.inject.load(Ordering::SeqCst).is_null()
    }

    /// Takes a fair share of the global queue: one to run, the rest, at most `room`, to `rest`.
    pub(crate) fn take_global(&self, m: &M, room: usize, mut rest: impl FnMut(*const Task)) -> Option<*const Task> {
        if !self.has_global() {
            return None;
        }
        let mut queue = self.queue.lock();
        if self.drain_injected(&mut queue) {
            m.fed.set(true);
        }
        let share = (queue.len / self.ps.len() + 1).min(128).min(room + 1).min(queue.len);
        let first = queue.pop();
        for _ in 1..share {
            rest(queue.pop().expect("the share is at most the length"));
        }
        self.queue_len.store(queue.len, Ordering::Relaxed);
        first
    }

    /// Moves the injection stack behind the queue. True: there was something in it.
    fn drain_injected(&self, queue: &mut Batch) -> bool {
        if self.inject.load(Ordering::Relaxed).is_null() {
            return false;
        }
        // Acquire: the pushers' writes to their goroutines. SeqCst as the pushes, for the idle path.
        let mut top = self.inject.swap(ptr::null_mut(), Ordering::SeqCst).cast_const();
        let mut oldest: *const Task = ptr::null();
        // SAFETY: the stack was taken whole, so its members are ours; reverse it, then append.
        unsafe {
            while !top.is_null() {
                let next = (*top).next.get();
                (*top).next.set(oldest);
                oldest = top;
                top = next;
            }
            while !oldest.is_null() {
                let next = (*oldest).next.get();
                queue.push(oldest);
                oldest = next;
            }
        }
        true
    }
}
