//! `GORT_CHAOS=seed`: a mode for tests that makes rare interleavings common.
//!
//! At every ready goroutine a seeded die decides whether it goes to runnext, to the tail or to the global queue; at
//! scheduling points it may make the M give its P to another kernel thread (forced migration), and before a park it may
//! let others run first. The order of dice throws follows each M's own sequence, so a seed repeats a tendency, not an
//! exact schedule.

use crate::atomic::{AtomicU64, Ordering};
use crate::sched::m::M;

/// 0: off.
static SEED: AtomicU64 = AtomicU64::new(0);

/// Where chaos puts a goroutine that has become ready.
pub(crate) enum Place {
    Next,
    Tail,
    Global,
}

/// Switches the mode on; called before the first M exists.
pub(crate) fn init(seed: Option<u64>) {
    SEED.store(seed.map_or(0, |s| s | 1 << 63), Ordering::Relaxed);
}

#[inline(always)]
pub(crate) fn on() -> bool {
    SEED.load(Ordering::Relaxed) != 0
}

/// Seeds an M's dice.
pub(crate) fn seed(m: &M) {
    if on() {
        let s = SEED.load(Ordering::Relaxed);
        m.rng.set((s ^ m.rng.get().rotate_left(17)).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    }
}

/// Where to put a goroutine that has become ready; None: where it belongs.
#[inline(always)]
pub(crate) fn place(m: &M) -> Option<Place> {
    if !on() {
        return None;
    }
    Some(match m.random() % 4 {
        0 => Place::Next,
        1 | 2 => Place::Tail,
        _ => Place::Global,
    })
}

/// Whether the M should give its P away now, so that goroutines move to another kernel thread.
#[inline(always)]
pub(crate) fn migrate(m: &M) -> bool {
    on() && m.random().is_multiple_of(8)
}

/// Whether to let others run before parking or returning from a wake.
#[inline(always)]
pub(crate) fn delay(m: &M) -> bool {
    on() && m.random().is_multiple_of(4)
}
