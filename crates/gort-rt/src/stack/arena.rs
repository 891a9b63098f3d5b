//! The arena: address space in chunks, chunks in slots, free slots in lists.
//!
//! # Layout
//!
//! Slots come in classes, one per power of two from 32 KiB to 64 GiB. A class takes address space a *chunk* at a time: a
//! GiB in one class, cut into slots of one size; less when the process may not have that much, and a single slot when the
//! slot itself is a GiB or more. Chunks start at multiples of 2 MiB, so that no two share a page table.
//!
//! Each chunk has a mapping of its own for what must survive the slots: a [`Chunk`] record and one [`Side`] record per
//! slot, a cache line each, so that waking one goroutine does not slow its neighbour's processor. A page of side memory
//! is taken up when the first of its 64 slots is.
//!
//! # Sharing
//!
//! * A class's lock protects its free list (through `Side::next`), its current chunk, and `Chunk::used` of that chunk.
//! * The table's lock protects appending to the chunk table. Order: class, then table.
//! * Readers ([`Arena::find`], [`Arena::for_each_slot`]) take no lock: the table's length is stored (Release) after the
//!   entry, `used` after the side record is filled in, and neither chunks nor records ever go away.
//!
//! # Life of a slot
//!
//! Fresh slots are cut off the current chunk, lowest first. The guard is installed when the slot is first handed out,
//! outside the lock, since that is a system call. A slot whose guard failed goes to the free list like any other, and
//! `tp` says that it still has none. Free lists are last in, first out, for the page tables' and caches' sake.

use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, AtomicUsize};

use super::error::AllocError;
use super::guard::Guards;
use super::{Slot, GUARD};
use crate::arch::valgrind;
use crate::os::mem;
use crate::sync::rawmutex::RawMutex;

/// Smallest and largest slot, as powers of two.
const MIN_SHIFT: u32 = 15;
const MAX_SHIFT: u32 = 36;
const CLASSES: usize = (MAX_SHIFT - MIN_SHIFT + 1) as usize;

/// Bytes of the largest slot, guard included.
pub(super) const MAX_SLOT: usize = 1 << MAX_SHIFT;

/// Bytes of a chunk, unless a slot needs more or the process may have only less.
pub(super) const CHUNK: usize = 1 << 30;

/// Alignment of chunks: what one page of the last level of page tables covers.
const CHUNK_ALIGN: usize = 2 << 20;

/// Most chunks. Full chunks of the default class hold 33 million stacks.
const MAX_CHUNKS: usize = 8192;

/// Bound on slot numbers.
const MAX_SLOTS: u32 = 1 << 29;

/// What is known of a slot besides its address. All zero before the first use.
#[repr(C)]
pub(super) struct Side {
    wait: AtomicU64,
    /// The chunk that the slot is of. Written before the slot is first handed out, constant after that.
    chunk: AtomicPtr<Chunk>,
    /// The next free slot of the class, while this one is free. Under the class's lock.
    next: AtomicPtr<Side>,
    /// The thread pointer of the identity at the slot's top; [`UNGUARDED`] until the guard is in place, [`BARE`] while
    /// there is no identity.
    pub(super) tp: AtomicUsize,
}

/// Guards kept back from promises, for stacks of goroutines that are dead and pooled.
const SPARE_GUARDS: usize = 512;

/// See [`Side::tp`].
const UNGUARDED: usize = 0;
/// See [`Side::tp`].
pub(super) const BARE: usize = 1;

/// A run of equal slots. Constant but for `used`.
#[repr(C, align(64))]
struct Chunk {
    /// Address of the first slot.
    base: *mut u8,
    /// The side records, `count` of them.
    sides: *const Side,
    /// Bytes per slot, as a power of two.
    shift: u32,
    count: u32,
    /// Number of the first slot.
    first_index: u32,
    /// How many slots have been handed out at least once; the rest is fresh.
    used: AtomicU32,
}

// SAFETY: the pointers are constant and lead to memory that is never unmapped; side records are atomics, and slots are
// touched by their holders only. `used` is an atomic.
unsafe impl Sync for Chunk {}

impl Chunk {
    /// The record of slot `n`, which must be below `count`.
    fn side(&'static self, n: u32) -> &'static Side {
        assert!(n < self.count);
        // SAFETY: `sides` points at `count` records that are never unmapped, and zero is a valid record.
        unsafe { &*self.sides.add(n as usize) }
    }

    fn slot(&'static self, n: u32) -> Slot {
        let side = self.side(n);
        let start = self.base.wrapping_add((n as usize) << self.shift);
        Slot {
            lo: start.wrapping_add(GUARD),
            hi: start.wrapping_add(1 << self.shift),
            index: self.first_index + n,
            wait: &side.wait,
            side,
        }
    }

    /// The slot that an address lies in, if it has ever been handed out, and whether the address is in its guard.
    fn find(&'static self, addr: usize) -> Option<(Slot, bool)> {
        let offset = addr.checked_sub(self.base as usize)?;
        let n = offset >> self.shift;
        (n < self.used.load(Acquire) as usize).then(|| (self.slot(n as u32), offset - (n << self.shift) < GUARD))
    }
}

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
        }
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
            slot.side.tp.store(BARE, Relaxed);
            valgrind::stack_register(slot.lo, slot.hi);
        }
        Ok(slot)
    }

    /// See [`super::release`].
    ///
    /// # Safety
    /// The slot came from this arena's `alloc`, is released once, and nothing runs on it or refers to its memory.
    pub(super) unsafe fn release(&'static self, slot: Slot) {
        // SAFETY: the caller promises that the contents are dead; the range is all of the slot but its guard.
        unsafe {
            if mem::release_pages(slot.lo, slot.usable()).is_err() {
                // Memory that the application has locked cannot be given back, but must read as zero all the same.
                slot.lo.write_bytes(0, slot.usable());
            }
        }
        // SAFETY: every slot that was handed out has its chunk noted, and chunks are never unmapped.
        let chunk = unsafe { &*slot.side.chunk.load(Relaxed) };
        self.put(chunk.shift, slot.side);
    }

    /// See [`super::ensure`].
    pub(super) fn ensure(&'static self, usable: usize, stacks: usize) -> Result<usize, AllocError> {
        let shift = shift_for(usable)?;
        // Guards of other classes' stacks, and of bodies that lie dead where this P cannot reach them.
        let own: usize = self.chunks().filter(|c| c.shift == shift).map(|c| c.used.load(Relaxed) as usize).sum();
        let others = self.stacks() - own + SPARE_GUARDS;
        let guards = self.guards.capacity(stacks + others)?;
        let _supply = self.class(shift).lock();
        loop {
            let room: usize = self.chunks().filter(|c| c.shift == shift).map(|c| c.count as usize).sum();
            if room >= stacks {
                return Ok(if guards == usize::MAX { room } else { stacks });
            }
            self.grow(shift)?;
        }
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

    /// A slot of a class: the one freed last, or a fresh one.
    fn take(&'static self, shift: u32) -> Result<Slot, AllocError> {
        let mut supply = self.class(shift).lock();
        if let Some(side) = supply.free {
            // SAFETY: `next` is null or a record that `put` stored, and records are never unmapped.
            supply.free = unsafe { side.next.load(Relaxed).as_ref() };
            drop(supply);
            // SAFETY: every slot that was handed out has its chunk noted, and chunks are never unmapped.
            let chunk = unsafe { &*side.chunk.load(Relaxed) };
            // SAFETY: both point into the array of side records of that chunk.
            let n = unsafe { (side as *const Side).offset_from(chunk.sides) };
            return Ok(chunk.slot(n as u32));
        }
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
        chunk.side(n).chunk.store((&raw const *chunk).cast_mut(), Relaxed);
        chunk.used.store(n + 1, Release);
        drop(supply);
        Ok(chunk.slot(n))
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
            match map_chunk(bytes, shift, first_index) {
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

/// The class for a stack of `usable` bytes, as a power of two.
fn shift_for(usable: usize) -> Result<u32, AllocError> {
    match usable.checked_add(GUARD) {
        Some(total) if total <= MAX_SLOT => Ok(total.next_power_of_two().trailing_zeros().max(MIN_SHIFT)),
        _ => Err(AllocError::TooLarge { usable }),
    }
}

/// Reserves a chunk of `bytes` and its side memory; an errno if either is not to be had.
fn map_chunk(bytes: usize, shift: u32, first_index: u32) -> Result<&'static Chunk, i32> {
    let count = bytes >> shift;
    let side_len = (size_of::<Chunk>() + count * size_of::<Side>()).next_multiple_of(mem::page_size());
    let side = mem::reserve(side_len)?;
    let base = reserve_aligned(bytes).inspect_err(|_| {
        // SAFETY: reserved above, and nobody knows it.
        unsafe { mem::unreserve(side, side_len) }
    })?;
    let record = side.cast::<Chunk>();
    // SAFETY: the mapping is page-aligned and large enough for the record and `count` side records behind it, which start
    // at a multiple of their alignment because the record's size is one of its own, the same. It is never unmapped.
    unsafe {
        let sides = record.add(1).cast::<Side>();
        record.write(Chunk { base, sides, shift, count: count as u32, first_index, used: AtomicU32::new(0) });
        Ok(&*record)
    }
}

const _: () = assert!(size_of::<Chunk>().is_multiple_of(align_of::<Side>()));

/// Reserves `bytes` from a multiple of [`CHUNK_ALIGN`] on.
fn reserve_aligned(bytes: usize) -> Result<*mut u8, i32> {
    let len = bytes + CHUNK_ALIGN;
    let start = mem::reserve(len)?;
    let before = start.align_offset(CHUNK_ALIGN);
    let after = len - before - bytes;
    // SAFETY: the parts in front of and behind the aligned range belong to the reservation just made and are unused.
    unsafe {
        if before > 0 {
            mem::unreserve(start, before);
        }
        if after > 0 {
            mem::unreserve(start.add(before + bytes), after);
        }
        Ok(start.add(before))
    }
}

#[cfg(test)]
#[path = "arena_tests.rs"]
mod tests;
