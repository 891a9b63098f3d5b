//! A chunk: a run of equal slots, and the records of what must survive them.
//!
//! How chunks are made and shared is argued at the head of `arena`.

use core::ptr;
use core::sync::atomic::Ordering::{Acquire, Relaxed};
use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, AtomicUsize};

use super::{Slot, GUARD};
use crate::chaos::{happens, Whim};
use crate::debug::record::{Name, Record};
use crate::os::{code, mem};

/// What is known of a slot besides its address. All zero before the first use.
#[repr(C, align(64))]
pub(super) struct Side {
    pub(super) wait: AtomicU64,
    /// The chunk that the slot is of. Written before the slot is first handed out, constant after that.
    pub(super) chunk: AtomicPtr<Chunk>,
    /// The next free slot of the class, while this one is free. Under the class's lock.
    pub(super) next: AtomicPtr<Side>,
    /// The thread pointer of the identity at the slot's top; [`UNGUARDED`] until the guard is in place, [`BARE`] while
    /// there is no identity.
    pub(super) tp: AtomicUsize,
    /// What a dump shows of the goroutine on the slot.
    pub(super) record: Record,
}

/// See [`Side::tp`].
pub(super) const UNGUARDED: usize = 0;
/// See [`Side::tp`].
pub(super) const BARE: usize = 1;

/// A run of equal slots. Constant but for `used` and `guarded`.
#[repr(C, align(64))]
pub(super) struct Chunk {
    /// Address of the first slot.
    pub(super) base: *mut u8,
    /// The side records, `count` of them.
    pub(super) sides: *const Side,
    /// Room for the names of goroutines on the slots, `count` of them.
    names: *const Name,
    /// Bytes per slot, as a power of two.
    pub(super) shift: u32,
    pub(super) count: u32,
    /// Number of the first slot.
    pub(super) first_index: u32,
    /// How many slots have been handed out at least once; the rest is fresh.
    pub(super) used: AtomicU32,
    /// Fresh slots below this one have their guards already. Under the class's lock.
    pub(super) guarded: AtomicU32,
}

// SAFETY: the pointers are constant and lead to memory that is never unmapped; side records are atomics, and slots are
// touched by their holders only. `used` is an atomic.
unsafe impl Sync for Chunk {}

impl Chunk {
    /// How many slots have been handed out or are guarded in advance.
    pub(super) fn ready(&self) -> u32 {
        self.used.load(Relaxed).max(self.guarded.load(Relaxed))
    }

    /// The record of slot `n`, which must be below `count`.
    pub(super) fn side(&'static self, n: u32) -> &'static Side {
        assert!(n < self.count);
        // SAFETY: `sides` points at `count` records that are never unmapped, and zero is a valid record.
        unsafe { &*self.sides.add(n as usize) }
    }

    /// Room for the name of the goroutine on the slot that `side` is the record of, a slot of this chunk.
    pub(super) fn name(&'static self, side: &'static Side) -> &'static Name {
        // SAFETY: both point into the array of side records of this chunk.
        let n = unsafe { ptr::from_ref(side).offset_from(self.sides) } as usize;
        assert!(n < self.count as usize);
        // SAFETY: `names` points at `count` rooms that are never unmapped, and zero is a valid room.
        unsafe { &*self.names.add(n) }
    }

    /// The low end of slot `n`, where its guard is.
    pub(super) fn start(&self, n: u32) -> *mut u8 {
        self.base.wrapping_add((n as usize) << self.shift)
    }

    /// Slot `n`, which must be below `count`.
    pub(super) fn slot(&'static self, n: u32) -> Slot {
        let side = self.side(n);
        let start = self.start(n);
        Slot {
            lo: start.wrapping_add(GUARD),
            hi: start.wrapping_add(1 << self.shift),
            index: self.first_index + n,
            wait: &side.wait,
            record: &side.record,
            side,
        }
    }

    /// The slot that an address lies in, if it has ever been handed out, and whether the address is in its guard.
    pub(super) fn find(&'static self, addr: usize) -> Option<(Slot, bool)> {
        let offset = addr.checked_sub(self.base as usize)?;
        let n = offset >> self.shift;
        (n < self.used.load(Acquire) as usize).then(|| (self.slot(n as u32), offset - (n << self.shift) < GUARD))
    }
}

impl Chunk {
    /// Gives the chunk's address space back, and its records.
    ///
    /// # Safety
    /// Nobody knows the chunk any more but the caller, and what is in its slots is dead.
    pub(super) unsafe fn unmap(this: *mut Chunk) {
        // SAFETY: `map_chunk` made both mappings; the record lies in the one that goes last.
        unsafe {
            let Chunk { base, shift, count, .. } = *this;
            mem::unreserve(base, (count as usize) << shift);
            mem::unreserve(this.cast(), side_bytes(count as usize));
        }
    }
}

/// Bytes of the mapping of the records of a chunk with `count` slots.
fn side_bytes(count: usize) -> usize {
    let records = size_of::<Chunk>() + count * (size_of::<Side>() + size_of::<Name>());
    records.next_multiple_of(mem::page_size())
}

/// Whether so many bytes of address space are to be had; an errno if not.
pub(super) fn has_room(bytes: usize) -> Result<(), i32> {
    let start = mem::reserve_stacks(bytes)?;
    // SAFETY: reserved just now, and unused.
    unsafe { mem::unreserve(start, bytes) };
    Ok(())
}

/// Reserves a chunk of `bytes` and its side memory; an errno if either is not to be had.
pub(super) fn map_chunk(bytes: usize, shift: u32, first_index: u32) -> Result<&'static Chunk, i32> {
    if happens(Whim::Map, None) {
        return Err(code::NO_MEMORY);
    }
    let count = bytes >> shift;
    let side_len = side_bytes(count);
    let side = mem::reserve(side_len)?;
    let base = mem::reserve_stacks(bytes).inspect_err(|_| {
        // SAFETY: reserved above, and nobody knows it.
        unsafe { mem::unreserve(side, side_len) }
    })?;
    let record = side.cast::<Chunk>();
    // SAFETY: the mapping is page-aligned and large enough for the record and `count` side records and names behind it, which
    // start at multiples of their alignment because the sizes of what precedes are. It is never unmapped.
    unsafe {
        let sides = record.add(1).cast::<Side>();
        let names = sides.add(count).cast::<Name>();
        let (used, guarded) = (AtomicU32::new(0), AtomicU32::new(0));
        record.write(Chunk { base, sides, names, shift, count: count as u32, first_index, used, guarded });
        Ok(&*record)
    }
}

const _: () = assert!(size_of::<Chunk>().is_multiple_of(align_of::<Side>()));
const _: () = assert!(size_of::<Side>() == 64 && align_of::<Name>() <= align_of::<Side>());
