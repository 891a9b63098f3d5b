//! Extra Ms: records for threads that the runtime did not make. Go's `needm`, `dropm` and the extra-M list.
//!
//! The first callback on a foreign thread binds an M to it ([`needm`]); the thread keeps it until it exits, when the
//! destructor of one process-wide pthread key gives it back ([`dropm`]). So the second callback finds the M in the thread's
//! TLS word, without a system call. No alternate signal stack, no signal mask, no stack bounds: the callback's code runs on
//! the thread's own stack and thread-local storage, and never without the C code's consent on any other.
//!
//! POSIX calls key destructors in rounds. A destructor of the host's that runs after ours may call in again: the thread
//! then knows that it is ending, and the M is bound for that one call only, so that none is lost after the last round. The
//! same is done when no pthread key can be had.
//!
//! A signal handler may call in on a thread that is bound, or a goroutine's. On another it binds the thread, which
//! allocates, so it is for the host to know that malloc was not interrupted; and where it has interrupted just that, or
//! the end, it is refused ([`is_changing`]).
//!
//! What a handler finds, at whatever instruction it has interrupted its thread, is decided by two words of the thread's:
//!
//! ```text
//!   needm                                        dropm
//!   CHANGING = true    refused from here on      CHANGING = true
//!   ------------------------------------- (1)    ------------------------------------- (4)
//!   no M yet?                                    word = ZERO_TLS    refused from here on
//!   an M from the list, complete                 ------------------------------------- (5)
//!   ------------------------------------- (2)    the M put back to how it was, and into the list
//!   word = m.tls       served from here on       ------------------------------------- (6)
//!   ------------------------------------- (3)    CHANGING = false   bound anew from here on
//!   CHANGING = false
//! ```
//!
//! A handler looks at the word first, and at `CHANGING` only if there is no M. Each line is a fence for the compiler, which is all
//! that code on the same thread needs. Without 1 a handler might bind an M that is lost when the word is written over;
//! without 2 find one that still has its former owner's state; without 3 find none, with nobody refusing it, and bind a second;
//! without 4 be bound, and lose that; without 5 use an M that others may have, or that counts less callbacks than there are;
//! without 6 wait for the list's lock, which its own thread holds.
//!
//! (The handler for faults is not concerned: see `stack::overflow`.)
//!
//! "Has an M" (the TLS word) and "is inside the runtime" (`m.depth`) are two facts: a bound thread has an M while it is
//! in C.

use super::boundary;
use crate::atomic::{thread_word, AtomicU32, AtomicUsize, OnceLock, Ordering};
use crate::fork;
use crate::gate;
use crate::os::ExitKey;
use crate::sched::m::{callbacks, M};
use crate::sched::revoke;
use crate::sync::rawmutex::RawMutex;
use crate::tls;
use crate::unload::{self, Since};
use core::ffi::c_void;
use core::ptr;
use core::sync::atomic::compiler_fence;

/// Extra Ms without a thread, linked through `M::link`.
struct List(*const M);

// SAFETY: Ms live as long as the process; those in the list belong to it.
unsafe impl Send for List {}

static LIST: RawMutex<List> = RawMutex::new(List(ptr::null()));
static MADE: AtomicU32 = AtomicU32::new(0);
static IN_USE: AtomicUsize = AtomicUsize::new(0);

thread_word! {
    /// True once this thread's key destructor has run: it is ending.
    static ENDING: bool = false;
    /// True while this thread gets or loses an M: it may hold the list's lock. What a signal handler sees that calls in.
    static CHANGING: bool = false;
}

/// Figures for [`crate::stats`].
pub(crate) struct Counts {
    pub(crate) made: usize,
    pub(crate) in_use: usize,
}

/// The counts of this moment.
pub(crate) fn counts() -> Counts {
    Counts { made: MADE.load(Ordering::Relaxed) as usize, in_use: IN_USE.load(Ordering::Relaxed) }
}

/// How long an M is bound.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bound {
    /// Until the thread exits.
    ToThread,
    /// For this call; the caller calls [`dropm`].
    ToCall,
}

/// Whether the calling thread has been interrupted while it gets or loses an M.
pub(crate) fn is_changing() -> bool {
    CHANGING.get()
}

/// Gives the calling thread, which has none and is `pthread` to C, an M. Not where [`is_changing`].
#[cold]
pub(crate) fn needm(pthread: usize) -> (&'static M, Bound) {
    CHANGING.set(true);
    compiler_fence(Ordering::SeqCst); // 1

    // SAFETY: the G of a thread lives.
    if let Some(g) = unsafe { tls::getg().as_ref() } {
        // A signal handler was first, just before this. What it was given for its own call it has given back.
        CHANGING.set(false);
        // SAFETY: the M of a foreign G is set for ever.
        return (unsafe { &*g.m.get() }, Bound::ToThread);
    }
    revoke::init(); // for the gate; the runtime need not have started
    fork::init();
    unload::watch(Since::Used);
    let m = pop().unwrap_or_else(|| M::leak(MADE.fetch_add(1, Ordering::Relaxed), true));
    IN_USE.fetch_add(1, Ordering::Relaxed);
    m.binding.store(m.binding.load(Ordering::Relaxed) + 1, Ordering::Release);
    // Release: who finds the thread here does not find a former count afterwards; see `cancel`.
    m.pthread.store(pthread, Ordering::Release);
    compiler_fence(Ordering::SeqCst); // 2

    // SAFETY: m.tls lives for ever.
    unsafe { tls::settls(&m.tls) };
    compiler_fence(Ordering::SeqCst); // 3
    CHANGING.set(false);
    let bound = match key() {
        Some(key) if !ENDING.get() && key.set(ptr::from_ref(m).cast()) => Bound::ToThread,
        _ => Bound::ToCall,
    };
    (m, bound)
}

/// Takes the M from the calling thread and puts it back into the list. The thread has none then, and its TLS word points
/// at the zero block: the next owner's G is never seen from here.
pub(crate) fn dropm(m: &'static M) {
    CHANGING.set(true);
    compiler_fence(Ordering::SeqCst); // 4
    tls::clear_tls();
    compiler_fence(Ordering::SeqCst); // 5
    m.for_guard.set(false);
    m.guarded.set(0);
    if m.depth.swap(0, Ordering::Release) != 0 {
        gate::left(); // of guards that their thread has not left
    }
    m.pthread.store(0, Ordering::Relaxed);
    m.cancellable.set(false);
    IN_USE.fetch_sub(1, Ordering::Relaxed);
    let mut list = LIST.lock();
    m.link.set(list.0);
    list.0 = m;
    drop(list);
    compiler_fence(Ordering::SeqCst); // 6
    CHANGING.set(false);
}

/// In the child of a fork. (The list is whole at every instruction; an M in somebody's hands is lost.) Async-signal-safe.
pub(crate) fn in_child() {
    LIST.abandoned();
}

fn pop() -> Option<&'static M> {
    let mut list = LIST.lock();
    // SAFETY: the list holds Ms, which are never freed.
    let m = unsafe { list.0.as_ref() }?;
    list.0 = m.link.get();
    Some(m)
}

/// The process-wide key whose destructor gives Ms back; None if the process has no key left.
fn key() -> Option<&'static ExitKey> {
    static KEY: OnceLock<Option<ExitKey>> = OnceLock::new();
    KEY.get_or_init(|| ExitKey::new(thread_exits)).as_ref()
}

/// The calling thread is ending: an M that it needs from now on is bound for one call only.
pub(crate) fn ending() {
    ENDING.set(true);
}

/// The key's destructor, on a thread that is ending.
unsafe extern "C" fn thread_exits(m: *mut c_void) {
    ending();
    // SAFETY: the key's values are Ms.
    let m = unsafe { &*m.cast::<M>() };
    if callbacks(m.depth.load(Ordering::Relaxed)) > 0 {
        boundary::left_behind();
    }
    dropm(m);
}
