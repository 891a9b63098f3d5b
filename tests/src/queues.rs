//! Programs in C and C++ that lock: safe covers of `c/locks.c` and `c/locks.cpp`.

use crate::locks::{CCond, CMutex};
use libc::c_int;

/// Opaque C and C++ objects.
#[repr(C)]
struct Opaque(u8);

extern "C" {
    fn lk_c11_new() -> *mut Opaque;
    fn lk_c11_free(queue: *mut Opaque);
    fn lk_c11_put(queue: *mut Opaque, item: i64) -> c_int;
    fn lk_c11_take(queue: *mut Opaque) -> i64;
    fn lk_c11_held(queue: *mut Opaque) -> c_int;
    fn lk_c11_once() -> c_int;
    fn lk_cancel_a_wait(mutex: *mut libc::pthread_mutex_t, cond: *mut libc::pthread_cond_t) -> c_int;
    fn lk_cpp_queue_new() -> *mut Opaque;
    fn lk_cpp_queue_free(queue: *mut Opaque);
    fn lk_cpp_put(queue: *mut Opaque, item: i64);
    fn lk_cpp_take(queue: *mut Opaque) -> i64;
    fn lk_cpp_pair_new() -> *mut Opaque;
    fn lk_cpp_pair_free(pair: *mut Opaque);
    fn lk_cpp_pair_add(pair: *mut Opaque);
    fn lk_cpp_pair_read(pair: *mut Opaque) -> i64;
    fn lk_cpp_once() -> c_int;
}

/// A queue with few places, whose locks are C11's or C++'s.
pub struct Queue {
    at: *mut Opaque,
    cpp: bool,
}

// SAFETY: its functions lock.
unsafe impl Send for Queue {}
// SAFETY: as above.
unsafe impl Sync for Queue {}

impl Queue {
    /// With `mtx_t` and `cnd_t`.
    pub fn c11() -> Queue {
        // SAFETY: no preconditions.
        Queue { at: unsafe { lk_c11_new() }, cpp: false }
    }

    /// With `std::mutex` and `std::condition_variable`.
    pub fn cpp() -> Queue {
        // SAFETY: no preconditions.
        Queue { at: unsafe { lk_cpp_queue_new() }, cpp: true }
    }

    /// Waits for a place.
    pub fn put(&self, item: i64) {
        // SAFETY: made by the constructor of that kind.
        unsafe {
            if self.cpp {
                lk_cpp_put(self.at, item);
            } else {
                assert_eq!(lk_c11_put(self.at, item), 0);
            }
        }
    }

    /// Waits for an item.
    pub fn take(&self) -> i64 {
        // SAFETY: as above.
        unsafe {
            if self.cpp {
                lk_cpp_take(self.at)
            } else {
                lk_c11_take(self.at)
            }
        }
    }

    /// Of one with C11's locks: whether one that is held is busy and times out.
    pub fn is_held(&self) -> bool {
        assert!(!self.cpp);
        // SAFETY: as above.
        unsafe { lk_c11_held(self.at) == 1 }
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: as above; dropped once.
        unsafe {
            if self.cpp {
                lk_cpp_queue_free(self.at)
            } else {
                lk_c11_free(self.at)
            }
        }
    }
}

/// Two counts behind a `std::shared_timed_mutex`.
pub struct Pair(*mut Opaque);

// SAFETY: its functions lock.
unsafe impl Send for Pair {}
// SAFETY: as above.
unsafe impl Sync for Pair {}

impl Pair {
    /// Zeros.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Pair {
        // SAFETY: no preconditions.
        Pair(unsafe { lk_cpp_pair_new() })
    }

    /// Adds 1 to both.
    pub fn add(&self) {
        // SAFETY: made by the constructor.
        unsafe { lk_cpp_pair_add(self.0) }
    }

    /// The counts, or -1 if they differ.
    pub fn read(&self) -> i64 {
        // SAFETY: as above.
        unsafe { lk_cpp_pair_read(self.0) }
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        // SAFETY: as above; dropped once.
        unsafe { lk_cpp_pair_free(self.0) }
    }
}

/// C11's `call_once`: how often the function has run.
pub fn c11_once() -> c_int {
    // SAFETY: no preconditions.
    unsafe { lk_c11_once() }
}

/// C++'s `std::call_once`, twice, with a function that throws at its first run: 10 for each exception that arrived here, plus
/// the number of runs there have been.
pub fn cpp_once() -> c_int {
    // SAFETY: no preconditions.
    unsafe { lk_cpp_once() }
}

/// Makes a thread that waits for `cond`, and cancels it there; true if it had the mutex, an error-checking one, in its cleanup
/// handler.
pub fn cancel_a_wait(mutex: &CMutex, cond: &CCond) -> bool {
    // SAFETY: both are initialised.
    unsafe { lk_cancel_a_wait(mutex.at(), cond.at()) == 1 }
}
