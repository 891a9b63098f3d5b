//! What libc keeps in a dead block, handed on to the next new one.
//!
//! Libc's own thread-local variables lead to what only the end of a real thread would free: malloc's cache with the chunks in
//! it, the arena that the thread is attached to, the text of the last loader error. When a block goes these words are copied
//! into a small record, the *estate*, and the next block that is built begins with them in place of empty ones. So a program
//! that is now and then very busy has as many caches as it once had goroutines at a time, and not one more for each time.
//!
//! To libc that is what it sees when a block is reused: a thread that goes on with the caches it has. One thing differs, the
//! address of the words. None of libc's variables is known elsewhere by its address; those that hold an address in their own
//! block (the resolver's state lies in it) are moved along.
//!
//! The resolver's state itself lies outside of libc's variables. It is closed by libc's public function for that.

use core::ffi::{c_int, c_void};
use core::{mem, ptr};
use std::alloc::{GlobalAlloc, Layout, System};

use super::glibc::{Glibc, Resolver};
use super::modules::Share;
use crate::arch;
use crate::chaos::{happens, Whim};
use crate::sync::rawmutex::RawMutex;

const WORD: usize = size_of::<usize>();

/// Head of a record; libc's words follow it.
#[repr(C)]
struct Estate {
    next: *mut Estate,
    /// The thread pointer of the block that it was in.
    tp: usize,
}

/// Estates without a block.
struct Heap(*mut Estate);

// SAFETY: what is in the list belongs to the list.
unsafe impl Send for Heap {}

static HEAP: RawMutex<Heap> = RawMutex::new(Heap(core::ptr::null_mut()));

/// Layout of a record for so many words.
fn layout(words: usize) -> Layout {
    Layout::from_size_align(size_of::<Estate>() + words * WORD, align_of::<Estate>()).expect("libc has few variables")
}

/// Keeps what libc has in the block at `tp` for [`inherit`]. Without memory for a record it is lost.
///
/// # Safety
/// `tp` is the thread pointer of a complete block that nobody runs on or ever will again; `share` is libc's share of it.
pub(super) unsafe fn leave(glibc: &Glibc, share: Share, tp: usize) {
    if let Some(resolver) = &glibc.resolver {
        // SAFETY: the caller's promise.
        unsafe { resolver.close(tp) };
    }
    // SAFETY: the layout is not empty; the record is ours, and the words are part of the block.
    unsafe {
        let none = happens(Whim::Estate, None);
        let estate = if none { ptr::null_mut() } else { System.alloc(layout(share.words())).cast::<Estate>() };
        if estate.is_null() {
            return;
        }
        let words = estate.add(1).cast::<usize>();
        words.copy_from_nonoverlapping(share.start(tp), share.words());
        let mut heap = HEAP.lock();
        estate.write(Estate { next: heap.0, tp });
        heap.0 = estate;
    }
}

/// Gives the new block at `tp` the estate that was left last, if there is one.
///
/// # Safety
/// `tp` is the thread pointer of a complete block that nobody has run on; `share` is libc's share of it.
pub(super) unsafe fn inherit(glibc: &Glibc, share: Share, tp: usize) {
    // SAFETY: records in the list are complete, and this one is ours once it is out of it.
    unsafe {
        let mut heap = HEAP.lock();
        let estate = heap.0;
        let Some(record) = estate.as_ref() else { return };
        heap.0 = record.next;
        drop(heap);
        let own = glibc.layout.block(record.tp);
        for i in 0..share.words() {
            let word = estate.add(1).cast::<usize>().add(i).read();
            let word = if own.contains(&word) { word.wrapping_sub(record.tp).wrapping_add(tp) } else { word };
            share.start(tp).add(i).write(word);
        }
        System.dealloc(estate.cast(), layout(share.words()));
    }
}

/// Frees all estates; what malloc's caches in them hold is lost.
///
/// # Safety
/// `share` is libc's share of blocks, and nobody inherits any more.
pub(super) unsafe fn unload(share: Share) {
    let mut estate = mem::replace(&mut HEAP.lock().0, ptr::null_mut());
    while !estate.is_null() {
        // SAFETY: records in the list are complete, and were allocated with this layout.
        unsafe {
            let next = (*estate).next;
            System.dealloc(estate.cast(), layout(share.words()));
            estate = next;
        }
    }
}

impl Resolver {
    /// Closes the state of the resolver that belongs to the block at `tp`, if it has been used.
    ///
    /// # Safety
    /// Nobody runs on the block.
    unsafe fn close(&self, tp: usize) {
        /// The beginning of the public `struct __res_state`; `servers` is 0 until the state is filled in.
        #[repr(C)]
        struct State {
            retransmission: c_int,
            retries: c_int,
            options: core::ffi::c_ulong,
            servers: c_int,
        }
        unsafe extern "C" fn close(resolver: *mut u8) {
            // SAFETY: `Resolver::close` passes itself. libc's first function names the state of the thread pointer that it
            // runs on, the second takes one that is filled in, and frees what it owns.
            unsafe {
                let resolver = &*resolver.cast::<Resolver>();
                let state = (resolver.state)().cast::<State>();
                if !state.is_null() && (*state).servers != 0 {
                    (resolver.close)(state.cast::<c_void>());
                    (*state).servers = 0;
                }
            }
        }
        let this = (&raw const *self).cast_mut().cast();
        // SAFETY: nobody else runs on that base; a null stack means this one; `close` does not unwind, park or switch.
        unsafe { arch::call_on_stack(close, this, core::ptr::null_mut(), tp) };
    }
}
