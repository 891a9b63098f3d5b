//! Ms without work: giving the P back, sleeping, waking for a timer, leaving.
//!
//! A sleeping M holds no P. One of them, the *timekeeper*, sleeps only until the next timer; one, the *poller*, waits for
//! events of descriptors meanwhile, in place of a futex (see `poll::events`). An M that was not needed for
//! a while ends its thread, unless it is the last sleeper: threads made for a burst of blocking calls go away again.

use crate::arch;
use crate::atomic::Ordering;
use crate::chaos::{self, Whim};
use crate::os;
use crate::poll;
use crate::sched::find;
use crate::sched::global::{sched, Batch, Sched};
use crate::sched::m::{self, M};
use crate::sched::p::P;
use crate::sched::wake;
use crate::time;
use core::ptr;

/// How long an M sleeps before its thread ends, in nanoseconds.
const IDLE_FOR: u64 = 1_000_000_000;

/// Binds `p` to `m`.
pub(crate) fn acquire(m: &'static M, p: &'static P) {
    m.p.store(ptr::from_ref(p).cast_mut(), Ordering::Relaxed);
    m.last_p.set(p.id);
    p.m.store(ptr::from_ref(m).cast_mut(), Ordering::Release);
}

/// Unbinds the M's P, which goes to somebody else.
pub(crate) fn detach_p(m: &M) -> Option<&'static P> {
    let p = m.p()?;
    debug_assert!(ptr::eq(p.m.load(Ordering::Relaxed), m), "a P has one holder");
    m.p.store(ptr::null_mut(), Ordering::Relaxed);
    p.m.store(ptr::null_mut(), Ordering::Release);
    Some(p)
}

/// Whether there may be events of descriptors, and no M sleeps in a wait for them.
pub(crate) fn nobody_polls(s: &Sched) -> bool {
    poll::in_use() && !s.idle.lock().polling
}

/// Takes an idle P, if there is one.
pub(crate) fn take_idle_p(m: &'static M) -> bool {
    let s = sched();
    if s.npidle.load(Ordering::Relaxed) == 0 {
        return false;
    }
    let Some(p) = s.idle.lock().take_p() else { return false };
    acquire(m, p);
    wake::rouse_sysmon();
    true
}

/// Chaos: gives the P to another M, so that what it runs next runs on another kernel thread. True: the M has no P now.
pub(crate) fn give_p_away(m: &'static M) -> bool {
    if m.spinning.get() {
        return false;
    }
    match detach_p(m) {
        Some(p) => {
            chaos::count(Whim::Migrate);
            wake::start_m(p, false);
            true
        }
        None => false,
    }
}

/// What a last look around found.
pub(crate) enum Recheck {
    /// There is work and the M has a P again.
    Work,
    /// Nothing; the next timer is due then (`u64::MAX`: none).
    Sleep(u64),
}

/// Gives the P back and looks once more at everything; see the head of `find` for why.
pub(crate) fn release_and_recheck(m: &'static M) -> Recheck {
    let s = sched();
    {
        let mut idle = s.idle.lock();
        if s.has_global() {
            return Recheck::Work;
        }
        let p = detach_p(m).expect("an M that looks for work holds a P");
        idle.put_p(p);
    }
    let spun = m.spinning.replace(false);
    if spun {
        s.nmspinning.fetch_sub(1, Ordering::SeqCst);
    }
    // The P has been counted in as idle, under a lock; those who set timers look at the count afterwards. See `time::set`.
    arch::fence_after_rmw();
    // Only rings count: what stands in a runnext is the business of the P that is running.
    let work = s.has_global() || s.ps.iter().any(|p| p.ring_len() as i32 > 0);
    let until = time::next_of_all();
    if work || (until != u64::MAX && until <= os::now()) {
        if let Some(p) = s.idle.lock().take_p() {
            acquire(m, p);
            wake::rouse_sysmon();
            if work {
                m.spinning.set(true);
                s.nmspinning.fetch_add(1, Ordering::SeqCst);
            }
            return Recheck::Work;
        }
    }
    Recheck::Sleep(until)
}

/// Sleeps until somebody hands a P over, or until the timer `until` is due. False: the M, which holds no P, should end its
/// thread.
pub(crate) fn sleep(m: &'static M, until: u64) -> bool {
    let s = sched();
    let now = os::now();
    let polls;
    let deadline;
    {
        let mut idle = s.idle.lock();
        if idle.stopping {
            return false;
        }
        m.parked.store(m::ASLEEP, Ordering::Relaxed);
        let last = idle.nms == 0;
        polls = poll::in_use() && !idle.polling;
        idle.put_m(m, polls);
        let mut end = if last || polls { u64::MAX } else { now + IDLE_FOR };
        if until < idle.timekeeper_at {
            idle.timekeeper = m;
            idle.timekeeper_at = until;
            end = until;
        }
        deadline = (end != u64::MAX).then_some(end);
    }
    // A timer set between our look and this moment by somebody who holds no P would have seen no timekeeper.
    if until == u64::MAX && time::next_of_all() != u64::MAX {
        wake::wake_timekeeper();
    }
    let (woken, ready) = if polls { m.sleep_polling(deadline) } else { (m.sleep(deadline), Batch::new()) };
    if woken && polls {
        s.idle.lock().polling = false; // whoever woke us has taken us off the lists
    }
    let awake = woken || wake_up(m, polls, ready.len != 0);
    if woken {
        take_over(m);
    }
    run_here_or_anywhere(m, ready);
    awake
}

/// The M, asleep by the lists, has woken by itself: takes it off them, and a P if there is something to do for it. False: the
/// M was not needed for long, and is not the last.
fn wake_up(m: &'static M, polls: bool, ready: bool) -> bool {
    let s = sched();
    let mut idle = s.idle.lock();
    if polls {
        idle.polling = false; // in the same section as `remove_m`: the next poller takes the place that we leave
    }
    let keeper = ptr::eq(idle.timekeeper, m);
    if !idle.remove_m(m) {
        // Taken by a waker at the last moment: the P is on its way.
        drop(idle);
        m.sleep(None);
        take_over(m);
        return true;
    }
    m.stay_awake();
    if keeper || ready {
        if let Some(p) = idle.take_p() {
            drop(idle);
            acquire(m, p);
            wake::rouse_sysmon();
        }
        return true;
    }
    polls || idle.nms == 0
}

/// Queues goroutines whose descriptors are ready: on the M's P, or for any P if it got none.
fn run_here_or_anywhere(m: &'static M, mut ready: Batch) {
    if ready.len == 0 {
        return;
    }
    match m.p() {
        Some(p) => find::put_all(p, &mut ready),
        None => {
            sched().put_global(ready);
            wake::wake_idle_p();
        }
    }
}

/// Takes the P that a waker left in `next_p`.
pub(crate) fn take_over(m: &'static M) {
    let p = m.next_p.swap(ptr::null_mut(), Ordering::Acquire);
    // SAFETY: wakers store Ps, which live as long as the process, or nothing.
    if let Some(p) = unsafe { p.as_ref() } {
        acquire(m, p);
    }
}
