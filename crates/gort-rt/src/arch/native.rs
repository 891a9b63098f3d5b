//! What a kernel thread keeps of itself while goroutines run on it: nothing, where a thread pointer leads to all that is the
//! thread's.

use super::thread_pointer;

/// See the module's head.
pub(crate) struct Native(());

impl Native {
    pub(crate) const fn new() -> Native {
        Native(())
    }

    /// Prepares the calling kernel thread for goroutines, and returns its thread pointer. It counts until this is dropped.
    ///
    /// # Safety
    /// This is dropped on the calling thread, and does not move before.
    pub(crate) unsafe fn adopt(&self) -> usize {
        thread_pointer()
    }
}
