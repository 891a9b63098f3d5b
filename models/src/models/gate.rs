//! Shutdown: `gate.rs`, with the real M and count of goroutines (none here). A thread that spawns from outside holds a pass; a C
//! thread that calls back counts its depth, as `ffi/callback.rs` does.
//!
//! Asserted: when the gate is closed nobody is inside, nor will be, and what those did who were is visible; whoever closes it
//! does not sleep for ever.

use crate::atomic::Ordering;
use crate::engine::{keep, spawn, Tracked};
use crate::gate;
use crate::sched::census;
use crate::sched::global::{install, sched};
use crate::sched::m::M;
use crate::sched::revoke;

fn shutdown(used: &Tracked<u32>) {
    assert!(gate::close(|| census::unburied(sched()) == 0, u64::MAX));
    used.write(|n| *n += 1);
}

fn begin() -> &'static Tracked<u32> {
    revoke::init();
    install(1, 0).expect("there is room");
    gate::open();
    keep(Tracked::new(0))
}

/// A callback comes in, or does not.
pub(super) fn callback() {
    let used = begin();
    let m = M::leak(0, true);
    let caller = spawn(move || {
        m.depth.store(1, Ordering::Relaxed);
        if gate::admits() {
            used.write(|n| *n += 1);
        }
        m.depth.store(0, Ordering::Release);
        gate::left();
    });
    shutdown(used);
    caller.join().expect("it has not panicked");
}

/// A thread that spawns.
pub(super) fn spawner() {
    let used = begin();
    let spawner = spawn(move || {
        if let Some(pass) = gate::pass() {
            used.write(|n| *n += 1);
            drop(pass);
        }
    });
    shutdown(used);
    spawner.join().expect("it has not panicked");
}
