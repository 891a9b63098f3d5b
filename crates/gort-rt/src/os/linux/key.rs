//! Being told that a thread ends: a pthread key, whose destructor runs on every thread that has set a value.

use core::ffi::c_void;

/// A pthread key. Never given back.
pub(crate) struct ExitKey(libc::pthread_key_t);

impl ExitKey {
    /// Makes the key: `destructor` is called with the value of each thread that ends and has set one. It must live as long
    /// as the process. None if the process has no key left.
    pub(crate) fn new(destructor: unsafe extern "C" fn(*mut c_void)) -> Option<ExitKey> {
        let mut key = 0;
        // SAFETY: `key` is ours to write; the caller vouches for the destructor.
        (unsafe { libc::pthread_key_create(&raw mut key, Some(destructor)) } == 0).then_some(ExitKey(key))
    }

    /// Gives the calling thread a value. False: there is no memory for it.
    pub(crate) fn set(&self, value: *const c_void) -> bool {
        // SAFETY: the key exists; what the value means is between the caller and the destructor.
        unsafe { libc::pthread_setspecific(self.0, value) == 0 }
    }
}
