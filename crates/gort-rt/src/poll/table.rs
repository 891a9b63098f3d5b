//! The table of descriptors: a record for each number, found by an index, without a lock.
//!
//! Chunks of records are mapped when a number in them is first waited for, and given back when the library goes. The table has room for
//! 4 million numbers, four times the kernel's usual limit; larger ones are not pollable.

use super::desc::Desc;
use crate::atomic::{AtomicPtr, Ordering};
use crate::os;
use core::ffi::c_int;
use core::mem::size_of;
use core::ptr;

const CHUNK: usize = 512;
const CHUNKS: usize = 1 << 13;

static TABLE: [AtomicPtr<Desc>; CHUNKS] = [const { AtomicPtr::new(ptr::null_mut()) }; CHUNKS];

/// The record of a number, if its chunk exists.
#[inline]
pub(super) fn find(fd: c_int) -> Option<&'static Desc> {
    let index = usize::try_from(fd).ok()?;
    // Acquire: the mapping, made by whoever stored the pointer.
    let chunk = TABLE.get(index / CHUNK)?.load(Ordering::Acquire);
    // SAFETY: a chunk holds CHUNK records, zeroed, which is how a new one looks, and lives for ever.
    (!chunk.is_null()).then(|| unsafe { &*chunk.add(index % CHUNK) })
}

/// The record of a number. None: out of range, or no memory.
#[inline]
pub(super) fn get(fd: c_int) -> Option<&'static Desc> {
    find(fd).or_else(|| make(fd))
}

#[cold]
fn make(fd: c_int) -> Option<&'static Desc> {
    let slot = TABLE.get(usize::try_from(fd).ok()? / CHUNK)?;
    let fresh = os::mem::reserve(bytes()).ok()?;
    // Release: see `find`.
    if slot.compare_exchange(ptr::null_mut(), fresh.cast(), Ordering::AcqRel, Ordering::Acquire).is_err() {
        // SAFETY: somebody else was first, so nobody knows this one.
        unsafe { os::mem::unreserve(fresh, bytes()) };
    }
    find(fd)
}

/// Bytes of a chunk.
fn bytes() -> usize {
    (CHUNK * size_of::<Desc>()).next_multiple_of(os::mem::page_size())
}

/// Gives all records back.
///
/// # Safety
/// Nobody looks at one any more.
pub(super) unsafe fn unload() {
    for chunk in &TABLE {
        let records = chunk.swap(ptr::null_mut(), Ordering::Relaxed);
        if !records.is_null() {
            // SAFETY: `make` reserved it, and the caller's promise. (Records own nothing.)
            unsafe { os::mem::unreserve(records.cast(), bytes()) };
        }
    }
}

/// Calls `f` for each record that exists, with its number.
pub(super) fn for_each(mut f: impl FnMut(c_int, &'static Desc)) {
    for (i, chunk) in TABLE.iter().enumerate() {
        let chunk = chunk.load(Ordering::Acquire);
        if chunk.is_null() {
            continue;
        }
        for j in 0..CHUNK {
            // SAFETY: as in `find`.
            f((i * CHUNK + j) as c_int, unsafe { &*chunk.add(j) });
        }
    }
}
