//! Staying on one kernel thread: Go's `LockOSThread`.

use crate::sched;
use crate::sched::revoke::{enter, leave};
use core::ptr;

/// Ties the calling goroutine to the kernel thread that it runs on, for APIs that are keyed on it (OpenGL, namespaces, JNI).
/// No other goroutine runs there until the lock is undone. Calls nest. If the goroutine ends while it is locked, its kernel
/// thread ends too, since it may carry state that must not leak. On other threads this does nothing.
pub fn lock_os_thread() {
    let Some(g) = sched::goroutine() else { return };
    g.locks.set(g.locks.get() + 1);
    if let Some(g) = sched::parkable() {
        let m = enter(g);
        g.locked_m.set(m);
        m.locked_g.set(g);
        leave(m);
    }
}

/// Undoes one [`lock_os_thread`].
///
/// # Panics
/// There is none to undo.
pub fn unlock_os_thread() {
    let Some(g) = sched::goroutine() else { return };
    assert!(g.locks.get() > 0, "unlock_os_thread without lock_os_thread");
    g.locks.set(g.locks.get() - 1);
    if let (0, Some(g)) = (g.locks.get(), sched::parkable()) {
        let m = enter(g);
        g.locked_m.set(ptr::null());
        m.locked_g.set(ptr::null());
        leave(m);
    }
}
