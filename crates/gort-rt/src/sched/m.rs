//! M: a kernel thread that the runtime knows.
//!
//! Ms are never freed: an M whose thread ended goes to a list for the next thread, so that sysmon may look at any M at any
//! time. Fields in `Cell`s belong to the M's own thread, or to whoever took the M from the idle list under the
//! scheduler's lock and has not yet released it through `park`.

use crate::atomic::{bound, spin_loop, AtomicBool, AtomicI32, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use crate::chaos::{happens, Whim};
use crate::os::Thread;
use crate::poll;
use crate::sched::g::{Kind, G};
use crate::sched::global::Batch;
use crate::sched::p::P;
use crate::sched::revoke::Revoke;
use crate::tls::{TlsBlock, SLOT_G};
use core::cell::Cell;
use core::ptr;
use core::sync::atomic::AtomicPtr as Shown; // no part of a protocol
use std::alloc::{handle_alloc_error, GlobalAlloc, Layout, System};

/// What the context that is switched to must do for the one that was left; see `sched::switch`.
#[derive(Clone, Copy)]
pub(crate) enum After {
    Nothing,
    /// The G's context is saved: publish that it is parked.
    Park(*const G),
    /// The G yielded: queue it behind the others.
    Requeue(*const G),
    /// The G's slice is used up: queue it behind everybody.
    Preempted(*const G),
    /// The G is dead and nobody runs on its stack any more.
    Dead(*const G),
}

/// An M's sleep, in `M::parked`: it runs, or should.
const AWAKE: u32 = 0;
/// It sleeps or is about to.
pub(crate) const ASLEEP: u32 = 1;
/// It sleeps, and a waker is at it.
const WAKING: u32 = 2;
/// It waits actively: a waker need not ask the kernel.
const ACTIVE: u32 = 3;

/// How long an M waits actively, in nanoseconds: about what it takes to wake a thread on a processor that is idle.
const ACTIVELY: u64 = 50_000;
/// Waits in vain, in a row, after which it does so only every `TRY_EVERY`th time.
const PATIENT: u32 = 4;
const TRY_EVERY: u32 = 64;

/// A guard in [`M::depth`]; a callback is 1.
pub(crate) const GUARD: u64 = 1 << 32;

/// The callbacks of a depth.
#[inline(always)]
pub(crate) fn callbacks(depth: u64) -> u32 {
    depth as u32
}

/// The guards of a depth.
pub(crate) fn guards(depth: u64) -> u32 {
    (depth / GUARD) as u32
}

/// See the module's head.
#[repr(C, align(128))]
pub(crate) struct M {
    /// What the native thread's TLS word points at.
    pub(crate) tls: TlsBlock,
    /// The scheduler's own G on the native stack; for a foreign thread, the G that stands for it.
    pub(crate) g0: G,
    pub(crate) id: u32,

    // ---- Hand-off, see `sched::revoke`: written by the owner without fences, read by sysmon behind a membarrier.
    /// 1 while the M is inside the runtime and keeps its P.
    pub(crate) in_runtime: AtomicU32,
    pub(crate) revoke: Revoke,
    /// Odd while in a declared blocking call; grows at each entry and exit.
    pub(crate) syscall_tick: AtomicU32,

    /// The P that this M holds; null when it has none. Owner writes; sysmon reads it under the protocol of `revoke`.
    pub(crate) p: AtomicPtr<P>,
    /// Number of the last P held: a hint for choosing a timer shard.
    pub(crate) last_p: Cell<u32>,
    /// The goroutine that runs here. Owner writes; only dumps read it, and nothing else.
    pub(crate) curg: Shown<G>,
    pub(crate) after: Cell<After>,
    /// True while this M looks for work and is counted in `nmspinning`.
    pub(crate) spinning: Cell<bool>,
    /// The injection stack had something when this M last looked.
    pub(crate) fed: Cell<bool>,
    /// A goroutine that must run on this M and no other.
    pub(crate) locked_g: Cell<*const G>,
    /// True for a thread that the runtime did not make.
    pub(crate) foreign: Cell<bool>,
    /// How many [`callbacks`] of a foreign thread are on its stack, and how many [`guards`] it has entered: "inside the runtime" as
    /// opposed to "has an M". Written by the owner only. One word, so that whoever looks sees one of the two when the thread goes
    /// from the one to the other.
    pub(crate) depth: AtomicU64,
    /// The outermost of these callbacks has been let in; see `gate`.
    pub(crate) admitted: Cell<bool>,
    /// Which guard has been let in, the outermost being 1; 0: none. See `ffi::guard`. The thread's own.
    pub(crate) guarded: Cell<u32>,
    /// How many foreign threads, the present one included, the M has been bound to; see `ffi::cancel`, also for the next three.
    pub(crate) binding: AtomicU64,
    /// The foreign thread, as `pthread_self` names it.
    pub(crate) pthread: AtomicUsize,
    /// Whose `binding` this is, is to be cancelled when its outermost callback has left.
    pub(crate) cancel: AtomicU64,
    /// It is to be open to cancellation then.
    pub(crate) cancellable: Cell<bool>,
    /// The M was bound for the outermost guard, and goes with it. The thread's own.
    pub(crate) for_guard: Cell<bool>,
    /// The kernel's number of the M's thread, while it has one of the runtime's own; else 0.
    pub(crate) tid: AtomicI32,
    /// The M's thread, if it is one of the runtime's own: it says so itself. It has ended, or is about to, when the M is in the
    /// list of those without a thread, and is to be joined before the M gets another.
    pub(crate) thread: Cell<Option<Thread>>,
    /// The M that was made before this one.
    older: AtomicPtr<M>,
    /// Addresses of the thread's alternate signal stack, if it is ours.
    pub(crate) alternate: Cell<(usize, usize)>,
    /// A goroutine that was locked to this M has ended: so must the thread.
    pub(crate) dying: Cell<bool>,
    pub(crate) rng: Cell<u64>,

    // ---- Sleep.
    /// [`AWAKE`] and so on.
    pub(crate) parked: AtomicU32,
    /// How often in a row active waiting was in vain, or left out; see [`M::wait_actively`]. The M's own.
    vain: Cell<u32>,
    /// The M sleeps, or is about to, in a wait for events.
    polling: AtomicBool,
    /// The P that a waker hands over.
    pub(crate) next_p: AtomicPtr<P>,
    /// On the idle list (under the scheduler's lock).
    pub(crate) idle: AtomicBool,
    /// Next in the idle list, the free list or the extra-M list.
    pub(crate) link: Cell<*const M>,
    /// When sysmon last saw `syscall_tick` change, and what it was; sysmon's own.
    pub(crate) seen_syscall: AtomicU32,
    pub(crate) seen_syscall_at: AtomicU64,
}

impl M {
    /// A new M, alive for ever. `foreign` Ms stand for threads that the runtime did not make.
    pub(crate) fn leak(id: u32, foreign: bool) -> &'static M {
        let m = M {
            tls: TlsBlock::new(),
            g0: G::native(if foreign { Kind::Foreign } else { Kind::G0 }),
            id,
            in_runtime: AtomicU32::new(1),
            revoke: Revoke::new(),
            syscall_tick: AtomicU32::new(0),
            p: AtomicPtr::new(ptr::null_mut()),
            last_p: Cell::new(0),
            curg: Shown::new(ptr::null_mut()),
            after: Cell::new(After::Nothing),
            spinning: Cell::new(false),
            fed: Cell::new(false),
            locked_g: Cell::new(ptr::null()),
            foreign: Cell::new(foreign),
            depth: AtomicU64::new(0),
            admitted: Cell::new(false),
            guarded: Cell::new(0),
            binding: AtomicU64::new(0),
            pthread: AtomicUsize::new(0),
            cancel: AtomicU64::new(0),
            cancellable: Cell::new(false),
            for_guard: Cell::new(false),
            tid: AtomicI32::new(0),
            thread: Cell::new(None),
            older: AtomicPtr::new(ptr::null_mut()),
            alternate: Cell::new((0, 0)),
            dying: Cell::new(false),
            rng: Cell::new(0x9e37_79b9_7f4a_7c15 ^ (u64::from(id) + 1).wrapping_mul(0xff51_afd7_ed55_8ccd)),
            parked: AtomicU32::new(AWAKE),
            vain: Cell::new(0),
            polling: AtomicBool::new(false),
            next_p: AtomicPtr::new(ptr::null_mut()),
            idle: AtomicBool::new(false),
            link: Cell::new(ptr::null()),
            seen_syscall: AtomicU32::new(0),
            seen_syscall_at: AtomicU64::new(0),
        };
        // Not by the global allocator: it may be one that waits, and we are inside the runtime.
        let layout = Layout::new::<M>();
        // SAFETY: the layout is not empty; the memory is ours, never freed, and large and aligned enough.
        let m: &'static M = unsafe {
            let at = System.alloc(layout).cast::<M>();
            if at.is_null() {
                handle_alloc_error(layout);
            }
            at.write(m);
            &*at
        };
        m.g0.m.set(m);
        m.tls.set(SLOT_G, &m.g0);
        let mut newest = NEWEST.load(Ordering::Relaxed);
        loop {
            m.older.store(newest, Ordering::Relaxed);
            // Release: whoever finds the M finds it complete.
            let pushed =
                NEWEST.compare_exchange_weak(newest, ptr::from_ref(m).cast_mut(), Ordering::Release, Ordering::Relaxed);
            match pushed {
                Ok(_) => return m,
                Err(now) => newest = now,
            }
        }
    }

    /// Joins the M's thread if it has ended, of an M that is the caller's. True: it has none now.
    pub(crate) fn try_join(&self) -> bool {
        match self.thread.take().map(Thread::try_join) {
            Some(Err(thread)) => {
                self.thread.set(Some(thread));
                false
            }
            Some(Ok(())) | None => true,
        }
    }

    /// The P held, if any.
    #[inline]
    pub(crate) fn p(&self) -> Option<&'static P> {
        // SAFETY: Ps live as long as the process.
        unsafe { self.p.load(Ordering::Relaxed).as_ref() }
    }

    /// Whether the M waits for events, or is about to.
    pub(crate) fn is_polling(&self) -> bool {
        self.polling.load(Ordering::Relaxed)
    }

    /// Whether the P is gone, or about to go; a hint for those outside the runtime.
    #[inline]
    pub(crate) fn lost_p(&self) -> bool {
        self.p.load(Ordering::Relaxed).is_null() || self.revoke.is_pending()
    }

    /// A pseudo-random number (xorshift64*), for the order of stealing.
    pub(crate) fn random(&self) -> u32 {
        let mut x = self.rng.get();
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        self.rng.set(x);
        (x.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) as u32
    }

    /// Waits for [`M::wake`] without going to sleep, for as long as it takes the kernel to wake a thread elsewhere and a little
    /// more. True when woken. To be called by an M that has set `parked`, in place of the first part of a sleep.
    ///
    /// On another processor than the waker's this saves both of them the kernel. On the same one it takes time from the very
    /// thread that is waited for. Which of the two it is only experience tells: after some waits in vain it is left out, but for
    /// an attempt now and then.
    pub(crate) fn wait_actively(&self) -> bool {
        let vain = self.vain.get();
        self.vain.set(vain.wrapping_add(1));
        if vain >= PATIENT && !vain.is_multiple_of(TRY_EVERY) {
            return false;
        }
        if self.parked.compare_exchange(ASLEEP, ACTIVE, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            let until = crate::os::now() + ACTIVELY;
            loop {
                for _ in 0..bound(32, 1) {
                    spin_loop();
                }
                if self.parked.load(Ordering::Relaxed) != ACTIVE || crate::os::now() > until {
                    break;
                }
            }
            // Fails if a waker has come: one that has seen ACTIVE is done, any other may be on its way to the kernel.
            let _ = self.parked.compare_exchange(ACTIVE, ASLEEP, Ordering::Relaxed, Ordering::Relaxed);
        }
        // Acquire: as in `sleep`.
        let woken = self.parked.load(Ordering::Acquire) == AWAKE;
        if woken {
            self.vain.set(0);
        }
        woken
    }

    /// Takes back that the M is about to sleep, where nobody could be about to wake it.
    pub(crate) fn stay_awake(&self) {
        self.parked.store(AWAKE, Ordering::Relaxed);
    }

    /// Sleeps until [`M::wake`] or until `deadline` (absolute, nanoseconds). The waiter has set `parked` to 1 before it
    /// showed itself. True when woken.
    pub(crate) fn sleep(&self, deadline: Option<u64>) -> bool {
        // Acquire: pairs with the release in `wake`, so that `next_p` and the Cells written by the waker are visible.
        loop {
            let parked = self.parked.load(Ordering::Acquire);
            if parked == AWAKE {
                return true;
            }
            if !crate::os::futex_wait(&self.parked, parked, deadline) {
                return self.parked.load(Ordering::Acquire) == AWAKE;
            }
        }
    }

    /// As [`M::sleep`], in a wait for events. True when woken; otherwise the goroutines that are ready, perhaps none. (A signal
    /// ends it too, and chaos.)
    pub(crate) fn sleep_polling(&self, deadline: Option<u64>) -> (bool, Batch) {
        self.polling.store(true, Ordering::SeqCst);
        // The waker puts WAKING, then reads `polling`: either it interrupts us, or we read that. SeqCst on all four.
        let ready = match self.parked.load(Ordering::SeqCst) {
            ASLEEP if !happens(Whim::Kernel, None) => poll::wait_for_events(deadline),
            _ => Batch::new(),
        };
        self.polling.store(false, Ordering::SeqCst);
        // A waker that may still interrupt is waited for: when the M has woken nobody writes to the interrupter on its account,
        // which may be another file's number after the runtime's end.
        let woken = self.parked.load(Ordering::SeqCst) != ASLEEP && self.sleep(None);
        (woken, ready)
    }

    /// Ends the M's sleep, whether it has begun or not.
    pub(crate) fn wake(&self) {
        // Release: as below. If the M begins to wait actively just now it sees what we put below.
        if self.parked.load(Ordering::Relaxed) == ACTIVE
            && self.parked.compare_exchange(ACTIVE, AWAKE, Ordering::Release, Ordering::Relaxed).is_ok()
        {
            return;
        }
        // By exchanges: with plain stores among them the order of an active waiter's changes would be harder to argue.
        self.parked.swap(WAKING, Ordering::SeqCst);
        if self.polling.load(Ordering::SeqCst) {
            poll::interrupt();
        }
        self.parked.swap(AWAKE, Ordering::SeqCst);
        crate::os::futex_wake(&self.parked, 1);
    }
}

/// The newest M; all of them are linked through `M::older`.
static NEWEST: AtomicPtr<M> = AtomicPtr::new(ptr::null_mut());

/// All Ms ever made, newest first. Async-signal-safe.
pub(crate) fn all() -> impl Iterator<Item = &'static M> {
    let next = |m: &AtomicPtr<M>| {
        // SAFETY: the chain holds Ms, which are never freed, and is only ever added to at its head.
        unsafe { m.load(Ordering::Acquire).as_ref() }
    };
    core::iter::successors(next(&NEWEST), move |m| next(&m.older))
}

/// Frees all Ms.
///
/// # Safety
/// No thread of the runtime's is left, and none that has an M calls in any more.
pub(crate) unsafe fn unload() {
    let mut m = NEWEST.swap(ptr::null_mut(), Ordering::Acquire);
    while !m.is_null() {
        // SAFETY: the chain holds Ms, allocated with this layout, and nobody looks at them any more.
        unsafe {
            let older = (*m).older.load(Ordering::Relaxed);
            m.drop_in_place();
            System.dealloc(m.cast(), Layout::new::<M>());
            m = older;
        }
    }
}

/// The thread pointer of the kernel thread that calls, if it is one of the runtime's and runs on another base now; else 0.
/// Async-signal-safe, and right at every instruction: it does not trust the base that it runs on.
pub(crate) fn native_base() -> usize {
    let tid = crate::os::gettid();
    // Acquire: the thread pointer was stored before the number.
    match all().find(|m| m.tid.load(Ordering::Acquire) == tid) {
        Some(m) if m.g0.tp.get() != crate::arch::thread_pointer() => m.g0.tp.get(),
        _ => 0,
    }
}

// SAFETY: an M is shared with sysmon and with wakers, who touch its atomics only; the Cells are the owner's, see the
// module's head.
unsafe impl Sync for M {}
