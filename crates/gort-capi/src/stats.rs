//! Figures.

use crate::code::{failure, run, GORT_EINVAL};
use crate::fork;
use core::ffi::c_int;
use core::mem::{offset_of, size_of};

/// The version of gort_stats_t that this header describes.
pub const GORT_STATS_VERSION: u32 = 1;

/// What the runtime counts. Later versions may have more fields behind these; none goes, none changes its meaning.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Stats {
    /// Set it to sizeof(gort_stats_t) before the call.
    size: u32,
    /// The library's GORT_STATS_VERSION: what it has filled in, as far as there was room.
    version: u32,
    /// Goroutines that run at a time.
    procs: u64,
    /// Kernel threads of gort's that are alive, one that watches apart.
    kernel_threads: u64,
    /// Those of them that sleep for want of work.
    idle_threads: u64,
    /// Goroutines that have been spawned and have not ended.
    goroutines: u64,
    /// The most threads of others that were bound at one time.
    bound_threads_most: u64,
    /// Threads of others that are bound: they have entered or called in, and have not exited.
    bound_threads: u64,
    /// Those of them that are inside.
    inside: u64,
}

/// Fills in figures of this moment. Nothing is stopped for it, so they may be some nanoseconds apart. Zero, but for `procs`, before
/// the start.
///
/// @param stats  where they go; stats->size says how much room there is.
/// @return GORT_OK; GORT_EINVAL: `stats` is NULL, or its size is none that a gort_stats_t ever had; GORT_EFORKED.
///
/// # Safety
/// `stats` is null or has as many writable bytes as it says.
#[no_mangle]
pub unsafe extern "C" fn gort_stats(stats: *mut Stats) -> c_int {
    run(|| {
        if stats.is_null() {
            return Err(failure(GORT_EINVAL));
        }
        fork::check()?;
        // SAFETY: the first field is there in every version.
        let size = unsafe { (&raw const (*stats).size).read() };
        let room = size as usize;
        if !(offset_of!(Stats, procs)..=4096).contains(&room) {
            return Err(failure(GORT_EINVAL));
        }
        let now = gort_rt::stats();
        let filled = Stats {
            size,
            version: GORT_STATS_VERSION,
            procs: now.procs as u64,
            kernel_threads: now.kernel_threads as u64,
            idle_threads: now.idle_threads as u64,
            goroutines: now.goroutines as u64,
            bound_threads_most: now.extra_ms as u64,
            bound_threads: now.extra_ms_in_use as u64,
            inside: now.callbacks as u64,
        };
        // SAFETY: the caller's promise; no more than both have.
        unsafe {
            let known = room.min(size_of::<Stats>());
            stats.cast::<u8>().copy_from_nonoverlapping((&raw const filled).cast(), known);
        }
        Ok(())
    })
}
