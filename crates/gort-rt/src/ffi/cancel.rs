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
//!   USED ?  cancellation off     USED ?  on; WANTED me ?      depth == 0 ?  libc's
//!                                then cancel ourselves        WANTED him, fence
//!                                                             depth == 0, or another's ?  libc's
//! ```
//! Each pair is a store, a fence and a load of the other's word on both sides, and the fence is the asymmetric one of
//! `revoke`. Who requests and finds nobody inside may leave it to libc, since whoever enters after that sees USED. Who
//! finds somebody inside leaves word, and either the one who leaves sees it, or the requester sees that he has left.
//! (Or both; but requests are not counted.)
//!
//! While the requester is at it, the thread may end, and the M become another's. So the word says who is meant: not by
//! the number that C knows the thread by, which another may have later, but by the count of those that the M has been bound
//! to, [`M::binding`]. Only the owner whose count it is acts on it. Counts grow, and so does the word: a requester that is
//! late never takes another's word away. The requester reads the count, the thread, and the count again. The first is not too
//! large for the thread, nor the last too small: `needm` stores the count before the thread, and `dropm` puts the thread out,
//! before the list's lock passes the M on.
//!
//! A guard (`super::guard`) puts nothing off: the thread is in C, or in a callback that counts for itself. `depth` above is that
//! of callbacks.
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
    // What is meant for a former owner goes by this, too; who left it sees that it was not acted upon.
    let wanted = m.cancel.swap(0, Ordering::Relaxed) == m.binding.load(Ordering::Relaxed);
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

/// Whether the M's thread is in a callback.
fn is_in_rust(m: &M) -> bool {
    m::callbacks(m.depth.load(Ordering::Relaxed)) > 0
}

/// Requests that `thread`, which is no goroutine, ends: by `libcs`, now or when it has left Rust. Returns what `libcs`
/// did, or 0.
pub(crate) fn request(thread: libc::pthread_t, libcs: impl Fn() -> c_int) -> c_int {
    revoke::init(); // for the fence; the runtime need not have started
    USED.store(true, Ordering::Relaxed);
    heavy_fence();
    let binding = |m: &'static M| {
        // Acquire: if it is a later owner's, the thread below is not `thread` any more.
        let binding = m.binding.load(Ordering::Acquire);
        // Acquire: and if it is `thread`, the count that is compared below is not a former owner's.
        let inside = m.pthread.load(Ordering::Acquire) == thread as usize && is_in_rust(m);
        inside.then_some((m, binding))
    };
    let Some((m, binding)) = m::all().find_map(binding) else { return libcs() };
    m.cancel.fetch_max(binding, Ordering::Relaxed);
    heavy_fence();
    if is_in_rust(m) && m.binding.load(Ordering::Relaxed) == binding {
        return 0;
    }
    // It has left, and perhaps ended.
    if m.cancel.compare_exchange(binding, 0, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
        return libcs();
    }
    // It may have acted on the word, or somebody else has taken it away. Whatever libc says of it now, it was there.
    libcs();
    0
}
