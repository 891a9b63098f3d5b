//! Making one block, in either of the two ways.

use core::sync::atomic::{AtomicU32, Ordering};

use super::glibc::Glibc;
use super::recipe::Recipe;
use super::{donor, Error};
use crate::arch;

/// `RSEQ_CPU_ID_REGISTRATION_FAILED`: tells users of the restartable-sequence area to ask the kernel instead.
const RSEQ_NOT_REGISTERED: u32 = -2i32 as u32;
/// Offset of `cpu_id` in the area.
const RSEQ_CPU_ID: usize = 4;

/// Checks that the stack has room for the block and something to run on, and says where the thread pointer goes.
fn place(glibc: &Glibc, lo: *mut u8, hi: *mut u8) -> Result<usize, Error> {
    /// Less than this below the block is no use to anybody.
    const LEAST_STACK: usize = 4096;
    let needed = glibc.layout.size() + glibc.layout.align + LEAST_STACK;
    if (hi as usize).saturating_sub(lo as usize) < needed {
        return Err(Error::TooSmall { needed });
    }
    Ok(glibc.thread_pointer(hi as usize))
}

/// `_dl_allocate_tls` and the ABI's self-references, nothing more: the state that the recipe starts from.
///
/// # Safety
/// `[lo, hi)` is readable, writable and unused.
pub(super) unsafe fn build_raw(glibc: &Glibc, lo: *mut u8, hi: *mut u8) -> Result<usize, Error> {
    let tp = place(glibc, lo, hi)?;
    let first = tp - glibc.layout.below;
    // SAFETY: `place` checked that the block lies in the caller's memory.
    unsafe { core::ptr::write_bytes(first as *mut u8, 0, hi as usize - first) };
    // SAFETY: around `tp` there are as many zero bytes as static TLS and TCB need, where glibc itself would have them.
    if unsafe { (glibc.allocate_tls)(tp as *mut _) }.is_null() {
        return Err(Error::NoMemory);
    }
    for word in arch::SELF_WORDS {
        // SAFETY: the ABI has these words in every block.
        unsafe { ((tp + word) as *mut usize).write(tp) };
    }
    Ok(tp)
}

/// Builds a complete block by hand.
///
/// # Safety
/// As for [`build_raw`]; the recipe was learnt in this process and has no unknown words.
pub(super) unsafe fn build(glibc: &Glibc, recipe: &Recipe, lo: *mut u8, hi: *mut u8, tid: u32) -> Result<usize, Error> {
    // SAFETY: the caller's promise, passed on.
    let tp = unsafe { build_raw(glibc, lo, hi)? };
    // SAFETY: the block was just made and nobody runs on it; the list node is part of the TCB.
    unsafe {
        recipe.apply(tp, lo as usize, hi as usize);
        // A list of one: taking it out of its list, as fork does in the child, leaves it as it is.
        let node = tp.wrapping_add_signed(glibc.list);
        (node as *mut [usize; 2]).write([node, node]);
        give_number(glibc, tp, tid);
    }
    Ok(tp)
}

/// Has a donor thread make the block.
///
/// # Safety
/// `[lo, hi)` is readable, writable and unused, and is never unmapped or cleared after this.
pub(super) unsafe fn donate(
    glibc: &Glibc,
    recipe: &Recipe,
    lo: *mut u8,
    hi: *mut u8,
    tid: u32,
) -> Result<usize, Error> {
    let expected = place(glibc, lo, hi)?;
    // SAFETY: the caller's promise, passed on.
    let (tp, donor_tid) = unsafe { donor::donate(lo, hi)? };
    // SAFETY: the donor is gone and its TCB begins at `tp`.
    let found = unsafe { number(glibc, tp) }.load(Ordering::Relaxed);
    if tp != expected || found != donor_tid {
        return Err(Error::Layout(format!(
            "a donor's block at {tp:#x}, expected at {expected:#x}; thread id {found}, expected {donor_tid}"
        )));
    }
    // SAFETY: the block is complete, and nobody runs on it.
    unsafe {
        recipe.forget_start(tp);
        give_number(glibc, tp, tid);
    }
    Ok(tp)
}

/// Writes the goroutine's own thread id and says that the kernel does not keep a CPU number here.
///
/// # Safety
/// `tp` is the thread pointer of a complete block that no kernel thread runs on or has registered.
unsafe fn give_number(glibc: &Glibc, tp: usize, tid: u32) {
    // SAFETY: the caller's promise, passed on.
    unsafe { number(glibc, tp) }.store(tid, Ordering::Relaxed);
    if let Some(rseq) = &glibc.rseq {
        let area = tp.wrapping_add_signed(rseq.start);
        // SAFETY: glibc announces the area in every thread's block, at this distance from its thread pointer.
        unsafe {
            core::ptr::write_bytes(area as *mut u8, 0, rseq.len());
            ((area + RSEQ_CPU_ID) as *mut u32).write(RSEQ_NOT_REGISTERED);
        }
    }
}

/// The thread id in a block.
///
/// # Safety
/// `tp` is the thread pointer of a block that outlives the reference.
unsafe fn number<'a>(glibc: &Glibc, tp: usize) -> &'a AtomicU32 {
    // SAFETY: the table of offsets says that an aligned 32-bit word lies there.
    unsafe { AtomicU32::from_ptr(tp.wrapping_add_signed(glibc.tid) as *mut u32) }
}
