//! Dead goroutines, kept with stack and identity for the next birth; see `pool`.
//!
//! What the pool finds to be surplus goes cold: the memory returns to the kernel and the slot to the arena. Goroutines with
//! a stack size of their own go cold at once.

use crate::identity;
use crate::sched::budget;
use crate::sched::g::G;
use crate::sched::m::M;
use crate::sched::pool::{Depot, Link, List};
use crate::stack;
use crate::sync::rawmutex::RawMutex;
use core::cell::Cell;

impl Link for G {
    fn next(&self) -> &Cell<*const G> {
        &self.next
    }
}

static DEPOT: Depot<G> = Depot::new();

/// Takes a dead goroutine of the usual size, on a P.
pub(crate) fn get(m: &M) -> Option<*const G> {
    let p = m.p()?;
    // SAFETY: the holder of the P, inside the runtime, is the only one who touches its list.
    DEPOT.get(unsafe { &mut *p.free.get() })
}

/// Buries a goroutine that has ended and whose stack nobody uses any more.
pub(crate) fn put(m: &M, g: *const G) {
    let p = m.p();
    // SAFETY: the goroutine is dead and ours.
    let usual = unsafe { (*g).is_usual() };
    if usual {
        budget::release(p);
    }
    // SAFETY: the goroutine is dead and ours; its mapping stays. For the list see `get`.
    unsafe {
        (*g).locks.set(0); // it may have died locked
        match p {
            _ if !usual => go_cold(g),
            Some(p) => DEPOT.put(&mut *p.free.get(), g),
            None => DEPOT.put_shared(g),
        }
    }
}

/// Dead goroutines of other sizes whose memory cannot be given back, because their blocks are donors'.
static ODD: RawMutex<List<G>> = RawMutex::new(List::new());

/// Takes a dead goroutine with at least `usable` bytes of stack from those that could not go cold.
pub(crate) fn get_odd(usable: usize) -> Option<*const G> {
    let mut odd = ODD.lock();
    let mut passed = List::new();
    let mut found = None;
    while let Some(g) = odd.pop() {
        // SAFETY: the list owns its dead goroutines, and those that are passed over go back into it.
        unsafe {
            if (*g).usable() >= usable {
                found = Some(g);
                break;
            }
            passed.push(g);
        }
    }
    while let Some(g) = passed.pop() {
        // SAFETY: as above.
        unsafe { odd.push(g) };
    }
    found
}

/// Gives a dead goroutine's memory back; its G is gone then.
fn go_cold(g: *const G) {
    // SAFETY: the goroutine is dead and ours, so its block is not in use; the slot is copied out before its memory goes.
    unsafe {
        let slot = *(*g).slot();
        if identity::destroy((*g).tp.get()) {
            slot.clear_tp();
            stack::release(slot);
        } else {
            ODD.lock().push(g);
        }
    }
}

/// sysmon, about once a second: half of what was not needed since the last call goes cold.
pub(crate) fn trim() {
    if *identity::mode() != identity::Mode::Built {
        return; // donors' memory must stay
    }
    let mut surplus = DEPOT.surplus();
    while let Some(g) = surplus.pop() {
        go_cold(g);
    }
}
