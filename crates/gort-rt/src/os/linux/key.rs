//! Being told that a thread ends: a pthread key, whose destructor runs on every thread that has set a value.

use core::ffi::c_void;
use core::sync::atomic::{AtomicU32, Ordering};

/// A pthread key. Given back by [`forget_exit_keys`] only.
pub(crate) struct ExitKey(libc::pthread_key_t);

/// The keys that were made, each plus 1; the callbacks want one, and goroutines that are threads another.
static MADE: [AtomicU32; 2] = [const { AtomicU32::new(0) }; 2];

impl ExitKey {
    /// Makes the key: `destructor` is called with the value of each thread that ends and has set one. It must live as long
    /// as the process. None if the process has no key left.
    pub(crate) fn new(destructor: unsafe extern "C" fn(*mut c_void)) -> Option<ExitKey> {
        let mut key = 0;
        // SAFETY: `key` is ours to write; the caller vouches for the destructor.
        (unsafe { libc::pthread_key_create(&raw mut key, Some(destructor)) } == 0).then(|| {
            let free =
                |made: &&AtomicU32| made.compare_exchange(0, key + 1, Ordering::Relaxed, Ordering::Relaxed).is_ok();
            MADE.iter().find(free).expect("two keys are all that is wanted");
            ExitKey(key)
        })
    }

    /// Gives the calling thread a value. False: there is no memory for it.
    pub(crate) fn set(&self, value: *const c_void) -> bool {
        // SAFETY: the key exists; what the value means is between the caller and the destructor.
        unsafe { libc::pthread_setspecific(self.0, value) == 0 }
    }
}

/// No thread that ends calls the destructor of an [`ExitKey`] any more, unless it has begun to.
///
/// # Safety
/// No key is used any more.
pub(crate) unsafe fn forget_exit_keys() {
    for key in MADE.iter().filter_map(|made| made.swap(0, Ordering::Relaxed).checked_sub(1)) {
        // SAFETY: it was made, and is deleted once.
        unsafe { libc::pthread_key_delete(key) };
    }
}
