//! Being inside, declaring that calls block, staying on a kernel thread: brackets that C opens and closes by calls.

use crate::code::{failure, run, GORT_ESHUTDOWN, GORT_EUNBALANCED};
use crate::fork;
use core::cell::Cell;
use core::ffi::c_int;
use gort_rt::{embed, ffi};

/// Enters the runtime on whatever thread this is. Until the matching gort_leave() the thread counts as inside: gort_shutdown()
/// waits for it, and it may spawn while the runtime is being shut down. A thread's first call binds it to the runtime until it
/// exits; later ones make no system call. Pairs nest. On a goroutine, which is inside anyway, pairs are only counted.
///
/// A request of pthread_cancel() does not wait for gort_leave(): the thread ends at its next cancellation point in C, and counts
/// as one that has left. (A request that comes while C has called Rust waits until that has returned.)
///
/// No other function needs it. Use it around code that must not be cut in two by a shutdown.
///
/// @return GORT_OK; GORT_ESHUTDOWN: nobody is let in any more; GORT_EFORKED.
#[no_mangle]
pub extern "C" fn gort_enter() -> c_int {
    run(|| {
        fork::check()?;
        embed::enter().map_err(|_| failure(GORT_ESHUTDOWN))
    })
}

/// Undoes one gort_enter() of this thread or goroutine. A thread that exits without it is taken for having left.
///
/// @return GORT_OK; GORT_EUNBALANCED: it has not entered, or has left; GORT_EFORKED.
#[no_mangle]
pub extern "C" fn gort_leave() -> c_int {
    run(|| {
        fork::check()?;
        embed::leave().then_some(()).ok_or_else(|| failure(GORT_EUNBALANCED))
    })
}

/// Declares that what follows, until gort_blocking_end(), may block the kernel thread: a system call or a library that gort does not
/// see into. Other goroutines get the processor after some 20 microseconds. Without it they get it too, after up to 15
/// milliseconds. Costs a few nanoseconds; sections nest; on a thread that is no goroutine they are only counted. A goroutine that
/// ends within a section has ended it.
///
/// @return GORT_OK; GORT_EFORKED.
#[no_mangle]
pub extern "C" fn gort_blocking_begin() -> c_int {
    run(|| {
        fork::check()?;
        embed::begin_blocking();
        Ok(())
    })
}

/// Ends the section that the latest gort_blocking_begin() of this thread or goroutine has begun. A goroutine whose processor has
/// gone to others waits here for its turn. errno is left alone.
///
/// @return GORT_OK; GORT_EUNBALANCED: there is no section to end; GORT_EFORKED.
#[no_mangle]
pub extern "C" fn gort_blocking_end() -> c_int {
    run(|| {
        fork::check()?;
        embed::end_blocking().then_some(()).ok_or_else(|| failure(GORT_EUNBALANCED))
    })
}

thread_local! {
    /// Locks of C's that are in force; Rust code below may have others, which C cannot undo.
    static LOCKS: Cell<u32> = const { Cell::new(0) };
}

/// Ties the calling goroutine to the kernel thread that it runs on, for libraries that are keyed on it (OpenGL, namespaces, JNI). No
/// other goroutine runs there until gort_unlock_thread(). Pairs nest. If the goroutine ends while it is locked, its kernel thread
/// ends too. On a thread that is no goroutine pairs are only counted.
///
/// @return GORT_OK; GORT_EFORKED.
#[no_mangle]
pub extern "C" fn gort_lock_thread() -> c_int {
    run(|| {
        fork::check()?;
        ffi::lock_os_thread();
        LOCKS.set(LOCKS.get() + 1);
        Ok(())
    })
}

/// Undoes one gort_lock_thread().
///
/// @return GORT_OK; GORT_EUNBALANCED: there is none to undo; GORT_EFORKED.
#[no_mangle]
pub extern "C" fn gort_unlock_thread() -> c_int {
    run(|| {
        fork::check()?;
        let locks = LOCKS.get().checked_sub(1).ok_or_else(|| failure(GORT_EUNBALANCED))?;
        LOCKS.set(locks);
        ffi::unlock_os_thread();
        Ok(())
    })
}
