//! The one thread-local word of the runtime, and the zero block that it points at before there is an M.
//!
//! Every kernel thread and every goroutine has its own copy of the word [`TLS`]. It points at a block of
//! [`TLS_SLOTS`] words:
//!
//! | Who reads | Block | Slot [`SLOT_G`] | Slot [`SLOT_PARK`] |
//! |---|---|---|---|
//! | a thread that has no M | [`ZERO_TLS`], read-only | 0 | 0 |
//! | an M on its native stack | `m.tls` | its g0, or the G of the foreign thread | 0 |
//! | a goroutine | the block in its own G | the G | the G |
//!
//! So [`getg`] is the same two loads everywhere and says "none" without a branch, and a store by code that wrongly
//! believes to have an M faults at once instead of spoiling the block of somebody else. That is the mechanism of Go's
//! change 307872 (`zeroTLS`, `settls`, `m.tls`, and the slot count of six that it names).
//!
//! Because each goroutine has thread-local storage of its own, nobody rewrites the word at a switch: it is written when
//! a goroutine starts, when a thread gets an M and when it leaves it. Compilers may therefore keep the word's address,
//! and its value, over any call.

use crate::atomic::thread_word;
use crate::sched::g::G;
use core::cell::Cell;
use core::ptr;

/// Words in a TLS block.
pub const TLS_SLOTS: usize = 6;
/// The slot that holds the current G, or 0.
pub(crate) const SLOT_G: usize = 0;
/// The slot that holds the current G if it is a goroutine, which may park, else 0. Hooks look here.
pub(crate) const SLOT_PARK: usize = 1;
/// The slot that says which callback is the innermost: its own thread or goroutine looks there; see `ffi::boundary`.
const SLOT_BOUNDARY: usize = 2;

/// The block that the word [`TLS`] of a goroutine or of an M points at.
#[repr(C, align(64))]
pub(crate) struct TlsBlock {
    slots: [Cell<usize>; TLS_SLOTS],
}

impl TlsBlock {
    pub(crate) const fn new() -> Self {
        TlsBlock { slots: [const { Cell::new(0) }; TLS_SLOTS] }
    }

    pub(crate) fn set(&self, slot: usize, value: *const G) {
        self.slots[slot].set(value as usize);
    }

    /// The address of the innermost callback's boundary, or what stands there in place of one.
    #[inline(always)]
    pub(crate) fn boundary(&self) -> usize {
        self.slots[SLOT_BOUNDARY].get()
    }

    #[inline(always)]
    pub(crate) fn set_boundary(&self, boundary: usize) {
        self.slots[SLOT_BOUNDARY].set(boundary);
    }
}

/// A block without interior mutability, so that the linker puts it into memory that is never writable.
#[repr(C, align(64))]
struct ZeroTls([usize; TLS_SLOTS]);

/// What the TLS word of a thread without an M points at: six zero words in read-only memory.
static ZERO_TLS: ZeroTls = ZeroTls([0; TLS_SLOTS]);

thread_word! {
    static TLS: *const usize = &raw const ZERO_TLS.0 as *const usize;
}

/// Reads a slot of the calling thread's or goroutine's block.
#[inline(always)]
fn slot(i: usize) -> *const G {
    debug_assert!(i < TLS_SLOTS);
    // SAFETY: the word points at ZERO_TLS, at `m.tls` of a live M or at the block in the running goroutine's G; each has
    // TLS_SLOTS words and outlives its stay in the word (Ms are never freed, a G lives while it runs).
    unsafe { *TLS.get().add(i) as *const G }
}

/// The current G (goroutine, g0, or the G of a foreign thread that called in); null when this thread has no M.
#[inline(always)]
pub(crate) fn getg() -> *const G {
    slot(SLOT_G)
}

/// The current goroutine, which may park; null on every kernel thread that is not running one.
#[inline(always)]
pub(crate) fn current_goroutine() -> *const G {
    slot(SLOT_PARK)
}

/// The block that the calling thread's or goroutine's word points at; none if that is the zero block.
#[inline(always)]
pub(crate) fn block<'a>() -> Option<&'a TlsBlock> {
    let block = TLS.get();
    // SAFETY: it is not the zero block, so it is that of a live M or in the running goroutine's G, and stays there
    // while its code, or that of the thread, runs here.
    (!ptr::eq(block, ZERO_TLS.0.as_ptr())).then(|| unsafe { &*block.cast::<TlsBlock>() })
}

/// Whether the calling thread's or goroutine's word points at `block`.
#[inline(always)]
pub(crate) fn is_current(block: &TlsBlock) -> bool {
    ptr::eq(TLS.get().cast(), block)
}

/// Points the calling thread's or goroutine's word at `block`; what Go calls `settls`.
///
/// # Safety
/// `block` outlives every read of the word by this thread or goroutine.
pub(crate) unsafe fn settls(block: *const TlsBlock) {
    TLS.set(block.cast());
}

/// Where the word is, for a switch between goroutines that share a kernel thread's words.
#[cfg(windows)]
pub(crate) fn place() -> crate::os::Place {
    TLS.place()
}

/// Points the calling thread's word at [`ZERO_TLS`] again.
pub(crate) fn clear_tls() {
    TLS.set(&raw const ZERO_TLS.0 as *const usize);
}

/// Stores into the block that the calling thread's word points at, as stray code would: for tests.
///
/// # Safety
/// On a thread without an M the process dies by SIGSEGV; on others the current G is lost. Only for a process that is
/// meant to die.
#[doc(hidden)]
pub unsafe fn stray_store() {
    // SAFETY: the fault is the purpose; the caller vouches that nothing else depends on this process.
    unsafe { TLS.get().cast_mut().write_volatile(1) };
}

/// True when the calling thread has no M: its first read says "none".
#[doc(hidden)]
pub fn is_none() -> bool {
    getg().is_null()
}
