//! Pools of dead goroutines, stacks and blocks: `sched/pool.rs`, over the real mutex. A P keeps two things here.
//!
//! Asserted: a thing is with one holder at a time, who sees what the one before it wrote; none is lost.

use crate::engine::{keep, spawn, Tracked};
use crate::sched::pool::{Depot, Kept, Link};
use core::cell::Cell;
use core::ptr;

struct Thing {
    next: Cell<*const Thing>,
    next_batch: Cell<*const Thing>,
    uses: Tracked<u32>,
}

impl Link for Thing {
    fn next(&self) -> &Cell<*const Thing> {
        &self.next
    }

    fn next_batch(&self) -> &Cell<*const Thing> {
        &self.next_batch
    }
}

fn thing() -> &'static Thing {
    keep(Thing { next: Cell::new(ptr::null()), next_batch: Cell::new(ptr::null()), uses: Tracked::new(0) })
}

fn uses(thing: *const Thing) {
    // SAFETY: the things of a model live as long as the execution.
    unsafe { &*thing }.uses.write(|n| *n += 1);
}

/// A P that has too many, a P that has none, and sysmon, who takes what is surplus.
pub(super) fn two_ps_and_sysmon() {
    let depot = keep(Depot::<Thing>::new());
    // SAFETY: nobody else has the things.
    unsafe { depot.put_shared(thing()) };
    let poor = spawn(move || {
        let mut own = Kept::new();
        if let Some(thing) = depot.get(&mut own) {
            uses(thing);
            // SAFETY: it was taken from there, by us.
            unsafe { depot.put(&mut own, thing) };
        }
        depot.give_back(&mut own);
    });
    let sysmon = spawn(move || {
        assert!(depot.surplus().pop().is_none(), "it has not looked before");
        let mut surplus = depot.surplus();
        while let Some(thing) = surplus.pop() {
            uses(thing);
            // SAFETY: as above.
            unsafe { depot.put_shared(thing) };
        }
    });
    let mut own = Kept::new();
    for _ in 0..3 {
        let thing = thing();
        uses(thing);
        // SAFETY: it is new.
        unsafe { depot.put(&mut own, thing) };
    }
    depot.give_back(&mut own);
    for other in [poor, sysmon] {
        other.join().expect("it has not panicked");
    }
    let count = core::iter::from_fn(|| depot.get_shared()).map(uses).count();
    assert_eq!(count, 4, "one was lost, or is there twice");
}
