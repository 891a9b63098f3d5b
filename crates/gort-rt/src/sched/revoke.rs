//! How a P is taken from an M that is busy elsewhere, without signals.
//!
//! An M outside the runtime, in user code or in a blocking call, can lose its P at any moment to sysmon; an M inside the
//! runtime cannot. Entering must cost next to nothing, so the fence that such a protocol needs is asymmetric: the owner
//! makes a plain store and a plain load, sysmon makes a `membarrier`, which is a full fence on every processor that runs
//! a thread of this process.
//!
//! ```text
//!      owner M                                   sysmon
//!      in_runtime = 1                            revoke: NONE -> ASKED
//!      (compiler fence)                          membarrier
//!      if revoke != NONE: settle                 if in_runtime: revoke: ASKED -> NONE, give up
//!      ... uses its P ...                        else if m.p is the P wanted: revoke: ASKED -> TAKEN
//!      in_runtime = 0 (release)
//!
//!      settle: revoke: ASKED -> NONE succeeds: keep the P
//!              else it is TAKEN: m.p = null, revoke = NONE: the M is detached
//! ```
//!
//! Why one of the two owns the P, never both, never none. Order the owner's `in_runtime = 1` against the membarrier. If
//! it comes before, sysmon reads 1 and gives up. If it comes after, the owner's load comes after too and reads ASKED or
//! later; then the owner's and sysmon's compare-and-swaps from ASKED meet in one word and one of them wins. sysmon reads
//! `m.p` between its load of `in_runtime` and its compare-and-swap: an owner that changed it in between has entered,
//! thus settled, thus made that compare-and-swap fail. The release in `leave` and sysmon's acquire make all that the owner
//! wrote to the P visible to its next holder.
//!
//! Where the kernel has no membarrier, both sides use a full fence.
//!
//! A goroutine that lost its P is *detached*: it goes on as a plain kernel thread until its next scheduling point, where
//! it queues for a P. This is what gort has in place of preemption: nothing is interrupted, no system call is cut short.

use crate::atomic::{fence, paid_fence, AtomicBool, AtomicU32, OnceLock, Ordering};
use crate::os;
use crate::sched::g::G;
use crate::sched::m::M;
use crate::sched::p::P;
use core::ptr;

const NONE: u32 = 0;
const ASKED: u32 = 1;
const TAKEN: u32 = 2;

/// The word in which the owner of a P and sysmon meet.
pub(crate) struct Revoke(AtomicU32);

impl Revoke {
    pub(crate) const fn new() -> Revoke {
        Revoke(AtomicU32::new(NONE))
    }

    /// Whether sysmon has asked for the P or taken it.
    #[inline]
    pub(crate) fn is_pending(&self) -> bool {
        self.0.load(Ordering::Relaxed) != NONE
    }
}

/// True when `membarrier` is the heavy half of the fence, so that the light half costs nothing.
static ASYMMETRIC: AtomicBool = AtomicBool::new(false);

/// Chooses the fence, before the first goroutine and the first callback. (Whoever does not know yet that others pay makes a
/// full fence, which goes with either kind.)
pub(crate) fn init() {
    static CHOSEN: OnceLock<()> = OnceLock::new();
    CHOSEN.get_or_init(|| ASYMMETRIC.store(os::membarrier_register(), Ordering::Relaxed));
}

/// The frequent side of an asymmetric fence: what is stored before it is seen by whoever makes a [`heavy_fence`] after it, or
/// what that one stored before is seen by loads after it.
#[inline(always)]
pub(crate) fn light_fence() {
    if others_pay() {
        paid_fence();
    } else {
        fence(Ordering::SeqCst);
    }
}

/// The rare side.
pub(crate) fn heavy_fence() {
    if others_pay() {
        os::membarrier();
    } else {
        fence(Ordering::SeqCst);
    }
}

/// Whether the frequent side of such a protocol needs no fence, because [`heavy_fence`] makes one for it.
#[inline(always)]
pub(crate) fn others_pay() -> bool {
    ASYMMETRIC.load(Ordering::Relaxed)
}

/// Whether the M that holds `p` is outside the runtime, having seen all that the caller did before, if it enters now. A few
/// microseconds.
pub(crate) fn is_outside(p: &P) -> bool {
    heavy_fence();
    // SAFETY: Ms are never freed.
    let m = unsafe { p.m.load(Ordering::Acquire).as_ref() };
    // Acquire: what the M did inside.
    m.is_some_and(|m| m.in_runtime.load(Ordering::Acquire) == 0)
}

/// Enters the runtime on the M that runs `g`: from here to [`leave`] the M keeps the P that it has, if it has one.
#[inline(always)]
pub(crate) fn enter(g: &G) -> &'static M {
    // SAFETY: whoever resumed `g` set its M, and Ms live as long as the process.
    let m = unsafe { &*g.m.get() };
    debug_assert_eq!(m.in_runtime.load(Ordering::Relaxed), 0, "entered twice");
    m.in_runtime.store(1, Ordering::Relaxed);
    light_fence();
    if m.revoke.0.load(Ordering::Relaxed) != NONE {
        settle(m);
    }
    m
}

#[cold]
fn settle(m: &M) {
    // Acquire on failure: sysmon is done with the M.
    if m.revoke.0.compare_exchange(ASKED, NONE, Ordering::Relaxed, Ordering::Acquire) == Err(TAKEN) {
        m.p.store(ptr::null_mut(), Ordering::Relaxed);
        m.revoke.0.store(NONE, Ordering::Relaxed);
    }
}

/// Leaves the runtime: the P may be taken from here on.
#[inline(always)]
pub(crate) fn leave(m: &M) {
    // Release: sysmon, when it reads 0, sees all that was written to the P.
    m.in_runtime.store(0, Ordering::Release);
}

/// sysmon: takes `p` from `m`, by [`revoke`], and leaves it as one that nobody holds. True: the caller has it now.
pub(crate) fn take(p: &P, m: &M) -> bool {
    let taken = revoke(p, m);
    if taken {
        p.m.store(ptr::null_mut(), Ordering::Release);
        p.preempt.store(false, Ordering::Relaxed);
    }
    taken
}

/// sysmon: takes `p` from `m` if `m` still has it and is outside the runtime. True: the caller holds `p` now.
pub(crate) fn revoke(p: &P, m: &M) -> bool {
    let word = &m.revoke.0;
    if word.compare_exchange(NONE, ASKED, Ordering::SeqCst, Ordering::Relaxed).is_err() {
        return false; // TAKEN before, and the owner has not come back yet
    }
    heavy_fence();
    let outside = m.in_runtime.load(Ordering::Acquire) == 0;
    if outside && ptr::eq(m.p.load(Ordering::Relaxed), p) {
        // AcqRel: what the owner wrote to the P is ours; the owner's settle sees what we did before.
        return word.compare_exchange(ASKED, TAKEN, Ordering::AcqRel, Ordering::Relaxed).is_ok();
    }
    // Failure means that the owner has settled already.
    let _ = word.compare_exchange(ASKED, NONE, Ordering::Relaxed, Ordering::Relaxed);
    false
}
