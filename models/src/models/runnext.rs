//! runnext: `sched/runnext.rs` and `sched/revoke.rs`, with the real P and M. The membarrier is explained in `engine::loom`.
//!
//! Asserted: each task that was put is taken once, by the owner or by the thief, who sees what the owner wrote to it.

use crate::atomic::{AtomicU32, Ordering};
use crate::engine::{keep, spawn, Tracked};
use crate::sched::g::G;
use crate::sched::idle::acquire;
use crate::sched::m::M;
use crate::sched::p::P;
use crate::sched::revoke;
use crate::sched::runnext::RunNext;

type Task = Tracked<u32>;

fn take(task: *const Task) {
    // SAFETY: the tasks of a model live as long as the execution.
    unsafe { &*task }.write(|n| assert_eq!(core::mem::replace(n, 2), 1, "taken twice, or before it was there"));
}

fn owner_and_thief() {
    let (p, m, g) = (keep(P::new(0)), M::leak(0, false), G::goroutine());
    acquire(m, p);
    g.m.set(m);
    revoke::leave(m);
    let next = keep(RunNext::<Task>::new());
    let thieves = keep(AtomicU32::new(0));
    let tasks = keep([Task::new(0), Task::new(0), Task::new(0)]);
    let owner = spawn(move || {
        // Each time as a goroutine that makes others ready and then leaves.
        for pair in [&tasks[..2], &tasks[2..]] {
            let m = revoke::enter(g);
            for task in pair {
                task.write(|n| *n = 1);
                if let Some(old) = next.put(task, || thieves) {
                    take(old);
                }
            }
            revoke::leave(m);
        }
        let m = revoke::enter(g);
        if let Some(task) = next.take(|| thieves) {
            take(task);
        }
        revoke::leave(m);
    });
    thieves.fetch_add(1, Ordering::SeqCst);
    if let Some(task) = next.steal(|| revoke::is_outside(p)) {
        take(task);
    }
    thieves.fetch_sub(1, Ordering::SeqCst);
    owner.join().expect("it has not panicked");
    assert!(next.is_empty());
    assert!(tasks.iter().all(|task| task.read(|n| *n == 2)), "one was forgotten");
}

/// With `membarrier`.
pub(super) fn thief_pays() {
    revoke::init();
    owner_and_thief();
}

/// Without: both use fences, and the owner always exchanges.
pub(super) fn both_pay() {
    owner_and_thief();
}
