//! Dead goroutines, kept with stack and identity for the next birth; see `pool`.
//!
//! What the pool finds to be surplus goes cold: the memory returns to the kernel and the slot to the arena. Goroutines with
//! a stack size of their own are kept apart; see `odd`.

use crate::gate;
use crate::identity;
use crate::sched::budget;
use crate::sched::census::{self, Event};
use crate::sched::g::G;
use crate::sched::global::sched;
use crate::sched::m::M;
use crate::sched::p::P;
use crate::sched::pool::{Depot, Link};
use crate::sched::revoke::{enter, leave};
use crate::sched::{self, odd};
use crate::stack;
use crate::tls::{SLOT_G, SLOT_PARK};
use core::cell::Cell;
use core::ptr;

impl Link for G {
    fn next(&self) -> &Cell<*const G> {
        &self.next
    }

    fn next_batch(&self) -> &Cell<*const G> {
        &self.next_batch
    }
}

static DEPOT: Depot<G> = Depot::new();

/// Takes a dead goroutine of the usual size, on a P.
pub(crate) fn get(m: &M) -> Option<*const G> {
    let p = m.p()?;
    // SAFETY: the holder of the P, inside the runtime, is the only one who touches its list.
    DEPOT.get(unsafe { &mut *p.free.get() })
}

/// A goroutine has ended and nobody uses its stack any more: buries it, unless somebody may still ask for its number.
pub(crate) fn put(m: &M, g: *const G) {
    census::count(sched(), m.p(), Event::Buried);
    gate::left();
    // SAFETY: the goroutine is dead and, until we let go of it, ours.
    unsafe {
        (*g).locks.set(0); // it may have died locked
        if (*g).numbered.get() && !(*g).pthread.let_go() {
            return; // whoever joins or detaches it buries it
        }
        bury(m.p(), g);
    }
}

/// As [`put`], by the one who was last to let go of a goroutine with a number. On any thread, not inside the runtime.
///
/// # Safety
/// The goroutine is dead and ours.
pub(crate) unsafe fn bury_from_outside(g: *const G) {
    // SAFETY: the caller's promise; without a P the depot takes the body.
    unsafe {
        match sched::parkable() {
            Some(me) => {
                let m = enter(me);
                bury(m.p(), g);
                leave(m);
            }
            None => bury(None, g),
        }
    }
}

/// Keeps the body for the next birth.
///
/// # Safety
/// The goroutine is dead and ours, and so is the P, inside the runtime.
unsafe fn bury(p: Option<&P>, g: *const G) {
    // SAFETY: the caller's promise; the body's mapping stays. For the list see `get`.
    unsafe {
        if (*g).numbered.replace(false) {
            (*g).pthread.close();
            return odd::put(g); // never of the usual size when it was made
        }
        if !(*g).is_usual() {
            return odd::put(g);
        }
        budget::release(p);
        match p {
            Some(p) => DEPOT.put(&mut *p.free.get(), g),
            None => DEPOT.put_shared(g),
        }
    }
}

/// The holder of `p` puts what it keeps where all find it.
pub(crate) fn give_back(p: &P) {
    // SAFETY: the holder of the P is the only one who touches its list.
    DEPOT.give_back(unsafe { &mut *p.free.get() });
}

/// Gives a dead goroutine's memory back; its G is gone then. False: that cannot be done, since its block is a donor's.
pub(crate) fn go_cold(g: *const G) -> bool {
    if *identity::mode() != identity::Mode::Built {
        return false;
    }
    // SAFETY: the goroutine is dead and ours, so its block is not in use; the slot is copied out before its memory goes.
    unsafe {
        // libc is called on the block once more. A signal handler that runs then must not believe to be on a goroutine.
        (*g).tls.set(SLOT_G, ptr::null());
        (*g).tls.set(SLOT_PARK, ptr::null());
        let slot = *(*g).slot();
        let gone = identity::destroy((*g).tp.get());
        if gone {
            slot.clear_tp();
            stack::release(slot);
        }
        gone
    }
}

/// At the end of the runtime, when Ps keep none: all bodies go cold, or, where they cannot, since their blocks are donors', to
/// where bodies of any size are.
pub(crate) fn give_up() {
    core::iter::from_fn(|| DEPOT.get_shared()).for_each(|g| {
        if !go_cold(g) {
            // SAFETY: it was taken from a list, so it is dead and ours.
            unsafe { odd::put(g) };
        }
    });
    odd::give_up();
}

/// All dead goroutines of the usual size but those that Ps keep go cold: what [`trim`] does in time.
#[doc(hidden)]
pub fn all_go_cold() {
    while let Some(g) = DEPOT.get_shared() {
        if !go_cold(g) {
            // SAFETY: it was taken from there.
            return unsafe { DEPOT.put_shared(g) };
        }
    }
}

/// sysmon, about once a second: half of what was not needed since the last call goes cold.
pub(crate) fn trim() {
    identity::catch_up();
    if *identity::mode() != identity::Mode::Built {
        return; // donors' memory must stay
    }
    let mut surplus = DEPOT.surplus();
    while let Some(g) = surplus.pop() {
        go_cold(g);
    }
    odd::trim();
}
