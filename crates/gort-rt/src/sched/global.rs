//! What all Ps and Ms share: the idle lists and the global queue.
//!
//! The **idle lists** of Ps and Ms lie under one lock. A P on its list has no work, unless no thread could be had to run
//! it; then sysmon tries again. For the global queue see `queue`.

use crate::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicUsize, OnceLock, Ordering};
use crate::sched::census::Census;
use crate::sched::m::M;
use crate::sched::p::P;
use crate::sched::procs::{self, Procs};
use crate::sched::queue::Queue;
use crate::sched::task::Task;
use crate::sync::rawmutex::RawMutex;
use core::ptr;
use crossbeam_utils::CachePadded;

pub(crate) use crate::sched::batch::Batch;

/// See the module's head.
pub(crate) struct Sched {
    pub(crate) ps: Procs,
    /// Ms that look for work and hold a P. A waker that reads non-zero leaves the waking to them.
    pub(crate) nmspinning: CachePadded<AtomicU32>,
    /// Ps in the idle list.
    pub(crate) npidle: CachePadded<AtomicU32>,
    pub(crate) idle: RawMutex<Idle>,
    queue: Queue,
    /// Number of the next M.
    pub(crate) next_m: AtomicU32,
    /// Kernel threads of the runtime's own that are alive.
    pub(crate) threads: AtomicU32,
    /// Why no thread could be had, the last time that it went wrong.
    pub(crate) no_thread: AtomicI32,
    /// Goroutines that came and went without a P.
    pub(crate) census: Census,
    /// sysmon's sleep: 0 awake, 1 asleep until poked.
    pub(crate) sysmon: AtomicU32,
    /// Set to make sysmon look for an idle P to wake on behalf of somebody who may not take a lock.
    pub(crate) poke: AtomicBool,
    /// Whether another processor may be at work while an M waits actively.
    pub(crate) many_cpus: bool,
    /// Usable bytes of a goroutine's stack where nothing else is said.
    stack_size: AtomicUsize,
    /// `Slot::usable` of such a stack; 0 before the first.
    pub(crate) usual_slot: AtomicUsize,
}

/// Under the lock `Sched::idle`.
pub(crate) struct Idle {
    /// Idle Ps, linked through `P::link`.
    ps: *const P,
    /// Retired Ps, likewise; see `procs`.
    retired: *const P,
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
    /// Ms without a thread.
    free: *const M,
    /// Ms whose thread ends and has not been joined.
    ended: *const M,
    /// The runtime is being shut down: no M goes to sleep any more, its thread ends instead.
    pub(crate) stopping: bool,
}

// SAFETY: the pointers name Ps and Ms, which live as long as the process.
unsafe impl Send for Idle {}

impl Idle {
    /// Begins the lists of idle and of retired Ps anew.
    pub(crate) fn begin(&mut self, idle: &'static [P], retired: &'static [P]) {
        (self.ps, self.retired) = (ptr::null(), ptr::null());
        sched().npidle.store(0, Ordering::SeqCst);
        idle.iter().rev().for_each(|p| self.put_p(p));
        retired.iter().for_each(|p| self.put_retired(p));
    }

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

    pub(crate) fn put_retired(&mut self, p: &'static P) {
        p.link.store(self.retired.cast_mut(), Ordering::Relaxed);
        self.retired = p;
    }

    pub(crate) fn take_retired(&mut self) -> Option<&'static P> {
        // SAFETY: as in `take_p`.
        let p = unsafe { self.retired.as_ref() }?;
        self.retired = p.link.load(Ordering::Relaxed);
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

    /// By the M's own thread, as the last thing that it does.
    pub(crate) fn put_ended(&mut self, m: &'static M) {
        m.link.set(self.ended);
        self.ended = m;
    }

    pub(crate) fn take_ended(&mut self) -> Option<&'static M> {
        // SAFETY: as in `take_m`.
        let m = unsafe { self.ended.as_ref() }?;
        self.ended = m.link.get();
        Some(m)
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

/// Makes `n` Ps, all idle; at each start of the runtime. See [`procs::begin`].
pub(crate) fn install(n: usize, stack_size: usize) -> Result<(), i32> {
    let s = SCHED.get_or_init(|| Sched {
        ps: Procs::none(),
        nmspinning: CachePadded::new(AtomicU32::new(0)),
        npidle: CachePadded::new(AtomicU32::new(0)),
        idle: RawMutex::new(Idle {
            ps: ptr::null(),
            retired: ptr::null(),
            ms: ptr::null(),
            nms: 0,
            poller: ptr::null(),
            polling: false,
            timekeeper: ptr::null(),
            timekeeper_at: u64::MAX,
            free: ptr::null(),
            ended: ptr::null(),
            stopping: false,
        }),
        queue: Queue::new(),
        next_m: AtomicU32::new(0),
        threads: AtomicU32::new(0),
        no_thread: AtomicI32::new(0),
        census: Census::new(),
        sysmon: AtomicU32::new(0),
        poke: AtomicBool::new(false),
        many_cpus: crate::os::available_cpus() > 1,
        stack_size: AtomicUsize::new(0),
        usual_slot: AtomicUsize::new(0),
    });
    s.stack_size.store(stack_size, Ordering::Relaxed);
    s.usual_slot.store(0, Ordering::Relaxed);
    procs::begin(s, n)
}

impl Sched {
    /// Usable bytes of a goroutine's stack where nothing else is said.
    #[inline]
    pub(crate) fn stack_size(&self) -> usize {
        self.stack_size.load(Ordering::Relaxed)
    }

    /// Whether nobody holds a P.
    pub(crate) fn all_ps_idle(&self) -> bool {
        self.npidle.load(Ordering::SeqCst) as usize == self.ps.in_use()
    }

    /// Appends a batch to the global queue.
    pub(crate) fn put_global(&self, batch: Batch) {
        self.queue.put(batch);
    }

    /// Appends one goroutine to the global queue; on a P.
    pub(crate) fn put_global_one(&self, task: *const Task) {
        self.queue.put_one(task);
    }

    /// Pushes a goroutine without waiting for anybody; async-signal-safe. The caller wakes a P afterwards.
    #[inline]
    pub(crate) fn inject(&self, task: *const Task) {
        self.queue.inject(task);
    }

    /// Whether the global queue or the injection stack holds anything.
    #[inline]
    pub(crate) fn has_global(&self) -> bool {
        self.queue.has_any()
    }

    /// Takes a fair share of the global queue: one to run, the rest, at most `room`, to `rest`.
    #[inline]
    pub(crate) fn take_global(&self, m: &M, room: usize, rest: impl FnMut(*const Task)) -> Option<*const Task> {
        if !self.has_global() {
            return None;
        }
        let taken = self.queue.take(self.ps.in_use(), room, rest);
        if taken.injected {
            m.fed.set(true);
        }
        taken.first
    }
}
