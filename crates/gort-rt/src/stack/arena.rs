//! The arena: address space in chunks, chunks in slots, free slots in lists.
//!
//! # Layout
//!
//! Slots come in classes, one per power of two from 32 KiB to 64 GiB. A class takes address space a *chunk* at a time: a
//! GiB in one class, cut into slots of one size; less when the process may not have that much, and a single slot when the
//! slot itself is a GiB or more. On Linux chunks start at multiples of
//! 2 MiB, so that no two share a page table.
//!
//! Each chunk has a mapping of its own for what must survive the slots: a [`Chunk`] record and one [`Side`] record per
//! slot, a cache line each, so that waking one goroutine does not slow its neighbour's processor. A page of side memory
//! is taken up when the first of its 64 slots is.
//!
//! # Sharing
//!
//! * A class's lock protects its free list (through `Side::next`), its current chunk, `Chunk::used` of that chunk, and
//!   `Chunk::guarded`.
//! * The table's lock protects appending to the chunk table. Order: class, then table.
//! * Readers ([`Arena::find`], [`Arena::for_each_slot`]) take no lock: the table's length is stored (Release) after the
//!   entry, `used` after the side record is filled in, and neither chunks nor records ever go away
//!   ([`Arena::unload`], at the end of the library, has no readers).
//!
//! # Life of a slot
//!
//! Fresh slots are cut off the current chunk, lowest first. The guard is installed when the slot is first handed out,
//! outside the lock, since that is a system call; or, where a guard takes mappings, when the stack is promised
//! ([`Arena::ensure`]), so that the promise can be kept. A slot whose guard failed goes to the free list like any other,
//! and `tp` says that it still has none. Free lists are last in, first out, for the page tables' and caches' sake.

use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicPtr, AtomicUsize};

use super::chunk::{has_room, map_chunk, Chunk, Side, BARE, UNGUARDED};
use super::error::AllocError;
use super::guard::{Guard, Guards};
use super::{Slot, GUARD};
use crate::arch::valgrind;
use crate::chaos::{happens, Whim};
use crate::os::mem;
use crate::sync::rawmutex::RawMutex;

/// Smallest and largest slot, as powers of two.
const MIN_SHIFT: u32 = 15;
const MAX_SHIFT: u32 = 36;
const CLASSES: usize = (MAX_SHIFT - MIN_SHIFT + 1) as usize;

/// Bytes of the smallest slot, guard included.
pub(super) const MIN_SLOT: usize = 1 << MIN_SHIFT;

/// Bytes of the largest slot, guard included.
pub(super) const MAX_SLOT: usize = 1 << MAX_SHIFT;

/// Bytes of a chunk, unless a slot needs more or the process may have only less.
pub(super) const CHUNK: usize = 1 << 30;

/// Bytes of address space that are left to others when there is no room for a whole chunk.
const HEADROOM: usize = 64 << 20;

/// Most chunks. Full chunks of the default class hold 33 million stacks.
const MAX_CHUNKS: usize = 8192;

/// Bound on slot numbers.
const MAX_SLOTS: u32 = 1 << 29;

/// One size of slots.
#[repr(align(64))]
struct Class(RawMutex<Supply>);

struct Supply {
    free: Option<&'static Side>,
    fresh: Option<&'static Chunk>,
}

/// Room for an arena's chunks, in the order in which they were made. Apart from the arena, because a static of zeroes
/// takes no room in the executable.
pub(super) struct Table([AtomicPtr<Chunk>; MAX_CHUNKS]);

impl Table {
    pub(super) const fn new() -> Self {
        Self([const { AtomicPtr::new(core::ptr::null_mut()) }; MAX_CHUNKS])
    }
}

/// Stacks of all sizes. Never dropped: its address space stays reserved.
pub(super) struct Arena {
    guards: Guards,
    chunk_bytes: usize,
    classes: [Class; CLASSES],
    table_lock: RawMutex<()>,
    table: &'static Table,
    chunks: AtomicUsize,
    /// Stacks that are kept back from promises.
    spare: AtomicUsize,
}

impl Arena {
    /// An empty arena that grows by `chunk_bytes`, a power of two, and enters its chunks in a table that no other uses.
    /// For `max_mappings` see [`Guards::new`].
    pub(super) const fn new(chunk_bytes: usize, table: &'static Table, max_mappings: fn() -> Option<usize>) -> Self {
        Self {
            guards: Guards::new(max_mappings),
            chunk_bytes,
            classes: [const { Class(RawMutex::new(Supply { free: None, fresh: None })) }; CLASSES],
            table_lock: RawMutex::new(()),
            table,
            chunks: AtomicUsize::new(0),
            spare: AtomicUsize::new(0),
        }
    }

    /// [`Arena::ensure`] keeps so many stacks back.
    pub(super) fn keep_spare(&self, stacks: usize) {
        self.spare.store(stacks, Relaxed);
    }

    pub(super) fn guards(&self) -> &Guards {
        &self.guards
    }

    /// See [`super::alloc`].
    pub(super) fn alloc(&'static self, usable: usize) -> Result<Slot, AllocError> {
        let shift = shift_for(usable)?;
        let slot = self.take(shift)?;
        if slot.side.tp.load(Relaxed) == UNGUARDED {
            // SAFETY: the guard's range is the low end of a slot that `take` gave to us alone, and that is unused.
            if let Err(error) = unsafe { self.guards.install(slot.lo.wrapping_sub(GUARD)) } {
                self.put(shift, slot.side);
                return Err(error);
            }
            self.guarded(&slot);
        }
        // SAFETY: as above.
        if let Err(errno) = unsafe { mem::commit_stack(slot.lo, slot.hi) } {
            self.put(shift, slot.side);
            return Err(AllocError::NoMemory { errno });
        }
        Ok(slot)
    }

    /// See [`super::alloc_larger`].
    pub(super) fn alloc_larger(&'static self, usable: usize) -> Option<Slot> {
        let shift = shift_for(usable).ok()?;
        (shift + 1..=MAX_SHIFT).find_map(|shift| {
            let slot = self.take_free(shift)?;
            if slot.side.tp.load(Relaxed) == UNGUARDED {
                self.put(shift, slot.side);
                return None;
            }
            // SAFETY: `take_free` gave the slot to us alone, and it is unused.
            if unsafe { mem::commit_stack(slot.lo, slot.hi) }.is_err() {
                self.put(shift, slot.side);
                return None;
            }
            Some(slot)
        })
    }

    /// The slot has its guard, and is about to be handed out for the first time.
    fn guarded(&self, slot: &Slot) {
        slot.side.tp.store(BARE, Relaxed);
        valgrind::stack_register(slot.lo, slot.hi);
    }

    /// See [`super::release`].
    ///
    /// # Safety
    /// The slot came from this arena's `alloc`, is released once, and nothing runs on it or refers to its memory.
    pub(super) unsafe fn release(&'static self, slot: Slot) {
        // SAFETY: the caller promises that the contents are dead; the range is all of the slot but its guard.
        unsafe { mem::empty_stack(slot.lo, slot.hi, happens(Whim::Discard, None)) };
        // SAFETY: every slot that was handed out has its chunk noted, and chunks are never unmapped.
        let chunk = unsafe { &*slot.side.chunk.load(Relaxed) };
        self.put(chunk.shift, slot.side);
    }

    /// See [`super::ensure`].
    pub(super) fn ensure(&'static self, usable: usize, stacks: usize) -> Result<usize, AllocError> {
        let shift = shift_for(usable)?;
        let spare = self.spare.load(Relaxed);
        let wanted = stacks.saturating_add(spare);
        let of_class = || self.chunks().filter(|chunk| chunk.shift == shift);
        let _supply = self.class(shift).lock();
        let room = loop {
            let room: usize = of_class().map(|chunk| chunk.count as usize).sum();
            if room >= wanted {
                break room;
            }
            self.grow(shift)?;
        };
        if self.guards.kind() == Guard::Markers {
            return Ok(room - spare);
        }
        // Each guard takes mappings, of which others may leave too few: those that are promised are made now.
        let mut ready: usize = of_class().map(|chunk| chunk.ready() as usize).sum();
        for chunk in of_class() {
            while ready < wanted && chunk.ready() < chunk.count {
                let n = chunk.ready();
                // SAFETY: the range is the low end of a slot that nobody has been given, and under the lock nobody will be.
                unsafe { self.guards.install(chunk.start(n))? };
                chunk.guarded.store(n + 1, Relaxed);
                ready += 1;
            }
        }
        Ok(ready - spare)
    }

    /// See [`super::find`].
    pub(super) fn find(&self, addr: usize) -> Option<(Slot, bool)> {
        self.chunks().find_map(|chunk| chunk.find(addr))
    }

    /// See [`super::for_each_slot`].
    pub(super) fn for_each_slot(&self, f: &mut dyn FnMut(&Slot)) {
        for chunk in self.chunks() {
            for n in 0..chunk.used.load(Acquire) {
                f(&chunk.slot(n));
            }
        }
    }

    /// How many slots were ever handed out.
    fn stacks(&self) -> usize {
        self.chunks().map(|chunk| chunk.used.load(Relaxed) as usize).sum()
    }

    fn chunks(&self) -> impl Iterator<Item = &'static Chunk> + '_ {
        let published = &self.table.0[..self.chunks.load(Acquire)];
        // SAFETY: entries below the published length were stored before it, and chunks are never unmapped.
        published.iter().map(|entry| unsafe { &*entry.load(Relaxed) })
    }

    /// See [`super::unload`].
    ///
    /// # Safety
    /// As there.
    pub(super) unsafe fn unload(&self) {
        let chunks = self.chunks.swap(0, Relaxed);
        for entry in &self.table.0[..chunks] {
            // SAFETY: entries below the length are chunks, and nobody looks at them any more.
            unsafe { Chunk::unmap(entry.load(Relaxed)) };
        }
        self.guards.forget_reserve();
    }

    /// A slot of a class: the one freed last, or a fresh one.
    fn take(&'static self, shift: u32) -> Result<Slot, AllocError> {
        if let Some(slot) = self.take_free(shift) {
            return Ok(slot);
        }
        let mut supply = self.class(shift).lock();
        let chunk = match supply.fresh {
            Some(chunk) if chunk.used.load(Relaxed) < chunk.count => chunk,
            _ => {
                let reserved = self.chunks().find(|c| c.shift == shift && c.used.load(Relaxed) < c.count);
                let chunk = match reserved {
                    Some(chunk) => chunk,
                    None => self.grow(shift)?,
                };
                *supply.fresh.insert(chunk)
            }
        };
        let n = chunk.used.load(Relaxed);
        let slot = chunk.slot(n);
        slot.side.chunk.store((&raw const *chunk).cast_mut(), Relaxed);
        if n < chunk.guarded.load(Relaxed) {
            self.guarded(&slot);
        }
        chunk.used.store(n + 1, Release);
        drop(supply);
        Ok(slot)
    }

    /// The slot of a class that was freed last.
    fn take_free(&self, shift: u32) -> Option<Slot> {
        let mut supply = self.class(shift).lock();
        let side = supply.free?;
        // SAFETY: `next` is null or a record that `put` stored, and records are never unmapped.
        supply.free = unsafe { side.next.load(Relaxed).as_ref() };
        drop(supply);
        // SAFETY: every slot that was handed out has its chunk noted, and chunks are never unmapped.
        let chunk = unsafe { &*side.chunk.load(Relaxed) };
        // SAFETY: both point into the array of side records of that chunk.
        let n = unsafe { (side as *const Side).offset_from(chunk.sides) };
        Some(chunk.slot(n as u32))
    }

    /// Puts a slot at the head of its class's free list.
    fn put(&self, shift: u32, side: &'static Side) {
        let mut supply = self.class(shift).lock();
        let head = supply.free.map_or(core::ptr::null_mut(), |side| (&raw const *side).cast_mut());
        side.next.store(head, Relaxed);
        supply.free = Some(side);
    }

    fn class(&self, shift: u32) -> &RawMutex<Supply> {
        &self.classes[(shift - MIN_SHIFT) as usize].0
    }

    /// Reserves another chunk and enters it in the table. Called under the class's lock.
    #[cold]
    fn grow(&'static self, shift: u32) -> Result<&'static Chunk, AllocError> {
        let _appending = self.table_lock.lock();
        let position = self.chunks.load(Relaxed);
        let first_index = match position.checked_sub(1) {
            None => 0,
            Some(last) => {
                // SAFETY: entries below the length are chunks that are never unmapped.
                let last = unsafe { &*self.table.0[last].load(Relaxed) };
                last.first_index + last.count
            }
        };
        let slot = 1 << shift;
        let mut bytes = self.chunk_bytes.max(slot);
        if position == MAX_CHUNKS || (bytes >> shift) > (MAX_SLOTS - first_index) as usize {
            return Err(AllocError::TooMany { stacks: self.stacks() });
        }
        let chunk = loop {
            // Once space is short something is left for others: malloc takes it where it can get it, or the program ends.
            let room = if bytes == self.chunk_bytes.max(slot) { Ok(()) } else { has_room(bytes + HEADROOM) };
            match room.and_then(|()| map_chunk(bytes, shift, first_index)) {
                Ok(chunk) => break chunk,
                Err(_) if bytes > slot => bytes /= 2,
                Err(errno) => return Err(AllocError::NoAddressSpace { slot, stacks: self.stacks(), errno }),
            }
        };
        self.table.0[position].store((&raw const *chunk).cast_mut(), Relaxed);
        self.chunks.store(position + 1, Release);
        Ok(chunk)
    }
}

/// See [`super::slot_bytes`].
pub(super) fn slot_bytes(usable: usize) -> Result<usize, AllocError> {
    shift_for(usable).map(|shift| 1 << shift)
}

/// The class for a stack of `usable` bytes, as a power of two.
fn shift_for(usable: usize) -> Result<u32, AllocError> {
    match usable.checked_add(GUARD) {
        Some(total) if total <= MAX_SLOT => Ok(total.next_power_of_two().trailing_zeros().max(MIN_SHIFT)),
        _ => Err(AllocError::TooLarge { usable }),
    }
}

#[cfg(all(test, target_os = "linux"))]
#[path = "arena_tests.rs"]
mod tests;
