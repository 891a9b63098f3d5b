//! The scheduler: the runtime's files, and stand-ins for a goroutine and for what switches between stacks.

macro_rules! of_the_runtime {
    ($($name:ident = $path:literal,)*) => { $(#[path = $path] pub(crate) mod $name;)* };
}
of_the_runtime! {
    batch = "../../../crates/gort-rt/src/sched/batch.rs",
    census = "../../../crates/gort-rt/src/sched/census.rs",
    find = "../../../crates/gort-rt/src/sched/find.rs",
    global = "../../../crates/gort-rt/src/sched/global.rs",
    idle = "../../../crates/gort-rt/src/sched/idle.rs",
    m = "../../../crates/gort-rt/src/sched/m.rs",
    p = "../../../crates/gort-rt/src/sched/p.rs",
    pool = "../../../crates/gort-rt/src/sched/pool.rs",
    queue = "../../../crates/gort-rt/src/sched/queue.rs",
    revoke = "../../../crates/gort-rt/src/sched/revoke.rs",
    ring = "../../../crates/gort-rt/src/sched/ring.rs",
    runnext = "../../../crates/gort-rt/src/sched/runnext.rs",
    waitword = "../../../crates/gort-rt/src/sched/waitword.rs",
    young = "../../../crates/gort-rt/src/sched/young.rs",
}
pub(crate) mod deadlock;
pub(crate) mod g;
pub(crate) mod procs;
pub(crate) mod task;

#[cfg(feature = "loom")]
pub(crate) mod run;
#[cfg(feature = "loom")]
pub(crate) mod switch;
#[cfg(feature = "loom")]
pub(crate) mod wake;

#[cfg(feature = "shuttle")]
pub(crate) mod gfree;
#[cfg(feature = "shuttle")]
pub(crate) mod spawn;
#[cfg(feature = "shuttle")]
of_the_runtime! {
    run = "../../../crates/gort-rt/src/sched/run.rs",
    switch = "../../../crates/gort-rt/src/sched/switch.rs",
    sysmon = "../../../crates/gort-rt/src/sched/sysmon.rs",
    wake = "../../../crates/gort-rt/src/sched/wake.rs",
}

use crate::tls;
use g::G;

pub(crate) use switch::park;

pub(crate) fn parkable() -> Option<&'static G> {
    // SAFETY: models' Gs live as long as the execution.
    unsafe { tls::current_goroutine().as_ref() }.filter(|g| !g.is_inside())
}
