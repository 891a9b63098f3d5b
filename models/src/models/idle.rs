//! Going to sleep and being woken: `sched/find.rs`, `sched/idle.rs`, `sched/wake.rs`, `sched/global.rs` and `M::sleep`, with the real P, M and
//! queues. Left out: timers, the netpoller, sysmon but for its answer to `poke`.
//!
//! Asserted: an M that runs out of work and somebody without a P who makes a goroutine ready never miss each other.

use crate::atomic::Ordering;
use crate::engine::{spawn, yield_now};
use crate::sched::find::find;
use crate::sched::g::G;
use crate::sched::global::{install, sched};
use crate::sched::idle::acquire;
use crate::sched::m::M;
use crate::sched::wake;

fn inject(g: &'static G) {
    g.saved.write(|n| *n = 1);
    sched().inject(&g.task);
    wake::wake_idle_p();
}

/// What sysmon does when it has been poked.
fn sysmon() {
    while sched().poke.swap(false, Ordering::SeqCst) {
        wake::wake_idle_p();
        yield_now();
    }
}

/// An M that looks for `n` goroutines in turn.
fn runs(m: &'static M, n: usize) {
    for _ in 0..n {
        let task = find(m).expect("nobody is idle for long here");
        // SAFETY: the goroutines of a model live as long as the execution.
        let g = unsafe { &*(*task).g().expect("tasks are in goroutines") };
        g.saved.write(|n| assert_eq!(core::mem::replace(n, 2), 1, "run twice, or before it was there"));
    }
}

/// One P, one M, one who injects.
pub(super) fn one_injector() {
    install(1, 0).expect("there is room");
    let s = sched();
    let m = wake::new_m(s, false);
    acquire(m, s.idle.lock().take_p().expect("it is idle"));
    let runner = spawn(move || runs(m, 1));
    inject(G::goroutine());
    sysmon();
    runner.join().expect("it has not panicked");
}

/// The same with two who inject.
pub(super) fn two_injectors() {
    install(1, 0).expect("there is room");
    let s = sched();
    let m = wake::new_m(s, false);
    acquire(m, s.idle.lock().take_p().expect("it is idle"));
    let runner = spawn(move || runs(m, 2));
    let other = spawn(|| inject(G::goroutine()));
    inject(G::goroutine());
    other.join().expect("it has not panicked");
    sysmon();
    runner.join().expect("it has not panicked");
}

/// An M that waits actively before it sleeps, and one who wakes it.
pub(super) fn active() {
    let m = M::leak(0, false);
    m.parked.store(crate::sched::m::ASLEEP, Ordering::Relaxed);
    let what = crate::engine::keep(crate::engine::Tracked::new(0));
    let sleeper = spawn(move || {
        if !m.wait_actively() {
            m.sleep(None);
        }
        what.write(|n| assert_eq!(*n, 1, "what the waker wrote before is there"));
    });
    what.write(|n| *n = 1);
    m.wake();
    sleeper.join().expect("it has not panicked");
}
