//! The models, one file each. A file's head says what is real, what stands for what, and what is asserted.

#[cfg(feature = "shuttle")]
mod scheduler;

#[cfg(feature = "loom")]
mod event;
#[cfg(feature = "loom")]
mod extra_m;
#[cfg(feature = "loom")]
mod futex;
#[cfg(feature = "loom")]
mod gate;
#[cfg(feature = "loom")]
mod idle;
#[cfg(feature = "loom")]
mod park;
#[cfg(feature = "loom")]
mod pool;
#[cfg(feature = "loom")]
mod queue;
#[cfg(feature = "loom")]
mod rawmutex;
#[cfg(feature = "loom")]
mod revoke;
#[cfg(feature = "loom")]
mod ring;
#[cfg(feature = "loom")]
mod runnext;
#[cfg(feature = "loom")]
mod sentry;
#[cfg(feature = "loom")]
mod waitword;

use crate::engine::{explore, Machine};

/// A model and how it is run.
pub(crate) struct Model {
    pub(crate) name: &'static str,
    pub(crate) run: fn(),
}

macro_rules! models {
    ($($name:literal: $preemptions:literal, $machine:ident, $model:path;)*) => {
        /// All models: name, preemptions explored, machine.
        pub(crate) const ALL: &[Model] =
            &[$(Model { name: $name, run: || explore($preemptions, Machine::$machine, $model) }),*];
    };
}

#[cfg(feature = "loom")]
models! {
    "rawmutex": 3, C11, rawmutex::three_threads;
    "waitword": 3, C11, waitword::waker_and_timer;
    "waitword-late": 3, C11, waitword::late_waker;
    "park": 3, C11, park::two_unparkers;
    "park-deadline": 3, C11, park::deadline;
    "park-thread": 3, C11, park::plain_thread;
    "event": 3, C11, event::goroutine;
    "event-thread": 3, C11, event::plain_thread;
    "event-deadline": 3, C11, event::deadline;
    "ring": 3, C11, ring::owner_and_thief;
    "ring-thieves": 3, C11, ring::two_thieves;
    "runnext": 3, C11, runnext::thief_pays;
    "runnext-fences": 3, C11, runnext::both_pay;
    "revoke": 3, C11, revoke::sysmon_pays;
    "revoke-fences": 3, C11, revoke::both_pay;
    "revoke-other": 3, C11, revoke::another_p;
    "queue": 2, C11, queue::pushers_and_takers;
    "pool": 2, C11, pool::two_ps_and_sysmon;
    "extra-m": 2, C11, extra_m::two_threads;
    "futex": 3, C11, futex::wait_and_wake;
    "futex-look": 3, C11, futex::look_then_wake;
    "futex-missed": 2, C11, futex::lock_taken;
    "futex-deadline": 2, C11, futex::deadline;
    "futex-lock": 3, C11, futex::a_lock;
    "sentry": 3, C11, sentry::condvar_wait;
    "sentry-two": 2, C11, sentry::two_goroutines;
    "gate": 3, C11, gate::callback;
    "gate-spawner": 3, C11, gate::spawner;
    "idle": 2, C11, idle::one_injector;
    "idle-two": 1, C11, idle::two_injectors;
    "idle-active": 2, C11, idle::active;
}

#[cfg(feature = "shuttle")]
models! {
    "scheduler-yield": 500, C11, scheduler::yields;
    "scheduler-tied": 500, C11, scheduler::tied;
    "scheduler-crowd": 500, C11, scheduler::crowd;
    "scheduler-park": 500, C11, scheduler::parks;
    "scheduler-lock": 500, C11, scheduler::locks;
    "scheduler-chaos": 500, C11, scheduler::chaotic;
    "scheduler-hog": 500, C11, scheduler::hog;
}
