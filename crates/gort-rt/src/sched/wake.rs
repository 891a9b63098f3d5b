//! Making goroutines runnable and finding them a processor.
//!
//! Waking a kernel thread on another processor costs the waker some microseconds and the work up to fifty; running the
//! goroutine next on the waker's own P costs a switch. So wakers are lazy: a goroutine made ready goes to runnext, and an
//! idle P is woken only when the ring behind it holds more than one. What that policy leaves waiting too long, because the
//! running goroutine does not come to a scheduling point, sysmon sees.
//!
//! Somebody without a P (a foreign thread, a plain thread, a detached goroutine, a signal handler) pushes to the
//! injection stack and always wakes an idle P, unless an M is spinning already.

use crate::atomic::{fence, Ordering};
use crate::chaos::late;
use crate::os;
use crate::sched::batch::Batch;
use crate::sched::g::{Claim, Ticket};
use crate::sched::global::{sched, Sched};
use crate::sched::idle;
use crate::sched::m::M;
use crate::sched::p::P;
use crate::sched::revoke::{enter, leave};
use crate::sched::run;
use crate::sched::task::Task;
use crate::tls;
use core::ptr;

/// Ends the wait of `ticket`, if it is still open, and makes its goroutine runnable. True: this call ended it.
///
/// From anywhere: goroutines, plain threads, foreign threads, signal handlers. Never waits.
pub(crate) fn wake(ticket: &Ticket) -> bool {
    match ticket.claim(false) {
        Claim::Lost => false,
        Claim::Running => true,
        Claim::Owned(g) => {
            // SAFETY: the claim made `g` ours, and it lives: it is parked.
            ready(unsafe { &raw const (*g).task }, true);
            true
        }
    }
}

/// Makes `task`, which the caller owns, runnable: next on this P, or at its tail, or by injection.
#[inline]
pub(crate) fn ready(task: *const Task, next: bool) {
    publish(task, |p| p.put_ready(task, next));
}

/// Makes `task`, which was spawned just now and which the caller owns, runnable.
#[inline]
pub(crate) fn spawned(task: *const Task) {
    publish(task, |p| p.put_young(task));
}

/// Gives `task` to the P of the caller by `put`, or, where there is none, to the injection stack.
#[inline]
fn publish(task: *const Task, put: impl FnOnce(&P)) {
    // SAFETY: the current goroutine lives, and so does its M.
    if let Some(me) = unsafe { tls::current_goroutine().as_ref() } {
        // Inside the runtime already: a signal handler, or an allocator that waits. The P is not ours to touch.
        // SAFETY: the M of a running goroutine is set and lives for ever.
        let inside = unsafe { (*me.m.get()).in_runtime.load(Ordering::Relaxed) } != 0;
        if !inside {
            let m = enter(me);
            if let Some(p) = m.p() {
                put(p);
                wake_if_waiting(p);
                leave(m);
                return;
            }
            leave(m);
        }
    }
    if late::may_hold(task) {
        return;
    }
    sched().inject(task);
    wake_idle_p();
}

/// Shows others the work that waits on this P, if there are any without; wakes an idle P if nobody is looking for work.
#[inline]
pub(crate) fn wake_if_waiting(p: &P) {
    let s = sched();
    if s.npidle.load(Ordering::Relaxed) == 0 && s.nmspinning.load(Ordering::Relaxed) == 0 {
        return;
    }
    if (p.show_young() || p.ring_len() > 1) && s.nmspinning.load(Ordering::Relaxed) == 0 {
        wake_idle_p();
    }
}

/// Wakes an idle P to look for work, unless some M is looking already. Never waits: when the lock is taken, or a thread
/// would have to be made, sysmon is asked to do it.
#[cold]
pub(crate) fn wake_idle_p() {
    let s = sched();
    // SeqCst: see the head of `find`.
    if s.npidle.load(Ordering::SeqCst) == 0
        || s.nmspinning.compare_exchange(0, 1, Ordering::SeqCst, Ordering::SeqCst).is_err()
    {
        return;
    }
    if let Some(mut idle) = s.idle.try_lock() {
        let Some(p) = idle.take_p() else {
            drop(idle);
            s.nmspinning.fetch_sub(1, Ordering::SeqCst);
            return;
        };
        if let Some(m) = idle.take_m() {
            drop(idle);
            hand_over(m, p, true);
            rouse_sysmon();
            return;
        }
        idle.put_p(p);
    }
    s.nmspinning.fetch_sub(1, Ordering::SeqCst);
    s.poke.store(true, Ordering::SeqCst);
    rouse_sysmon();
}

/// Gives `p` to a sleeping M and wakes it.
fn hand_over(m: &'static M, p: &'static P, spinning: bool) {
    m.spinning.set(spinning);
    m.next_p.store(ptr::from_ref(p).cast_mut(), Ordering::Release);
    m.wake();
}

/// Finds an M for `p`: a sleeping one, else a new thread. False: no thread could be had, and `p` is idle now.
///
/// With `spinning` the caller has counted the M in `nmspinning`. May wait; not for signal handlers.
pub(crate) fn start_m(p: &'static P, spinning: bool) -> bool {
    let s = sched();
    let asleep = s.idle.lock().take_m();
    if let Some(m) = asleep {
        hand_over(m, p, spinning);
        return true;
    }
    let m = without_thread(s);
    m.spinning.set(spinning);
    m.next_p.store(ptr::from_ref(p).cast_mut(), Ordering::Release);
    if run::start_thread(s, m) {
        return true;
    }
    m.next_p.store(ptr::null_mut(), Ordering::Relaxed);
    m.spinning.set(false);
    s.idle.lock().put_free(m);
    leave_to_sysmon(p); // which tries again
    if spinning {
        s.nmspinning.fetch_sub(1, Ordering::SeqCst);
    }
    false
}

/// An M that has no thread: one that had, or a new one.
fn without_thread(s: &Sched) -> &'static M {
    let ended = {
        let mut idle = s.idle.lock();
        if let Some(m) = idle.take_free() {
            return m;
        }
        idle.take_ended()
    };
    match ended {
        Some(m) if m.try_join() => return m,
        Some(m) => s.idle.lock().put_ended(m),
        None => {}
    }
    new_m(s, false)
}

/// A new M record.
pub(crate) fn new_m(s: &Sched, foreign: bool) -> &'static M {
    M::leak(s.next_m.fetch_add(1, Ordering::Relaxed), foreign)
}

/// A P whose M cannot use it now: to another M if there is work anywhere, or nobody to wait for events; else to the idle list.
pub(crate) fn hand_off(p: &'static P) {
    hand_off_to(p, |p| _ = start_m(p, false));
}

/// As [`hand_off`], by the thread of a locked goroutine. A new thread would inherit what that goroutine may have done to its
/// own: namespaces, the directory, the mask of signals. So this thread makes none, but leaves it to sysmon.
pub(crate) fn hand_off_locked(p: &'static P) {
    hand_off_to(p, |p| {
        let asleep = sched().idle.lock().take_m();
        match asleep {
            Some(m) => hand_over(m, p, false),
            None => leave_to_sysmon(p),
        }
    });
}

/// Puts `p` into the idle list and asks sysmon to find an M for what waits. That may be with another P, so what waits on this
/// one goes where every P looks.
fn leave_to_sysmon(p: &'static P) {
    let s = sched();
    let mut waiting = Batch::new();
    p.take_all(|task| waiting.push(task));
    s.put_global(waiting);
    s.idle.lock().put_p(p);
    s.poke.store(true, Ordering::SeqCst);
    rouse_sysmon();
}

/// A locked goroutine waits that has lost its P, and may be the first to wait for a descriptor: the Ms that sleep went to sleep
/// when nobody did. Sees to it that one of them waits for events.
pub(crate) fn see_to_events() {
    let s = sched();
    if !idle::nobody_polls(s) {
        return;
    }
    // An M that stops spinning after this sees that events are wanted; one that spins still is counted.
    fence(Ordering::SeqCst);
    wake_idle_p();
}

/// `start` finds an M for the P, or sees to it that sysmon does.
fn hand_off_to(p: &'static P, start: fn(&'static P)) {
    let s = sched();
    // When the last P goes idle somebody must sleep in a wait for events: who goes to sleep himself sees to it, and we here.
    if idle::nobody_polls(s) || p.has_work() || s.has_global() || crate::time::next_of_all() <= os::now() {
        start(p);
        return;
    }
    s.idle.lock().put_p(p);
    // As in `release_and_recheck`: an injector may have seen no idle P.
    if s.has_global() {
        wake_idle_p();
    }
    wake_timekeeper();
}

/// Gives the P of `m` to the M that the goroutine of `task` is locked to, and with it the goroutine.
pub(crate) fn hand_to_locked(m: &'static M, task: *const Task) {
    // SAFETY: the task is ours, and one that is locked has begun; the M that it is locked to lives for ever and sleeps, or
    // is about to, in `run::wait_for_own`.
    let target = unsafe { &*(*(*task).g().expect("it has begun")).locked_m.get() };
    let p = idle::detach_p(m).expect("goroutines are found by Ms that hold a P");
    if m.spinning.replace(false) {
        sched().nmspinning.fetch_sub(1, Ordering::SeqCst);
    }
    target.next_p.store(ptr::from_ref(p).cast_mut(), Ordering::Release);
    target.wake();
}

/// A timer was set by somebody without a P, or a P with timers went idle: makes sure that somebody sleeps only until the
/// next timer.
pub(crate) fn wake_timekeeper() {
    let s = sched();
    let next = crate::time::next_of_all();
    if next == u64::MAX {
        return;
    }
    let keeper = {
        let mut idle = s.idle.lock();
        if next >= idle.timekeeper_at {
            return;
        }
        // Any idle M will do: with a P it looks at the timers and becomes the timekeeper as it goes back to sleep.
        match idle.take_p() {
            None => return, // every P is busy, and busy Ps look at the timers
            Some(p) => match idle.take_m() {
                Some(m) => (m, p),
                None => {
                    idle.put_p(p);
                    s.poke.store(true, Ordering::SeqCst);
                    drop(idle);
                    rouse_sysmon();
                    return;
                }
            },
        }
    };
    hand_over(keeper.0, keeper.1, false);
    rouse_sysmon();
}

/// Ends sysmon's deep sleep, if it is in one.
#[inline]
pub(crate) fn rouse_sysmon() {
    let s = sched();
    if s.sysmon.load(Ordering::SeqCst) != 0 && s.sysmon.swap(0, Ordering::SeqCst) != 0 {
        os::futex_wake(&s.sysmon, 1);
    }
}
