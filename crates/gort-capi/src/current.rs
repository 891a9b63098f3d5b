//! Who the caller is.
//!
//! A goroutine of `gort_spawn` finds its handle in its own thread-local storage. Every other thread or goroutine gets one when it
//! first asks, which ends with it.

use crate::code::{failure, run, Failure, GORT_EINVAL, GORT_ENOHANDLE, GORT_ENOMEM};
use crate::fork;
use crate::spawn::{Entry, Thread, THREADS};
use core::cell::Cell;
use core::ffi::c_int;
use gort_rt::thread;

thread_local! {
    /// The handle of the calling goroutine, if `gort_spawn` has made it; else 0.
    static SPAWNED: Cell<Thread> = const { Cell::new(0) };
    static OTHER: Other = const { Other(Cell::new(0)) };
}

/// The handle of a thread that `gort_spawn` did not make, or 0.
struct Other(Cell<Thread>);

impl Drop for Other {
    fn drop(&mut self) {
        if self.0.get() != 0 && fork::check().is_ok() {
            THREADS.remove(self.0.get());
        }
    }
}

/// The calling goroutine, which has just begun, has this handle.
pub(crate) fn begin(handle: Thread) {
    SPAWNED.set(handle);
    if let Some(entry) = THREADS.get(handle) {
        entry.thread.get_or_init(thread::current);
    }
}

/// The handle of the caller, if it is a goroutine that `gort_spawn` has made.
pub(crate) fn spawned() -> Option<Thread> {
    Some(SPAWNED.get()).filter(|handle| *handle != 0)
}

fn other() -> Result<Thread, Failure> {
    let ending = |_| failure(GORT_ENOHANDLE);
    OTHER
        .try_with(|other| {
            // A fork's thread is another one than that of its parent.
            if other.0.get() == 0 || crate::spawn::entry(other.0.get()).is_err() {
                let entry = Entry::new(false);
                entry.thread.get_or_init(thread::current);
                other.0.set(THREADS.insert(entry).ok_or_else(|| failure(GORT_ENOMEM))?);
            }
            Ok(other.0.get())
        })
        .map_err(ending)?
}

/// The handle of the caller: a goroutine or any other thread, which can be unparked by it. That of a thread ends with the thread.
///
/// @param thread  where the handle goes.
/// @return GORT_OK;
///   GORT_EINVAL: `thread` is NULL;
///   GORT_ENOHANDLE: the thread is ending and never had a handle;
///   GORT_ENOMEM;
///   GORT_EFORKED.
///
/// # Safety
/// `thread` is null or writable.
#[no_mangle]
pub unsafe extern "C" fn gort_current(thread: *mut Thread) -> c_int {
    run(|| {
        if thread.is_null() {
            return Err(failure(GORT_EINVAL));
        }
        fork::check()?;
        let handle = spawned().map_or_else(other, Ok)?;
        // SAFETY: the caller's promise.
        unsafe { *thread = handle };
        Ok(())
    })
}
