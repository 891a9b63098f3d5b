//! Stacks of goroutines: where they come from, what happens at their end.
//!
//! A *slot* is a power of two of address space: a guard at its low end, usable memory above. Memory is taken up page by
//! page as the stack is touched, and stacks grow down, so a stack that overruns its slot touches its own guard first.
//!
//! ```text
//!   slot n                                          slot n + 1
//!   |<-- guard -->|<----------- usable ------------>|<-- guard -->|<- …
//!                 lo          <-- stack grows        hi
//! ```
//!
//! Slots are never unmapped, so that a late look at one (a signal handler, a wake-up that raced with an end) is a look at
//! zeroes or at another goroutine's memory, not a fault. What must survive even that, the *wait word*, lies in side
//! memory that is neither unmapped nor cleared.
//!
//! | File | Subject |
//! |---|---|
//! | `arena` | size classes, chunks, free lists, look-up by address |
//! | `chunk` | a run of slots and its records |
//! | `guard` | the two kinds of guard and when each is used |
//! | `reserve` | mappings that guards leave to the rest of the process |
//! | `error` | why there is no stack, and what the user can do |
//! | `overflow`, `report` | the report when a guard is hit |
//! | `altstack` | the stack that the report runs on |

#[cfg(target_os = "linux")]
mod altstack;
mod arena;
mod chunk;
mod error;
mod guard;
#[cfg_attr(windows, path = "overflow_windows.rs")]
pub(crate) mod overflow;
mod report;
mod reserve;
#[cfg(test)]
pub(crate) mod testing;

use crate::debug::record::{Name, Record};
use core::sync::atomic::{AtomicU64, Ordering};

pub(crate) use error::AllocError;
pub(crate) use guard::{parse_guard, Guard};

use arena::{Arena, Table};
use chunk::Side;

/// Bytes at the low end of each slot that fault. A frame larger than this could step over the guard if its function does
/// not probe the stack; Rust's functions do, C's only when compiled with `-fstack-clash-protection`.
pub(crate) const GUARD: usize = 16 * 1024;

/// Bytes of a slot in the default class, guard included.
pub(crate) const DEFAULT_SLOT: usize = 256 * 1024;

/// Bytes of the smallest slot, guard included; all start at a multiple of this.
pub(crate) const LEAST_SLOT: usize = arena::MIN_SLOT;

/// Bytes that a default stack can hold.
pub(crate) const DEFAULT_USABLE: usize = DEFAULT_SLOT - GUARD;

/// The process's stacks.
static ARENA: Arena = Arena::new(arena::CHUNK, &TABLE, crate::os::mem::max_mappings);

static TABLE: Table = Table::new();

/// A piece of memory for one stack. Copying it copies the description; who may use the memory is between [`alloc`] and
/// [`release`].
#[derive(Clone, Copy)]
pub(crate) struct Slot {
    /// Lowest usable byte; the guard ends here.
    pub(crate) lo: *mut u8,
    /// End of the usable memory, exclusive. A multiple of 16 KiB.
    pub(crate) hi: *mut u8,
    /// The slot's number: no other slot of this process ever has it; below 2^29.
    pub(crate) index: u32,
    /// A word that belongs to the slot and outlives what is in it: it is never unmapped, and keeps its value from one use
    /// of the slot to the next. 0 at the first use.
    pub(crate) wait: &'static AtomicU64,
    /// What a dump shows of the goroutine on the slot. Outlives it likewise.
    pub(crate) record: &'static Record,
    side: &'static Side,
}

// SAFETY: a slot is two addresses and references to atomics. Memory at the addresses is reached by unsafe code only,
// whose business it is to know on which thread it runs.
unsafe impl Send for Slot {}
// SAFETY: as above; a slot has no interior that a shared reference could change except the atomics.
unsafe impl Sync for Slot {}

impl Slot {
    /// Bytes between `lo` and `hi`.
    pub(crate) fn usable(&self) -> usize {
        self.hi as usize - self.lo as usize
    }

    /// Room for that goroutine's name, which outlives it likewise.
    pub(crate) fn name(&self) -> &'static Name {
        // SAFETY: every slot that was handed out has its chunk noted, and chunks are never unmapped.
        unsafe { &*self.side.chunk.load(Ordering::Relaxed) }.name(self.side)
    }

    /// The thread pointer of the identity at the slot's top, if there is one.
    pub(crate) fn tp(&self) -> Option<usize> {
        Some(self.side.tp.load(Ordering::Acquire)).filter(|&tp| tp > chunk::BARE)
    }

    /// Notes that an identity with this thread pointer is at the slot's top. See [`for_each_tp`].
    pub(crate) fn set_tp(&self, tp: usize) {
        self.side.tp.store(tp, Ordering::Release);
    }

    /// Notes that there is no identity any more.
    pub(crate) fn clear_tp(&self) {
        self.set_tp(chunk::BARE);
    }
}

/// Chooses the kind of guard: a forced one, or else what the kernel can. To be called before the first [`alloc`].
pub(crate) fn init(forced: Option<Guard>) {
    ARENA.guards().init(forced);
}

/// From now on so many stacks of a size may lie unused where the one who needs a stack cannot reach them: [`ensure`] does not
/// count on them.
pub(crate) fn keep_spare(stacks: usize) {
    ARENA.keep_spare(stacks);
}

/// How many stacks there can be, if guards limit their number.
pub(crate) fn most() -> Option<usize> {
    ARENA.guards().most()
}

/// A stack with at least `usable` bytes between `lo` and `hi`; 0 gives the smallest there is. The memory is zero.
pub(crate) fn alloc(usable: usize) -> Result<Slot, AllocError> {
    ARENA.alloc(usable)
}

/// Bytes of the slot that a stack of `usable` bytes gets, guard included.
pub(crate) fn slot_bytes(usable: usize) -> Result<usize, AllocError> {
    arena::slot_bytes(usable)
}

/// A free stack that is larger than one of `usable` bytes would be and has its guard already: for when no guard is to be had.
pub(crate) fn alloc_larger(usable: usize) -> Option<Slot> {
    ARENA.alloc_larger(usable)
}

/// Makes sure of `stacks` stacks of `usable` bytes in all, those that exist included, of a size that is only ever asked for
/// within what was ensured. Returns how many there are, which may be more.
///
/// Address space is reserved, and guards that take mappings are made. What can still fail later is memory.
pub(crate) fn ensure(usable: usize, stacks: usize) -> Result<usize, AllocError> {
    ARENA.ensure(usable, stacks)
}

/// Gives a slot's memory back to the kernel, and the slot to the next [`alloc`] of its size.
///
/// # Safety
/// The slot came from [`alloc`], is released once, and nothing runs on it or refers to its memory.
pub(crate) unsafe fn release(slot: Slot) {
    // SAFETY: the caller's promise; all slots that `alloc` hands out come from this arena.
    unsafe { ARENA.release(slot) }
}

/// The slot that an address lies in, and whether it lies in its guard; `None` for addresses in no slot that was ever
/// handed out. Lock-free, async-signal-safe; linear in the number of chunks (one per GiB of stacks).
pub(crate) fn find(addr: usize) -> Option<(Slot, bool)> {
    ARENA.find(addr)
}

/// Calls `f` for every slot that was ever handed out, whether in use now or not. Lock-free; slots that are handed out for
/// the first time meanwhile may be missed.
pub(crate) fn for_each_slot(f: &mut dyn FnMut(&Slot)) {
    ARENA.for_each_slot(f);
}

/// Gives all address space back, wait words and side records included.
///
/// # Safety
/// No slot is in use, nobody looks at one or at its wait word any more, and none is asked for.
pub(crate) unsafe fn unload() {
    // SAFETY: the caller's promise, passed on.
    unsafe { ARENA.unload() };
}

/// The thread pointer of the identity on the stack that a wait word belongs to.
pub(crate) fn tp_of(wait: &'static AtomicU64) -> usize {
    // SAFETY: wait words are handed out by `Slot` only, and are the first field of the slot's side record, which is never
    // unmapped.
    unsafe { (*(&raw const *wait).cast::<Side>()).tp.load(Ordering::Acquire) }
}

/// Calls `f` with the thread pointer of every identity on a stack.
pub(crate) fn for_each_tp(f: &mut dyn FnMut(usize)) {
    for_each_slot(&mut |slot| {
        if let Some(tp) = slot.tp() {
            f(tp);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_wide_arena() {
        init(None);
        let slot = alloc(0).unwrap();
        assert_eq!(find(slot.lo as usize).map(|(s, guard)| (s.index, guard)), Some((slot.index, false)));
        let mut seen = 0;
        for_each_slot(&mut |s| seen += usize::from(s.index == slot.index));
        assert_eq!(seen, 1);
        // SAFETY: allocated above, unused since.
        unsafe { release(slot) };
        assert_eq!(alloc(DEFAULT_USABLE).unwrap().usable(), DEFAULT_USABLE);
    }
}
