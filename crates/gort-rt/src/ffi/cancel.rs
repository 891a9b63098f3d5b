//! Requests of `pthread_cancel` wait while a thread is in a callback.
//!
//! A thread is cancelled by unwinding its stack, from within whatever function of libc it is in. Frames of Rust are not
//! to be unwound like that, and std aborts the process where it is tried. So requests are put off until the outermost
//! callback of a foreign thread has left: the thread is cancelled in C, where it would have been, at its next
//! cancellation point.
//!
//! Turning cancellation off and on again costs as much as a whole callback, and hardly any program cancels threads. So
//! that is done from the first request of the process on only; and a callback that was under way before has the request
//! kept for it.
//!
//! ```text
//!   enters                       leaves                       requests
//!   depth = 1                    depth = 0                    USED
//!   fence                        fence                        fence
//!   USED ?  cancellation off     USED ?  on; WANTED ?  then   depth == 0 ?  libc's
//!                                        cancel ourselves     WANTED, fence
//!                                                             depth == 0, and still WANTED ?  libc's
//! ```
//! Each pair is a store, a fence and a load of the other's word on both sides, and the fence is the asymmetric one of
//! `revoke`. Who requests and finds nobody inside may leave it to libc, since whoever enters after that sees USED. Who
//! finds somebody inside leaves word, and either the one who leaves sees it, or the requester sees that he has left.
//!
//! Requests are known where `gort-interpose` is in the program, before libc. Where it is not, std aborts, as told above.

use crate::sched::m::{self, M};
use crate::sched::revoke::{self, heavy_fence};
use core::ffi::c_int;
use core::ptr;
use core::sync::atomic::{AtomicBool, Ordering};

const ENABLE: c_int = 0;
const DISABLE: c_int = 1;

// They may unwind the caller: that is how a thread is cancelled.
extern "C-unwind" {
    fn pthread_setcancelstate(state: c_int, old: *mut c_int) -> c_int;
    fn pthread_cancel(thread: libc::pthread_t) -> c_int;
}

/// Some thread of this process has been requested to end.
static USED: AtomicBool = AtomicBool::new(false);

/// The outermost callback of the calling thread has entered: its depth is 1, and the gate, with its fence, has let it in.
#[inline(always)]
pub(super) fn entered(m: &M) {
    if USED.load(Ordering::Relaxed) {
        put_off(m);
    }
}

#[cold]
fn put_off(m: &M) {
    let mut old = ENABLE;
    // SAFETY: `old` is ours to write. Turning it off unwinds nothing.
    unsafe { pthread_setcancelstate(DISABLE, &raw mut old) };
    if old == ENABLE {
        m.cancellable.set(true); // and it stays so, if a signal handler has called in before us and done this
    }
}

/// The outermost callback of the calling thread has left: its depth is 0, and it has told the gate, which has a fence.
/// May unwind the caller, as the last that it does: by a request that is to be acted on at once.
#[inline(always)]
pub(super) fn left(m: &M) {
    if USED.load(Ordering::Relaxed) {
        let_in(m);
    }
}

#[cold]
fn let_in(m: &M) {
    let wanted = m.cancel.swap(false, Ordering::Relaxed);
    let cancellable = m.cancellable.take();
    // SAFETY: the thread is our own. What is unwound are the callers, who have nothing left to drop, and C.
    unsafe {
        if wanted {
            pthread_cancel(libc::pthread_self());
        }
        if cancellable {
            pthread_setcancelstate(ENABLE, ptr::null_mut());
        }
    }
}

/// Requests that `thread`, which is no goroutine, ends: by `libcs`, now or when it has left Rust. Returns what `libcs`
/// did, or 0.
pub(crate) fn request(thread: libc::pthread_t, libcs: impl Fn() -> c_int) -> c_int {
    revoke::init(); // for the fence; the runtime need not have started
    USED.store(true, Ordering::Relaxed);
    heavy_fence();
    let inside = |m: &&M| m.pthread.load(Ordering::Relaxed) == thread as usize && m.depth.load(Ordering::Relaxed) > 0;
    let Some(m) = m::all().find(inside) else { return libcs() };
    m.cancel.store(true, Ordering::Relaxed);
    heavy_fence();
    // Or it has ended, and the M is another thread's.
    let left = m.depth.load(Ordering::Relaxed) == 0 || m.pthread.load(Ordering::Relaxed) != thread as usize;
    if left && m.cancel.swap(false, Ordering::Relaxed) {
        return libcs();
    }
    0
}
