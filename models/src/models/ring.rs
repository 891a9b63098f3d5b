//! The ring: `sched/ring.rs`, with room for two.
//!
//! Asserted: each task that was put is taken once, and its taker sees what the owner wrote to it.

use crate::engine::{keep, spawn, Tracked};
use crate::sched::ring::Ring;

type Task = Tracked<u32>;

fn put(ring: &Ring<Task>, task: &Task) -> bool {
    task.write(|n| *n = 1);
    ring.put(task)
}

fn take(task: *const Task) {
    // SAFETY: the tasks of a model live as long as the execution.
    unsafe { &*task }.write(|n| assert_eq!(core::mem::replace(n, 2), 1, "taken twice, or before it was there"));
}

/// The owner fills the ring, empties it and fills it again, while a thief helps himself.
pub(super) fn owner_and_thief() {
    let ring = keep(Ring::<Task>::new());
    let tasks = keep([Task::new(0), Task::new(0), Task::new(0), Task::new(0)]);
    assert!(put(ring, &tasks[0]));
    let thief = spawn(move || {
        ring.grab(&mut |task| take(task));
    });
    assert!(put(ring, &tasks[1]));
    if let Some(task) = ring.get() {
        take(task);
    }
    for task in &tasks[2..] {
        if !put(ring, task) {
            take(task);
        }
    }
    while let Some(task) = ring.get() {
        take(task);
    }
    thief.join().expect("it has not panicked");
    assert!(ring.get().is_none() && ring.len() == 0);
    assert!(tasks.iter().all(|task| task.read(|n| *n == 2)), "one was forgotten");
}

/// Two thieves, of whom one takes what the other has seen.
pub(super) fn two_thieves() {
    let ring = keep(Ring::<Task>::new());
    let tasks = keep([Task::new(0), Task::new(0), Task::new(0)]);
    assert!(put(ring, &tasks[0]) && put(ring, &tasks[1]));
    let thieves = [0, 1].map(|_| {
        spawn(move || {
            ring.grab(&mut |task| take(task));
        })
    });
    if !put(ring, &tasks[2]) {
        take(&tasks[2]);
    }
    for thief in thieves {
        thief.join().expect("it has not panicked");
    }
    while let Some(task) = ring.get() {
        take(task);
    }
    assert!(tasks.iter().all(|task| task.read(|n| *n == 2)), "one was forgotten");
}
