//! Delayed wakes: goroutines that are ready, and kept from everybody until a later look of sysmon's.
//!
//! It is what happens to a wake whose author is preempted by the kernel just before the goroutine is queued, for hundreds of
//! microseconds. A stack that never waits, since wakes are made in signal handlers too; sysmon takes it whole.
//!
//! None is forgotten: sysmon sleeps for long only when every P is idle and this stack is empty. Who holds a P pushes before
//! he lets the P go idle, so sysmon sees the one if it sees the other. Everybody else pushes, then looks
//! whether sysmon sleeps; sysmon says that it sleeps, then looks at the stack: one of them sees the other.

use super::{happens, Whim};
use crate::atomic::{AtomicPtr, Ordering};
use crate::sched::global::{Batch, Sched};
use crate::sched::task::Task;
use crate::sched::wake;
use core::ptr;

/// The latest; linked through `Task::next`.
static HELD: AtomicPtr<Task> = AtomicPtr::new(ptr::null_mut());

/// Keeps a ready goroutine, which is the caller's. Async-signal-safe.
pub(crate) fn hold(task: *const Task) {
    let mut top = HELD.load(Ordering::Relaxed);
    loop {
        // SAFETY: the task is the caller's until it is pushed.
        unsafe { (*task).next.set(top) };
        // SeqCst: see the module's head.
        match HELD.compare_exchange_weak(top, task.cast_mut(), Ordering::SeqCst, Ordering::Relaxed) {
            Ok(_) => break,
            Err(now) => top = now,
        }
    }
    wake::rouse_sysmon();
}

/// Where there is no P: keeps the goroutine, or leaves it to the caller. Async-signal-safe.
#[inline(always)]
pub(crate) fn may_hold(task: *const Task) -> bool {
    let held = happens(Whim::Late, None);
    if held {
        hold(task);
    }
    held
}

/// Whether some are kept.
pub(crate) fn any() -> bool {
    !HELD.load(Ordering::SeqCst).is_null()
}

/// sysmon: lets all go, to the global queue, latest first. Every other time it leaves them where they are.
pub(crate) fn release(s: &Sched) {
    if !any() || !super::roll(Whim::Late, None).is_multiple_of(2) {
        return;
    }
    // Acquire: what the pushers wrote to their goroutines.
    let mut task = HELD.swap(ptr::null_mut(), Ordering::AcqRel).cast_const();
    let mut batch = Batch::new();
    while !task.is_null() {
        // SAFETY: the stack was taken whole, so its members are ours.
        let next = unsafe { (*task).next.get() };
        batch.push(task);
        task = next;
    }
    s.put_global(batch);
}
