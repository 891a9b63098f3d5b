//! The ring: a P's queue of goroutines that are ready.
//!
//! 256 slots, one producer (the M that holds the P), any number of consumers. `tail` is written by the producer only.
//! `head` is advanced by compare-and-swap, by the owner for one goroutine and by a thief for half of them.
//!
//! # Why each goroutine is taken once
//! * *Never twice.* Who advances `head` from h to h + n takes what stood in the slots h … h + n − 1, and the
//!   compare-and-swap succeeds for one of those who read h. A thief copies the pointers out before it, and throws the
//!   copies away when it fails.
//! * *Never something else.* While `head` is h the producer cannot have overwritten slot h: it never lets `tail - head`
//!   exceed the ring's size, and the `head` that it knows is h or older. When it knows of a newer one (acquire) then the
//!   consumer that advanced it (release) has read its slots before. The counts are taken modulo 2^32, and `head` cannot
//!   come round while a thief copies.
//! * *Never before it is there.* A consumer that sees `tail` (acquire) sees the slots below it and the goroutines' state,
//!   which the producer wrote before it stored `tail` (release).
//! * *None is forgotten.* What was put stays between `head` and `tail` until somebody takes it, and the owner, who reads
//!   its own `tail`, does so when it looks for work.

use crate::atomic::{bound, AtomicPtr, AtomicU32, Ordering};
use core::ptr;
use crossbeam_utils::CachePadded;

/// Goroutines that a ring holds; a power of two.
pub(crate) const RING: u32 = bound(256, 2) as u32;

/// See the module's head.
pub(crate) struct Ring<T> {
    head: CachePadded<AtomicU32>,
    tail: CachePadded<AtomicU32>,
    slots: [AtomicPtr<T>; RING as usize],
}

impl<T> Ring<T> {
    pub(crate) const fn new() -> Ring<T> {
        Ring {
            head: CachePadded::new(AtomicU32::new(0)),
            tail: CachePadded::new(AtomicU32::new(0)),
            slots: [const { AtomicPtr::new(ptr::null_mut()) }; RING as usize],
        }
    }

    #[inline]
    fn slot(&self, i: u32) -> &AtomicPtr<T> {
        &self.slots[(i % RING) as usize]
    }

    /// How many are in the ring; exact for the owner, a moment's value for others, for whom it may wrap round below zero.
    #[inline]
    pub(crate) fn len(&self) -> u32 {
        let head = self.head.load(Ordering::Relaxed);
        self.tail.load(Ordering::Relaxed).wrapping_sub(head)
    }

    /// Owner: appends `task`. False: the ring is full.
    #[inline]
    #[must_use]
    pub(crate) fn put(&self, task: *const T) -> bool {
        // Acquire: consumers have finished reading the slots that they gave free.
        let head = self.head.load(Ordering::Acquire);
        let tail = self.tail.load(Ordering::Relaxed);
        if tail.wrapping_sub(head) >= RING {
            return false;
        }
        self.slot(tail).store(task.cast_mut(), Ordering::Relaxed);
        // Release: consumers that see the new tail see the slot and the goroutine's state.
        self.tail.store(tail.wrapping_add(1), Ordering::Release);
        true
    }

    /// Owner: takes the first.
    #[inline]
    pub(crate) fn get(&self) -> Option<*const T> {
        let mut head = self.head.load(Ordering::Acquire);
        loop {
            let tail = self.tail.load(Ordering::Relaxed);
            if tail == head {
                return None;
            }
            let task = self.slot(head).load(Ordering::Relaxed);
            // AcqRel: take the goroutine over; show the slot free to our own `put`.
            match self.head.compare_exchange_weak(head, head.wrapping_add(1), Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Some(task),
                Err(now) => head = now,
            }
        }
    }

    /// Anybody: takes half of what there is, rounded up, and hands each to `each` in order. None: there was nothing.
    pub(crate) fn grab(&self, each: &mut dyn FnMut(*const T)) -> Option<u32> {
        let mut copy = [ptr::null_mut::<T>(); (RING / 2) as usize];
        loop {
            // Acquire on both: see the slots below `tail`, and not an older `tail` than the `head` read before it.
            let head = self.head.load(Ordering::Acquire);
            let tail = self.tail.load(Ordering::Acquire);
            let len = tail.wrapping_sub(head);
            if len as i32 <= 0 {
                return None;
            }
            let n = len - len / 2;
            if n > RING / 2 {
                continue; // head and tail were read at different moments
            }
            for i in 0..n {
                copy[i as usize] = self.slot(head.wrapping_add(i)).load(Ordering::Relaxed);
            }
            if self.head.compare_exchange(head, head.wrapping_add(n), Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                copy[..n as usize].iter().for_each(|task| each(*task));
                return Some(n);
            }
        }
    }
}
