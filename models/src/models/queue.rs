//! The global queue and the injection stack: `sched/queue.rs`, over the real mutex.
//!
//! Asserted: each goroutine is taken once, by somebody who sees what its pusher wrote to it; who pushes and then finds
//! that the queue is empty has been served.

use crate::engine::{keep, spawn, Tracked};
use crate::sched::batch::Batch;
use crate::sched::g::G;
use crate::sched::queue::Queue;
use crate::sched::task::Task;

fn push(queue: &Queue, g: &'static G) {
    g.saved.write(|n| *n = 1);
    queue.inject(&g.task);
}

fn taken(task: *const Task) {
    // SAFETY: the goroutines of a model live as long as the execution.
    let g = unsafe { &*(*task).g().expect("tasks are in goroutines") };
    g.saved.write(|n| assert_eq!(core::mem::replace(n, 2), 1, "taken twice, or before it was there"));
}

fn take(queue: &Queue) {
    if let Some(first) = queue.take(1, 8, taken).first {
        taken(first);
    }
}

/// Two who push, two who take.
pub(super) fn pushers_and_takers() {
    let queue = keep(Queue::new());
    let gs = keep([G::goroutine(), G::goroutine(), G::goroutine()]);
    let others = [0, 1].map(|i| {
        spawn(move || {
            push(queue, gs[i]);
            if i == 1 {
                take(queue);
            }
        })
    });
    gs[2].saved.write(|n| *n = 1);
    let mut batch = Batch::new();
    batch.push(&gs[2].task);
    queue.put(batch);
    take(queue);
    for other in others {
        other.join().expect("it has not panicked");
    }
    while queue.has_any() {
        take(queue);
    }
    assert!(gs.iter().all(|g| g.saved.read(|n| *n == 2)), "one was forgotten");
}
