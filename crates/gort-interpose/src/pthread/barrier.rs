//! Barriers.
//!
//! There is no way to try a barrier, and libc's tells nobody that its last thread has arrived. So a barrier that is private to
//! the process is replaced: `pthread_barrier_init` puts one of ours into the `pthread_barrier_t`, and goroutines and kernel
//! threads wait on its word by the futex call of this crate, each kind in its own way. One that is shared between processes
//! stays libc's, and goroutines wait for it in the kernel.
//!
//! # Protocol
//! `state` holds the number of the round and how many have arrived in it, and changes as a whole:
//!
//! * Whoever arrives adds itself. Unless it is the last it waits until the round is another.
//! * The last begins the next round, with nobody arrived; adds all of its round to `leaving`; wakes those who wait.
//! * Everybody, on the way out, takes itself out of `leaving`, and touches the barrier no more.
//!
//! `pthread_barrier_destroy` may be called as soon as one thread is back: it waits until nobody is in `leaving`. (One who leaves
//! before the last has added may make the number negative for a moment; it is not zero then, for whoever may destroy the
//! barrier knows of one that has left.)

use super::{keeping_errno, own};
use crate::futex::futex;
use crate::Ours;
use core::mem::{align_of, offset_of, size_of};
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use gort_rt::ffi::blocking;
use libc::{c_int, c_uint, pthread_barrier_t, pthread_barrierattr_t};

/// What this file defines.
pub(crate) static HOOKS: &[Ours] = &[
    Ours::new(c"pthread_barrier_init", pthread_barrier_init as *const ()),
    Ours::new(c"pthread_barrier_wait", pthread_barrier_wait as *const ()),
    Ours::new(c"pthread_barrier_destroy", pthread_barrier_destroy as *const ()),
];

/// A barrier of ours.
#[repr(C)]
struct Barrier {
    /// The round in the upper half, those who have arrived in the lower.
    state: AtomicU64,
    /// How many a round takes.
    count: u32,
    /// Twice the number of those who were released and are not out yet; plus 1 while somebody waits to destroy the barrier.
    leaving: AtomicU32,
    /// Tells the barrier from one of libc's.
    mark: u64,
}

const _: () = assert!(size_of::<Barrier>() <= size_of::<pthread_barrier_t>());
const _: () = assert!(align_of::<Barrier>() <= align_of::<pthread_barrier_t>());

/// In `mark`, mixed with the address, so that a copy is no barrier.
const MARK: u64 = 0x7265_6972_7261_4267;
const DESTROYING: u32 = 1;
const ONE: u32 = 2;
/// As in libc.
const MOST: c_uint = c_uint::MAX / 2;

fn mark(at: *const pthread_barrier_t) -> u64 {
    MARK ^ at as u64
}

/// The barrier, if it is one of ours.
///
/// # Safety
/// It is initialised, and lives as long as the caller makes of it.
unsafe fn ours<'a>(at: *mut pthread_barrier_t) -> Option<&'a Barrier> {
    // SAFETY: `pthread_barrier_init` has written the mark, one way or the other; the rest only if it is ours.
    unsafe {
        let barrier = at.cast::<Barrier>();
        ((*barrier).mark == mark(at)).then(|| &*barrier)
    }
}

fn sleep(word: *const AtomicU32, expected: u32) {
    let op = libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG;
    // SAFETY: the callers' word lives while they wait.
    keeping_errno(|| unsafe { futex([word as usize, op as usize, expected as usize, 0, 0, 0]) });
}

fn wake_all(word: *const AtomicU32) {
    let op = libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG;
    // SAFETY: only the address counts.
    keeping_errno(|| unsafe { futex([word as usize, op as usize, c_int::MAX as usize, 0, 0, 0]) });
}

impl Barrier {
    /// The half of the state that holds the round.
    fn round(&self) -> *const AtomicU32 {
        const HIGH: usize = if cfg!(target_endian = "little") { 1 } else { 0 };
        // SAFETY: offset within the field.
        unsafe { (&raw const self.state).cast::<AtomicU32>().add(HIGH) }
    }

    /// True for the one who came last.
    fn wait(&self) -> bool {
        let arrive = |state: u64| {
            let (round, arrived) = ((state >> 32) as u32, state as u32 + 1);
            let next = u64::from(round.wrapping_add(1)) << 32;
            Some(if arrived == self.count { next } else { state + 1 })
        };
        // AcqRel: what each did before it came is visible to all who go on.
        let before = match self.state.fetch_update(Ordering::AcqRel, Ordering::Relaxed, arrive) {
            Ok(before) | Err(before) => before,
        };
        let last = before as u32 + 1 == self.count;
        if last {
            self.leaving.fetch_add(self.count.wrapping_mul(ONE), Ordering::Relaxed);
            wake_all(self.round());
        } else {
            let round = (before >> 32) as u32;
            while (self.state.load(Ordering::Acquire) >> 32) as u32 == round {
                sleep(self.round(), round);
            }
        }
        let leaving = &raw const self.leaving;
        // Release: we are done with the barrier. Its memory may be gone right after.
        if self.leaving.fetch_sub(ONE, Ordering::Release) == ONE + DESTROYING {
            wake_all(leaving);
        }
        last
    }

    /// Waits until all who were released are out.
    fn empty(&self) {
        let mut leaving = self.leaving.fetch_or(DESTROYING, Ordering::Acquire) | DESTROYING;
        while leaving != DESTROYING {
            sleep(&self.leaving, leaving);
            leaving = self.leaving.load(Ordering::Acquire);
        }
    }
}

/// libc's `pthread_barrier_init`.
///
/// # Safety
/// As for libc's.
#[no_mangle]
pub unsafe extern "C" fn pthread_barrier_init(
    at: *mut pthread_barrier_t,
    attribute: *const pthread_barrierattr_t,
    count: c_uint,
) -> c_int {
    let mut shared = libc::PTHREAD_PROCESS_PRIVATE;
    // SAFETY: the caller's promise: the memory is ours to write, the attribute null or initialised.
    unsafe {
        if !attribute.is_null() {
            libc::pthread_barrierattr_getpshared(attribute, &raw mut shared);
        }
        if shared != libc::PTHREAD_PROCESS_PRIVATE {
            at.byte_add(offset_of!(Barrier, mark)).cast::<u64>().write(0);
            return own::pthread_barrier_init(at, attribute, count);
        }
        if count == 0 || count > MOST {
            return libc::EINVAL;
        }
        let (state, leaving) = (AtomicU64::new(0), AtomicU32::new(0));
        at.cast::<Barrier>().write(Barrier { state, count, leaving, mark: mark(at) });
    }
    0
}

/// libc's `pthread_barrier_wait`.
///
/// # Safety
/// As for libc's.
#[no_mangle]
pub unsafe extern "C" fn pthread_barrier_wait(at: *mut pthread_barrier_t) -> c_int {
    // SAFETY: the caller's promise.
    unsafe {
        match ours(at) {
            Some(barrier) if barrier.wait() => libc::PTHREAD_BARRIER_SERIAL_THREAD,
            Some(_) => 0,
            None => blocking(|| own::pthread_barrier_wait(at)),
        }
    }
}

/// libc's `pthread_barrier_destroy`.
///
/// # Safety
/// As for libc's.
#[no_mangle]
pub unsafe extern "C" fn pthread_barrier_destroy(at: *mut pthread_barrier_t) -> c_int {
    // SAFETY: the caller's promise.
    unsafe {
        let Some(barrier) = ours(at) else {
            return blocking(|| own::pthread_barrier_destroy(at));
        };
        barrier.empty();
        at.byte_add(offset_of!(Barrier, mark)).cast::<u64>().write(0);
    }
    0
}
