//! Handles: numbers that C holds, and what they stand for.
//!
//! C may use a handle after it was joined or freed, twice at once, or one that was never given out, and must get a code. So a
//! handle is no address. It says in which slot to look, and the how manieth inhabitant of the slot is meant:
//!
//! ```text
//!   handle   kind (2 bits) | generation (38) | slot (24)
//!   state    generation (38) | LIVE (1) | references (25)          one word a slot
//! ```
//!
//! * [`Table::get`] takes a reference by compare-and-swap, if the generation is the handle's and LIVE is set.
//! * [`Table::remove`] takes LIVE away, and the reference that goes with it: from then on nobody gets one.
//! * Whoever gives the last reference back drops the value, raises the generation and puts the slot on the list of free ones.
//!   Nobody else can be there: without LIVE and references no compare-and-swap succeeds.
//!
//! A slot's generations are used up after 2^38 inhabitants; then they begin again.
//!
//! # Signal handlers
//! `unpark` is called in them, so `get` neither waits nor allocates, and [`Ref::give_back_quietly`] leaves the value where it
//! is, for the slot's next inhabitant to drop. Everything here is lock-free, since a handler may have interrupted anything; and
//! slots are never freed, so a look at one that has been removed is a look at memory. The list of free slots carries a count in
//! its head, by which a `pop` notices that the head was away meanwhile.

use core::cell::UnsafeCell;
use core::mem::ManuallyDrop;
use core::ops::Deref;
use core::ptr;
use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};

const SLOT_BITS: u32 = 24;
const GENERATION_BITS: u32 = 38;
const GENERATIONS: u64 = (1 << GENERATION_BITS) - 1;
const LIVE: u64 = 1 << 25;
const REFERENCES: u64 = LIVE - 1;
const STATE_BITS: u32 = 26;

/// Slots of the first chunk; each further one has twice as many.
const FIRST: u32 = 64;
const CHUNKS: usize = (SLOT_BITS - FIRST.trailing_zeros()) as usize;

struct Slot<T> {
    state: AtomicU64,
    /// In the list of free slots: the next one's index + 1, or 0.
    next: AtomicU32,
    value: UnsafeCell<Option<T>>,
}

impl<T> Slot<T> {
    const fn new() -> Slot<T> {
        Slot { state: AtomicU64::new(1 << STATE_BITS), next: AtomicU32::new(0), value: UnsafeCell::new(None) }
    }
}

/// See the module's head.
pub(crate) struct Table<T> {
    kind: u64,
    chunks: [AtomicPtr<Slot<T>>; CHUNKS],
    /// Slots that have ever been used.
    used: AtomicU32,
    /// The list of free slots: count of changes (32 bits) | index + 1 of the first (32 bits).
    free: AtomicU64,
}

// SAFETY: a value is written by the only one who has its slot, and afterwards shared until the last reference is gone, by
// whose holder, on whatever thread, it is dropped.
unsafe impl<T: Send + Sync> Sync for Table<T> {}

/// A reference to what a handle stands for.
pub(crate) struct Ref<'a, T> {
    table: &'a Table<T>,
    slot: &'a Slot<T>,
    index: u32,
}

impl<T> Table<T> {
    /// A table whose handles are of a `kind` of their own, 0 to 3.
    pub(crate) const fn new(kind: u64) -> Table<T> {
        Table {
            kind,
            chunks: [const { AtomicPtr::new(ptr::null_mut()) }; CHUNKS],
            used: AtomicU32::new(0),
            free: AtomicU64::new(0),
        }
    }

    /// The handle of a new value, never 0; None if all handles are in use.
    pub(crate) fn insert(&self, value: T) -> Option<u64> {
        let (index, slot) = self.pop().or_else(|| self.unused())?;
        let generation = slot.state.load(Ordering::Relaxed) >> STATE_BITS;
        // SAFETY: the slot is in no list, and not LIVE: it is ours alone.
        let left_behind = unsafe { (*slot.value.get()).replace(value) };
        // Release: the value, for `get`.
        slot.state.store(generation << STATE_BITS | LIVE | 1, Ordering::Release);
        drop(left_behind);
        Some(self.kind << (SLOT_BITS + GENERATION_BITS) | generation << SLOT_BITS | u64::from(index))
    }

    /// What the handle stands for. Async-signal-safe.
    pub(crate) fn get(&self, handle: u64) -> Option<Ref<'_, T>> {
        let (index, slot, generation) = self.find(handle)?;
        let mut state = slot.state.load(Ordering::Relaxed);
        loop {
            let full = state & REFERENCES == REFERENCES;
            if state >> STATE_BITS != generation || state & LIVE == 0 || full {
                return None;
            }
            // Acquire: the value.
            match slot.state.compare_exchange_weak(state, state + 1, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return Some(Ref { table: self, slot, index }),
                Err(now) => state = now,
            }
        }
    }

    /// Ends the handle. The value goes with the last reference. False: it stands for nothing.
    pub(crate) fn remove(&self, handle: u64) -> bool {
        let Some((index, slot, generation)) = self.find(handle) else { return false };
        let mut state = slot.state.load(Ordering::Relaxed);
        loop {
            if state >> STATE_BITS != generation || state & LIVE == 0 {
                return false;
            }
            match slot.state.compare_exchange_weak(state, state & !LIVE, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => break,
                Err(now) => state = now,
            }
        }
        drop(Ref { table: self, slot, index }); // that of LIVE
        true
    }

    fn find(&self, handle: u64) -> Option<(u32, &Slot<T>, u64)> {
        if handle >> (SLOT_BITS + GENERATION_BITS) != self.kind {
            return None;
        }
        let index = (handle & ((1 << SLOT_BITS) - 1)) as u32;
        Some((index, self.slot(index)?, handle >> SLOT_BITS & GENERATIONS))
    }

    /// The slot of this number, if its chunk has been made.
    fn slot(&self, index: u32) -> Option<&Slot<T>> {
        let (chunk, offset) = place(index);
        // Acquire: the slots as they were made.
        let chunk = self.chunks.get(chunk)?.load(Ordering::Acquire);
        // SAFETY: a chunk is null or has all slots that `place` may name, for ever.
        (!chunk.is_null()).then(|| unsafe { &*chunk.add(offset) })
    }

    /// A slot that nobody has had.
    fn unused(&self) -> Option<(u32, &Slot<T>)> {
        let take = |used: u32| (used < FIRST * ((1 << CHUNKS) - 1)).then_some(used + 1);
        let index = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).ok()?;
        let chunk = place(index).0;
        if self.chunks[chunk].load(Ordering::Acquire).is_null() {
            let slots: Box<[Slot<T>]> = (0..FIRST << chunk).map(|_| Slot::new()).collect();
            let slots = Box::into_raw(slots);
            let first = slots.cast::<Slot<T>>();
            let won = self.chunks[chunk].compare_exchange(ptr::null_mut(), first, Ordering::Release, Ordering::Relaxed);
            if won.is_err() {
                // SAFETY: it came from `into_raw` just now, and nobody has seen it.
                drop(unsafe { Box::from_raw(slots) });
            }
        }
        Some((index, self.slot(index).expect("its chunk is there")))
    }

    fn pop(&self) -> Option<(u32, &Slot<T>)> {
        let mut head = self.free.load(Ordering::Acquire);
        loop {
            let index = (head as u32).checked_sub(1)?;
            let slot = self.slot(index).expect("it has been used");
            let next = slot.next.load(Ordering::Relaxed);
            match self.free.compare_exchange_weak(head, after(head, next), Ordering::Acquire, Ordering::Acquire) {
                Ok(_) => return Some((index, slot)),
                Err(now) => head = now,
            }
        }
    }

    fn push(&self, index: u32, slot: &Slot<T>) {
        let mut head = self.free.load(Ordering::Relaxed);
        loop {
            slot.next.store(head as u32, Ordering::Relaxed);
            // Release: the link, and what was done with the slot.
            match self.free.compare_exchange_weak(head, after(head, index + 1), Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }
}

/// The head of the list after a change of `head`, with `first` in front.
fn after(head: u64, first: u32) -> u64 {
    ((head >> 32).wrapping_add(1) << 32) | u64::from(first)
}

/// The chunk of a slot, and its place there.
fn place(index: u32) -> (usize, usize) {
    let chunk = (index / FIRST + 1).ilog2();
    (chunk as usize, (index - FIRST * ((1 << chunk) - 1)) as usize)
}

impl<T> Ref<'_, T> {
    /// Gives the reference back. True: it was the last, and the slot is the caller's.
    fn give_back(&self) -> bool {
        // AcqRel: what was done with the value comes before its end.
        self.slot.state.fetch_sub(1, Ordering::AcqRel) & (LIVE | REFERENCES) == 1
    }

    /// Makes the slot, which is the caller's, a free one.
    fn retire(&self) {
        let generation = self.slot.state.load(Ordering::Relaxed) >> STATE_BITS;
        let next = if generation == GENERATIONS { 1 } else { generation + 1 };
        self.slot.state.store(next << STATE_BITS, Ordering::Relaxed);
        self.table.push(self.index, self.slot);
    }

    /// Gives the reference back in a signal handler: if it is the last one, the value stays until the slot is used again.
    pub(crate) fn give_back_quietly(self) {
        let this = ManuallyDrop::new(self);
        if this.give_back() {
            this.retire();
        }
    }
}

impl<T> Deref for Ref<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: while there is a reference the value is there, and only shared.
        unsafe { (*self.slot.value.get()).as_ref() }.expect("a slot with references has a value")
    }
}

impl<T> Drop for Ref<'_, T> {
    fn drop(&mut self) {
        if self.give_back() {
            // SAFETY: the slot is ours, without LIVE or references.
            let value = unsafe { (*self.slot.value.get()).take() };
            self.retire();
            drop(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::thread;

    #[test]
    fn a_handle_ends_once_and_its_value_with_the_last_reference() {
        let table = Table::new(2);
        let value = Arc::new(());
        let handle = table.insert(value.clone()).unwrap();
        let reference = table.get(handle).unwrap();
        assert!(table.remove(handle));
        assert!(!table.remove(handle));
        assert!(table.get(handle).is_none());
        assert_eq!(Arc::strong_count(&value), 2);
        drop(reference);
        assert_eq!(Arc::strong_count(&value), 1);
        let next = table.insert(value.clone()).unwrap();
        assert_ne!(next, handle, "the slot's next inhabitant");
        assert_eq!(next & 0xff_ffff, handle & 0xff_ffff);
        assert!(table.get(handle).is_none() && table.get(next).is_some());
    }

    #[test]
    fn what_was_never_given_out_stands_for_nothing() {
        let (table, other) = (Table::new(1), Table::new(2));
        let handle = table.insert(()).unwrap();
        other.insert(()).unwrap();
        assert!(other.get(handle).is_none(), "of another kind");
        for wrong in [0, 1, u64::MAX, handle + 1, handle - 1, handle | 0xff_ffff, handle + (1 << SLOT_BITS)] {
            assert!(table.get(wrong).is_none() && !table.remove(wrong), "{wrong:#x}");
        }
    }

    #[test]
    fn a_reference_given_back_quietly_leaves_the_value_to_the_next() {
        let table = Table::new(1);
        let value = Arc::new(());
        let handle = table.insert(value.clone()).unwrap();
        let reference = table.get(handle).unwrap();
        assert!(table.remove(handle));
        reference.give_back_quietly();
        assert_eq!(Arc::strong_count(&value), 2);
        table.insert(Arc::new(())).unwrap();
        assert_eq!(Arc::strong_count(&value), 1);
    }

    #[test]
    fn places() {
        assert_eq!([0, 63, 64, 191, 192].map(place), [(0, 0), (0, 63), (1, 0), (1, 127), (2, 0)]);
        assert_eq!(place(FIRST * ((1 << CHUNKS) - 1) - 1).0, CHUNKS - 1);
    }

    #[test]
    fn many_threads_take_give_and_remove() {
        let table = &Table::new(3);
        let value = &Arc::new(());
        thread::scope(|s| {
            for _ in 0..4 {
                s.spawn(move || {
                    for round in 0..200 {
                        let handles: Vec<u64> = (0..40).map(|_| table.insert(value.clone()).unwrap()).collect();
                        for handle in &handles {
                            let reference = table.get(*handle).unwrap();
                            assert!(table.remove(*handle));
                            if round % 2 == 0 {
                                reference.give_back_quietly();
                            }
                        }
                        assert!(handles.iter().all(|handle| table.get(*handle).is_none()));
                    }
                });
            }
        });
        assert!(table.used.load(Ordering::Relaxed) <= 160, "slots are used again");
    }
}
