//! Dead goroutines with a stack size of their own.
//!
//! They are kept by the size of their slots, like those of the usual size but without lists for each P: what has a size of its
//! own is a thread that somebody else's code makes, as a rule, and rarer. Of a stack only the part near its top stays in
//! memory, since one deep call on each of many large stacks would hold on to too much.

use crate::os;
use crate::sched::g::G;
use crate::sched::gfree;
use crate::sched::pool::{Depot, List};
use crate::stack;

/// Sizes of slots are powers of two.
const SIZES: usize = usize::BITS as usize;
/// Bytes below the first frame that stay in memory.
const KEPT: usize = 64 << 10;

static DEPOTS: [Depot<G>; SIZES] = [const { Depot::new() }; SIZES];

/// The place of slots of this size.
fn depot(slot_bytes: usize) -> &'static Depot<G> {
    &DEPOTS[slot_bytes.trailing_zeros() as usize]
}

/// Takes a dead goroutine whose slot has this size, guard included.
pub(crate) fn get(slot_bytes: usize) -> Option<*const G> {
    depot(slot_bytes).get_shared()
}

/// The same, of the smallest slot that is larger.
pub(crate) fn get_larger(slot_bytes: usize) -> Option<*const G> {
    DEPOTS[slot_bytes.trailing_zeros() as usize + 1..].iter().find_map(Depot::get_shared)
}

/// Keeps a dead goroutine.
///
/// # Safety
/// It is ours, and nobody runs on its stack.
pub(crate) unsafe fn put(g: *const G) {
    // SAFETY: the goroutine is dead and ours. What is released lies below all that its G and its identity need.
    unsafe {
        let low = (*g).slot().lo;
        let deep = (*g).usable().saturating_sub(KEPT) & !(os::mem::page_size() - 1);
        if deep > 0 {
            os::mem::trim_stack(low, deep);
        }
        depot((*g).slot().usable() + stack::GUARD).put_shared(g);
    }
}

/// At the end of the runtime: all go cold that can.
pub(crate) fn give_up() {
    for depot in &DEPOTS {
        let mut kept = List::new();
        while let Some(g) = depot.get_shared() {
            if !gfree::go_cold(g) {
                // SAFETY: it was taken from a list of the dead, so it lives and is ours.
                unsafe { kept.push(g) };
            }
        }
        while let Some(g) = kept.pop() {
            // SAFETY: as above.
            unsafe { depot.put_shared(g) };
        }
    }
}

/// sysmon, about once a second: half of what was not needed since the last call goes cold.
pub(crate) fn trim() {
    for depot in &DEPOTS {
        let mut surplus = depot.surplus();
        while let Some(g) = surplus.pop() {
            if !gfree::go_cold(g) {
                // SAFETY: it was taken from there.
                unsafe { depot.put_shared(g) };
            }
        }
    }
}
