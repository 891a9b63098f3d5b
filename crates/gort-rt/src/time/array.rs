//! A growable array outside the global allocator.
//!
//! Timers are set inside a goroutine's wait. The program's global allocator may be one that waits too (a lock around
//! another allocator, say), and a goroutine waits for one thing at a time; so the memory comes from the system's allocator,
//! which never parks.

use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;
use core::slice;
use std::alloc::{handle_alloc_error, GlobalAlloc, Layout, System};

/// See the module's head. Like a `Vec`, but it never grows by itself.
pub(super) struct Array<T: Copy> {
    at: NonNull<T>,
    len: usize,
    capacity: usize,
}

// SAFETY: it owns its elements, like a Vec.
unsafe impl<T: Copy + Send> Send for Array<T> {}

impl<T: Copy> Array<T> {
    pub(super) const fn new() -> Array<T> {
        Array { at: NonNull::dangling(), len: 0, capacity: 0 }
    }

    pub(super) fn with_capacity(capacity: usize) -> Array<T> {
        let layout = Layout::array::<T>(capacity).expect("timers fit the address space");
        // SAFETY: the capacity is not zero, and neither is a T's size.
        let at = unsafe { System.alloc(layout) };
        let Some(at) = NonNull::new(at.cast()) else { handle_alloc_error(layout) };
        Array { at, len: 0, capacity }
    }

    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    pub(super) fn is_full(&self) -> bool {
        self.len == self.capacity
    }

    /// Appends an element; there must be room.
    pub(super) fn push(&mut self, value: T) {
        assert!(!self.is_full());
        // SAFETY: `len` is below the capacity.
        unsafe { self.at.add(self.len).write(value) };
        self.len += 1;
    }

    /// Removes element `i` and puts the last one in its place.
    pub(super) fn swap_remove(&mut self, i: usize) -> T {
        let value = self[i];
        self[i] = self[self.len - 1];
        self.len -= 1;
        value
    }

    /// Keeps the elements that `keep` approves of.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(&T) -> bool) {
        let mut kept = 0;
        for i in 0..self.len {
            if keep(&self[i]) {
                self[kept] = self[i];
                kept += 1;
            }
        }
        self.len = kept;
    }

    /// Takes all elements of `other`, for which there must be room.
    pub(super) fn take_all(&mut self, other: &mut Array<T>) {
        other.iter().for_each(|value| self.push(*value));
        other.len = 0;
    }
}

impl<T: Copy> Deref for Array<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: the first `len` elements were written.
        unsafe { slice::from_raw_parts(self.at.as_ptr(), self.len) }
    }
}

impl<T: Copy> DerefMut for Array<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as above.
        unsafe { slice::from_raw_parts_mut(self.at.as_ptr(), self.len) }
    }
}

impl<T: Copy> Drop for Array<T> {
    fn drop(&mut self) {
        if self.capacity > 0 {
            let layout = Layout::array::<T>(self.capacity).expect("it was allocated");
            // SAFETY: allocated by `with_capacity` with this layout.
            unsafe { System.dealloc(self.at.as_ptr().cast(), layout) };
        }
    }
}
