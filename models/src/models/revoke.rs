//! Taking a P from an M that is outside the runtime: `sched/revoke.rs`, with the real P and M, and the M's side of giving a P
//! up (`idle::detach_p`). The membarrier is explained in `engine::loom`.
//!
//! Asserted: one at a time uses the P, and sees what the one before wrote to it; it is never taken from an M that
//! has another one.

use crate::engine::{keep, spawn, Tracked};
use crate::sched::g::G;
use crate::sched::idle::{acquire, detach_p};
use crate::sched::m::M;
use crate::sched::p::P;
use crate::sched::revoke;

struct Scene {
    p: &'static P,
    m: &'static M,
    g: &'static G,
    /// What lies in the P: whose it is, 0 for the M's.
    used: &'static Tracked<u32>,
}

fn scene() -> Scene {
    let scene = Scene { p: keep(P::new(0)), m: M::leak(0, false), g: G::goroutine(), used: keep(Tracked::new(0)) };
    acquire(scene.m, scene.p);
    scene.g.m.set(scene.m);
    revoke::leave(scene.m);
    scene
}

/// The owner comes and goes; sysmon tries once.
fn owner_and_sysmon() {
    let Scene { p, m, g, used } = scene();
    let owner = spawn(move || {
        for _ in 0..2 {
            let m = revoke::enter(g);
            if m.p().is_some() {
                used.write(|n| *n += 1);
            }
            revoke::leave(m);
        }
    });
    if revoke::revoke(p, m) {
        used.write(|n| *n += 1);
    }
    owner.join().expect("it has not panicked");
}

/// With `membarrier`.
pub(super) fn sysmon_pays() {
    revoke::init();
    owner_and_sysmon();
}

/// Without.
pub(super) fn both_pay() {
    owner_and_sysmon();
}

/// The owner changes its P for another, which sysmon does not mean.
pub(super) fn another_p() {
    revoke::init();
    let Scene { p, m, g, used } = scene();
    let other = keep(P::new(1));
    let owner = spawn(move || {
        let m = revoke::enter(g);
        if let Some(own) = detach_p(m) {
            assert!(core::ptr::eq(own, p));
            used.write(|whose| assert_eq!(core::mem::replace(whose, 1), 0)); // whoever gets it from us
            acquire(m, other);
        }
        revoke::leave(m);
        let m = revoke::enter(g);
        assert!(m.p().is_none_or(|now| core::ptr::eq(now, other)));
        revoke::leave(m);
    });
    if revoke::revoke(p, m) {
        used.write(|whose| assert_eq!(core::mem::replace(whose, 2), 0, "the M has given it away"));
    }
    owner.join().expect("it has not panicked");
}
