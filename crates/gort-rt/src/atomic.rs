//! What a model checker must see: atomics, fences, waiting in a loop, variables of a thread or of the process, what a lock guards.
//!
//! The protocols of `sched`, `sync`, `thread::park`, `ffi::extra_m`, `poll` and `time` take these from here and from nowhere else. The
//! package `models` compiles the same source files with a room of this name of its own, in which every operation is a step
//! that a checker orders against those of other threads. Here each item is the real one.

pub(crate) use crate::os::thread_word;
pub(crate) use core::cell::UnsafeCell;
pub(crate) use core::hint::spin_loop;
pub(crate) use core::sync::atomic::{
    compiler_fence, fence, AtomicBool, AtomicI32, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering,
};
pub(crate) use std::sync::OnceLock;

/// The frequent side of an asymmetric fence: keeps the compiler from reordering, since the rare side
/// ([`crate::os::membarrier`]) makes the processors' fence for both.
#[inline(always)]
pub(crate) fn paid_fence() {
    compiler_fence(Ordering::SeqCst);
}

/// A limit: `usual`. Models look at every order of steps, so they take `small` in its place.
pub(crate) const fn bound(usual: usize, _small: usize) -> usize {
    usual
}
