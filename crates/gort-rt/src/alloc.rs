//! Allocators with caches per thread.

use crate::arch;
use crate::tls;
use core::alloc::{GlobalAlloc, Layout};
use core::ptr;

/// Runs the allocator `A` on the thread-local storage of the kernel thread underneath, so that an allocator that keeps a
/// heap or a cache per thread (jemalloc, mimalloc) keeps one per kernel thread and not one per goroutine.
///
/// Costs two writes of the thread pointer a call (about 35 ns); off a goroutine, a branch. For jemalloc and mimalloc that is
/// little beside what they set up for each thread that allocates: 60 KiB and half a MiB, and 35 or 7 µs. glibc's malloc does
/// not need it: its cache takes about 0.7 KiB, and what is in it. `docs/allocators.md` has the figures.
///
/// ```
/// use std::alloc::System;
///
/// #[global_allocator]
/// static ALLOCATOR: gort_rt::alloc::PerThread<System> = gort_rt::alloc::PerThread::new(System);
///
/// let text = gort_rt::thread::spawn(|| "made on a goroutine".to_owned()).join().unwrap();
/// assert_eq!(text.len(), 19);
/// ```
#[derive(Debug, Default, Clone, Copy)]
pub struct PerThread<A>(A);

impl<A> PerThread<A> {
    /// Wraps `allocator`.
    pub const fn new(allocator: A) -> PerThread<A> {
        PerThread(allocator)
    }
}

/// One call of an allocator, as it crosses to another base.
struct Call<F> {
    f: F,
    result: *mut u8,
}

/// Runs `f`, which must not unwind, on the base of the kernel thread underneath.
#[inline]
fn on_native_base<F: FnMut() -> *mut u8>(mut f: F) -> *mut u8 {
    // SAFETY: the current goroutine lives.
    let Some(g) = (unsafe { tls::current_goroutine().as_ref() }) else { return f() };
    unsafe extern "C" fn run<F: FnMut() -> *mut u8>(call: *mut u8) {
        // SAFETY: `on_native_base` passes a Call of this type, which outlives the call.
        let call = unsafe { &mut *call.cast::<Call<F>>() };
        call.result = (call.f)();
    }
    let mut call = Call { f, result: ptr::null_mut() };
    // SAFETY: the M of a running goroutine is set; g0's base is that of the kernel thread we are on, and we stay on it:
    // under that base the code is no goroutine's, so nothing in it parks or switches. An allocator may not unwind.
    unsafe {
        let tp = (*g.m.get()).g0.tp.get();
        arch::call_on_stack(run::<F>, (&raw mut call).cast(), ptr::null_mut(), tp);
    }
    call.result
}

// SAFETY: each method is A's, called with the same arguments; which thread calls an allocator is no part of the contract.
unsafe impl<A: GlobalAlloc> GlobalAlloc for PerThread<A> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise, passed on.
        on_native_base(|| unsafe { self.0.alloc(layout) })
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        on_native_base(|| {
            // SAFETY: the caller's promise, passed on.
            unsafe { self.0.dealloc(at, layout) };
            ptr::null_mut()
        });
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise, passed on.
        on_native_base(|| unsafe { self.0.alloc_zeroed(layout) })
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's promise, passed on.
        on_native_base(|| unsafe { self.0.realloc(at, layout, size) })
    }
}
