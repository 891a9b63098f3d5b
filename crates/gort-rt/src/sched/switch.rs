//! Leaving and resuming goroutines.
//!
//! A goroutine that parks or yields looks for the next one *on its own stack* and switches to it directly; the hop to g0
//! is made only when there is nothing quick to run, when the goroutine is locked to its thread, or when the M has no P.
//!
//! Between the decision to leave and the moment when the registers are saved a goroutine must not be resumed elsewhere.
//! So what makes it visible again is left undone, noted in `m.after`, and done by the context that was switched to, as
//! its first act ([`finish`]): publish that it is parked, queue it, or give its stack back.

use crate::arch;
use crate::atomic::Ordering;
use crate::chaos::{self, Whim};
use crate::sched::find::{self, Asked};
use crate::sched::g::G;
use crate::sched::gfree;
use crate::sched::global::sched;
use crate::sched::m::{self, After, M};
use crate::sched::p::P;
use crate::sched::revoke::{enter, leave};
use crate::sched::spawn;
use crate::sched::task::Task;
use crate::sched::wake;
use core::ptr;

/// Waits until the wait that `g`, the running goroutine, has armed is claimed. True: by a timer.
///
/// The caller has shown the ticket to its wakers. Not to be called inside the runtime.
pub(crate) fn park(g: &G) -> bool {
    let m = enter(g);
    if chaos::happens(Whim::Delay, m.p()) {
        swap_out(g, m, After::Requeue(g));
    }
    // SAFETY: as in `enter`; the M may be another one after a delay.
    let m = unsafe { &*g.m.get() };
    if g.is_armed() {
        swap_out(g, m, After::Park(g));
    }
    // SAFETY: as above.
    leave(unsafe { &*g.m.get() });
    g.timed_out()
}

/// Lets others run first. Returns at once when nobody waits.
pub(crate) fn yield_now(g: &G) {
    let m = enter(g);
    swap_out(g, m, After::Requeue(g));
    // SAFETY: as in `park`.
    leave(unsafe { &*g.m.get() });
}

/// As [`yield_now`], for a goroutine that had its turn: behind everybody, not only those on its own P.
pub(crate) fn give_way(g: &G) {
    let m = enter(g);
    swap_out(g, m, After::Preempted(g));
    // SAFETY: as in `park`.
    leave(unsafe { &*g.m.get() });
}

/// Ends the running goroutine for good.
pub(crate) fn exit(g: &G) -> ! {
    let m = enter(g);
    if g.locks.get() != 0 {
        m.dying.set(true); // the thread may carry state that the goroutine left: it ends too
        m.locked_g.set(ptr::null());
        g.locked_m.set(ptr::null());
    }
    swap_out(g, m, After::Dead(g));
    unreachable!("a dead goroutine was resumed")
}

/// Leaves `g`, inside the runtime; returns when `g` is resumed, inside the runtime, perhaps on another M.
fn swap_out(g: &G, m: &'static M, after: After) {
    let call = m.syscall_tick.load(Ordering::Relaxed);
    if call % 2 == 1 {
        // It parks within a declared blocking call: the M is not in one any more.
        m.syscall_tick.store(call.wrapping_add(1), Ordering::Relaxed);
    }
    let yielding = matches!(after, After::Requeue(_) | After::Preempted(_));
    if let Some(p) = m.p() {
        if g.locks.get() == 0 && !chaos::wants(Whim::Migrate, Some(p)) {
            match find::quick(m, p, if yielding { Asked::Yielding } else { Asked::Parking }) {
                Some(next) => {
                    let here = if find::is_bound_elsewhere(next, m) { None } else { spawn::embody(m, next) };
                    if let Some(next) = here {
                        m.after.set(after);
                        // SAFETY: `next` came from a queue, so it is saved, and ours alone; its stack and identity live.
                        unsafe {
                            (*next).m.set(m);
                            m.curg.store(next.cast_mut(), Ordering::Relaxed);
                            arch::switch(g.sp.as_ptr(), (*next).sp.get(), (*next).tp.get());
                        }
                        // SAFETY: whoever resumed g set its M.
                        finish(unsafe { &*g.m.get() });
                        return;
                    }
                    p.put_next(next); // g0 makes a body for it, or hands it to the M that it is locked to
                }
                None if yielding => return, // alone: go on
                None => {}
            }
        }
    }
    if !m.locked_g.get().is_null() {
        // Before the goroutine can be found by wakers, so that a hand-over finds us asleep or about to be.
        m.parked.store(m::ASLEEP, Ordering::Relaxed);
    }
    m.after.set(after);
    m.curg.store(ptr::null_mut(), Ordering::Relaxed);
    // SAFETY: g0 was saved when this M last left it, and only this M resumes it, with the thread's own base.
    unsafe { arch::switch(g.sp.as_ptr(), m.g0.sp.get(), m.g0.tp.get()) };
    // SAFETY: as above.
    finish(unsafe { &*g.m.get() });
}

/// g0: runs the goroutine of `task` on this M until some goroutine comes back to g0.
pub(crate) fn execute(m: &'static M, task: *const Task) {
    let g = spawn::embody_on_g0(m, task);
    // SAFETY: `g` came from a queue or was handed over: saved, alive and ours alone.
    unsafe {
        (*g).m.set(m);
        m.curg.store(g.cast_mut(), Ordering::Relaxed);
        arch::switch(m.g0.sp.as_ptr(), (*g).sp.get(), (*g).tp.get());
    }
    finish(m);
}

/// First act of every resumed context: completes the departure of the one that was left.
#[inline]
pub(crate) fn finish(m: &'static M) {
    match m.after.replace(After::Nothing) {
        After::Nothing => {}
        // SAFETY: G words are never freed; g is saved, and ours to publish or to queue.
        After::Park(g) => unsafe {
            if !(*g).publish_parked() {
                requeue(m, g, true);
            }
        },
        After::Requeue(g) => requeue(m, g, false),
        After::Preempted(g) => match m.p() {
            // SAFETY: g is saved and ours.
            Some(_) => sched().put_global_one(unsafe { &raw const (*g).task }),
            None => requeue(m, g, false),
        },
        After::Dead(g) => gfree::put(m, g),
    }
}

/// Queues a goroutine that is saved and wants to go on.
fn requeue(m: &'static M, g: *const G, next: bool) {
    // SAFETY: `g` is ours and lives.
    let task = unsafe { &raw const (*g).task };
    match m.p() {
        Some(p) => p.put_ready(task, next),
        None => {
            sched().inject(task);
            // On g0: this M looks for a P itself next, unless it waits for a goroutine of its own.
            if !m.locked_g.get().is_null() {
                wake::wake_idle_p();
            }
        }
    }
}

/// Counts a switch to the next goroutine; with a slice of its own unless it inherits.
#[inline]
pub(crate) fn count_switch(p: &P, inherit: bool) -> u32 {
    if !inherit {
        P::bump(&p.schedtick);
        if p.preempt.load(Ordering::Relaxed) {
            p.preempt.store(false, Ordering::Relaxed);
        }
    }
    P::bump(&p.switches)
}
