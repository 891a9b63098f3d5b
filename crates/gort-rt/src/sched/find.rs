//! Finding the next goroutine.
//!
//! [`quick`] is what a leaving goroutine does on its own stack. [`find`] is what g0 does when that found nothing: global
//! queue, timers, events, stealing, sleep.
//!
//! # Spinning, and why work is not lost
//! An M that looks for work elsewhere is *spinning*: it holds a P and is counted in `nmspinning`. Wakers that see a
//! spinning M wake nobody; in turn a spinning M that finds work wakes another before it runs it, if more may be waiting.
//! At most half as many Ms spin as Ps are busy.
//!
//! The danger is a waker that makes work visible and sees somebody spinning, or no idle P, while the last spinner is just
//! going to sleep. Both sides store, fence, then load:
//!
//! ```text
//!   waker without a P                       M that goes to sleep
//!   push to the injection stack             put P on the idle list (npidle + 1)
//!   (SeqCst)                                nmspinning - 1            (SeqCst)
//!   npidle > 0 and nmspinning == 0 ?        look at every queue and the injection stack again
//!     yes: take an idle P, wake an M          found: take an idle P back, go on
//! ```
//!
//! In the total order of these operations either the waker comes later and sees the idle P, or the M comes later and sees
//! the work. What a goroutine queues on its *own* P needs no such care: the holder of that P gets to it.

use crate::atomic::{bound, spin_loop, Ordering};
use crate::chaos::{self, Whim};
use crate::os;
use crate::poll;
use crate::sched::global::{sched, Batch};
use crate::sched::idle;
use crate::sched::m::M;
use crate::sched::p::P;
use crate::sched::ring::RING;
use crate::sched::switch::count_switch;
use crate::sched::task::Task;
use crate::sched::wake;
use crate::time;
use core::ptr;

/// Every so many switches the global queue comes first, so that it cannot starve.
const GLOBAL_EVERY: u32 = 61;
/// The same where chaos queues every fourth goroutine there, and whoever loses his P comes back that way.
const GLOBAL_EVERY_IN_CHAOS: u32 = 3;
/// Every so many switches the clock is read, if any timer is set.
const TIMERS_EVERY: u32 = 16;
/// Every so many switches, a multiple of `TIMERS_EVERY`, the kernel is asked for events, if any goroutine has ever waited for a descriptor.
const EVENTS_EVERY: u32 = 64;

/// Who asks for the next goroutine.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    /// A goroutine that parks.
    Parking,
    /// One that can as well go on.
    Yielding,
    /// g0, where `Parking` has found nothing, or after a sleep.
    OnG0,
}

/// The next goroutine from what is at hand: timers that are due, runnext, the ring, those that have not begun, the global
/// queue, descriptors that are ready.
#[inline]
pub(crate) fn quick(m: &M, p: &P, asked: Asked) -> Option<*const Task> {
    let n = p.switches.load(Ordering::Relaxed);
    // Once for each number: it stands still while a goroutine yields alone.
    if n.is_multiple_of(TIMERS_EVERY) && p.looked_at.replace(n) != n {
        time::run_due(p);
        if n.is_multiple_of(EVENTS_EVERY) {
            look_for_events(p);
        }
    }
    if n.is_multiple_of(GLOBAL_EVERY) || (chaos::on() && n.is_multiple_of(GLOBAL_EVERY_IN_CHAOS)) {
        if let Some(g) = sched().take_global(m, 0, |_| ()) {
            count_switch(p, false);
            return Some(g);
        }
    }
    if !p.preempt.load(Ordering::Relaxed) {
        if let Some(g) = p.take_next() {
            count_switch(p, true);
            return Some(g);
        }
    } else if let Some(g) = p.take_next() {
        p.put(g); // the slice is used up: behind the others
    }
    // Those that wait to go on and those that wait to begin take turns.
    let g = if n.is_multiple_of(2) { p.begin().or_else(|| p.get()) } else { p.get().or_else(|| p.begin()) };
    let global = || sched().take_global(m, (RING / 2) as usize, |g| p.put(g));
    let g = g.or_else(global).or_else(|| {
        // Nothing at hand: a goroutine that yields alone, for one that sleeps, counts no switches, so look at the timers now;
        // and at descriptors, though not every time, since that is a system call. (g0 does not repeat a look that a parking
        // goroutine has just made: the M that then goes to sleep waits for events, or another does.)
        let due = time::run_due(p);
        p.alone.set(p.alone.get().wrapping_add(1));
        let looks = match asked {
            Asked::Parking => true,
            Asked::Yielding => p.alone.get().is_multiple_of(EVENTS_EVERY),
            Asked::OnG0 => !p.looked.get(),
        };
        let events = !due && looks && look_for_events(p);
        p.looked.set(asked == Asked::Parking && !due && !events);
        (due || events).then(|| p.take_next().or_else(|| p.get()).or_else(global)).flatten()
    })?;
    count_switch(p, false);
    wake::wake_if_waiting(p);
    Some(g)
}

/// Makes goroutines runnable whose descriptors are ready, on the caller's P, inside the runtime. True: there was one.
#[inline]
fn look_for_events(p: &P) -> bool {
    if !poll::in_use() {
        return false;
    }
    // SAFETY: the holder of the P, inside the runtime, is the only one who touches its room.
    let mut ready = poll::poll(unsafe { &mut *p.room.get() });
    let any = ready.len != 0;
    put_all(p, &mut ready);
    any
}

/// Queues goroutines on the caller's P, inside the runtime.
pub(crate) fn put_all(p: &P, ready: &mut Batch) {
    while let Some(task) = ready.pop() {
        p.put_ready(task, false);
    }
}

/// Whether the goroutine of `task` is locked to an M other than `m`.
#[inline]
pub(crate) fn is_bound_elsewhere(task: *const Task, m: &M) -> bool {
    // SAFETY: `task` came from a queue; it is ours, and so is the goroutine behind it.
    unsafe {
        (*task).g().is_some_and(|g| {
            let locked = (*g).locked_m.get();
            !locked.is_null() && !ptr::eq(locked, m)
        })
    }
}

/// g0: the next goroutine for this M. Sleeps when there is none; None: the M was idle for long and its thread should end.
pub(crate) fn find(m: &'static M) -> Option<*const Task> {
    loop {
        let Some(p) = m.p() else {
            if idle::take_idle_p(m) {
                continue;
            }
            if !idle::sleep(m, u64::MAX) {
                return None;
            }
            continue;
        };
        if chaos::wants(Whim::Migrate, Some(p)) && idle::give_p_away(m) {
            continue;
        }
        if let Some(g) = quick(m, p, Asked::OnG0).or_else(|| search(m, p)) {
            if m.spinning.replace(false) {
                sched().nmspinning.fetch_sub(1, Ordering::SeqCst);
                wake::wake_if_waiting(p);
            }
            return Some(g);
        }
        if linger(m) {
            continue;
        }
        match idle::release_and_recheck(m) {
            idle::Recheck::Work => continue,
            idle::Recheck::Sleep(until) => {
                if !idle::sleep(m, until) {
                    return None;
                }
            }
        }
    }
}

/// Steals from the other Ps, if not too many do so already.
fn search(m: &M, p: &P) -> Option<*const Task> {
    let s = sched();
    let in_use = s.ps.in_use();
    if in_use == 1 {
        return None;
    }
    if !m.spinning.get() {
        let busy = (in_use as u32).saturating_sub(s.npidle.load(Ordering::Relaxed));
        if 2 * s.nmspinning.load(Ordering::Relaxed) >= busy {
            return None;
        }
        m.spinning.set(true);
        s.nmspinning.fetch_add(1, Ordering::SeqCst);
    }
    const ROUNDS: usize = 4;
    let all: &[P] = &s.ps;
    for round in 0..ROUNDS {
        let last = round == ROUNDS - 1;
        let start = m.random() as usize;
        for i in 0..all.len() {
            let victim = &all[(start + i) % all.len()];
            if ptr::eq(victim, p) {
                continue;
            }
            if let Some(g) = p.steal_from(victim, last && leave_runnext_alone_no_longer(victim)) {
                count_switch(p, false);
                return Some(g);
            }
        }
        if s.has_global() {
            if let Some(g) = s.take_global(m, (RING / 2) as usize, |g| p.put(g)) {
                count_switch(p, false);
                return Some(g);
            }
        }
        spin_loop();
    }
    None
}

/// How long an M that was fed by somebody without a P waits for the next goroutine before it sleeps, in nanoseconds.
const LINGER: u64 = 20_000;

/// Waits a moment for more from the injection stack, if that is where the last goroutine came from. A plain thread that
/// spawns in a loop would otherwise pay a kernel wake-up for each. True: something came.
fn linger(m: &M) -> bool {
    let s = sched();
    if !m.fed.replace(false) || !s.many_cpus {
        return false;
    }
    if !m.spinning.replace(true) {
        s.nmspinning.fetch_add(1, Ordering::SeqCst); // injectors see us and wake nobody
    }
    let until = os::now() + LINGER;
    loop {
        if s.has_global() {
            return true;
        }
        for _ in 0..bound(32, 1) {
            spin_loop();
        }
        if os::now() > until {
            return false;
        }
    }
}

/// A goroutine in runnext usually runs within the microsecond on its own P; taking it would move a pair apart. So a thief
/// waits a moment and takes it only when its P has not switched meanwhile.
fn leave_runnext_alone_no_longer(victim: &P) -> bool {
    if !victim.has_work() {
        return false;
    }
    let before = victim.switches.load(Ordering::Relaxed);
    let until = os::now() + 3_000;
    while os::now() < until {
        spin_loop();
    }
    victim.switches.load(Ordering::Relaxed) == before
}
