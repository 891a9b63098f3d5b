//! Being inside without a closure: a callback whose begin and end are calls of their own.
//!
//! What [`super::callback`] does around a closure, [`enter`] and [`leave`] do for callers who have none, such as C. A thread that
//! has entered is inside as one in a callback is: shutdown waits for it, and lets it call in. Nobody checks the pairs at compile
//! time, so they are counted, apart from the callbacks, in the upper half of `m.depth`. A `leave` too many therefore never ends a
//! callback that somebody else is in.
//!
//! No frame of Rust's lies on the stack because of a guard. So a thread that has entered is cancelled as any other: at its next
//! cancellation point in C, or when a callback has returned to it; see `cancel`.
//!
//! A thread that ends with guards of its own still entered, gives its M back as always, guards and all.
//! On a thread that is ending already the M is bound for a call only (see `extra_m`); a guard is such a call, and its last `leave`
//! gives the M back. One that is entered there and never left keeps the M, and shutdown waits for it: nothing tells of a thread's
//! very end.
//!
//! Goroutines are inside as long as they live; theirs are only counted.
//!
//! # Who has let a guard in
//! The gate, or the callback that it is entered in. `m.guarded` is which of the guards that was, and says so to those that come
//! within it, callbacks and guards. When it is left the number is taken back before the count is: a signal handler that has
//! interrupted the way in or out finds 0 and asks for itself, and takes back what it was told, since its own guard is another
//! than ours.

use super::callback::{bind, Refused};
use super::extra_m::{dropm, Bound};
use crate::atomic::Ordering;
use crate::gate;
use crate::sched::g::{Kind, G};
use crate::sched::m::{callbacks, guards, GUARD, M};
use crate::tls;
use core::cell::Cell;
use core::sync::atomic::compiler_fence;

thread_local! {
    /// Guards of the calling goroutine.
    static OF_GOROUTINE: Cell<u32> = const { Cell::new(0) };
}

/// The calling thread's M, if it is a foreign thread that has one; Err if there is no M, or the caller is a goroutine.
fn foreign_m() -> Result<&'static M, Caller> {
    // SAFETY: the current G lives while its code or its thread does.
    match unsafe { tls::getg().as_ref() } {
        None => Err(Caller::Stranger),
        // SAFETY: a foreign G's M is set for ever.
        Some(G { kind: Kind::Foreign, m, .. }) => Ok(unsafe { &*m.get() }),
        Some(_) => Err(Caller::Goroutine),
    }
}

/// Who has no M of a foreign thread's.
enum Caller {
    Stranger,
    Goroutine,
}

/// Enters, on whatever thread this is. Each call is undone by one [`leave`] on the same thread or goroutine.
///
/// # Errors
/// The runtime has been shut down, or is being shut down, and the caller is not inside yet; or is a signal handler on a thread
/// that enters for the first time.
pub(crate) fn enter() -> Result<(), Refused> {
    match foreign_m() {
        Ok(m) => count(m),
        Err(Caller::Goroutine) => {
            OF_GOROUTINE.set(OF_GOROUTINE.get() + 1);
            Ok(())
        }
        Err(Caller::Stranger) => first(),
    }
}

/// One guard more, if it is let in.
fn count(m: &M) -> Result<(), Refused> {
    let depth = m.depth.load(Ordering::Relaxed);
    m.depth.store(depth + GUARD, Ordering::Relaxed);
    if m.guarded.get() == 0 {
        if !gate::admits() && !m.admitted.get() {
            uncount(m);
            return Err(Refused::Shut);
        }
        m.guarded.set(guards(depth) + 1);
    }
    Ok(())
}

/// One less.
fn uncount(m: &M) {
    let depth = m.depth.load(Ordering::Relaxed) - GUARD;
    if guards(depth) < m.guarded.get() {
        m.guarded.set(0);
    }
    // Release: what was done within it is done for whoever sees that it has been left.
    m.depth.store(depth, Ordering::Release);
    if depth == 0 {
        gate::left();
    }
}

#[cold]
fn first() -> Result<(), Refused> {
    let (m, bound) = bind()?;
    if let Err(refused) = count(m) {
        if bound == Bound::ToCall {
            dropm(m);
        }
        return Err(refused);
    }
    compiler_fence(Ordering::SeqCst); // a handler's guard is the outermost neither before this nor after it
    m.for_guard.set(bound == Bound::ToCall);
    Ok(())
}

/// Undoes one [`enter`]. False: there is none to undo here.
pub(crate) fn leave() -> bool {
    let m = match foreign_m() {
        Ok(m) => m,
        Err(Caller::Stranger) => return false,
        Err(Caller::Goroutine) => {
            let guards = OF_GOROUTINE.get();
            OF_GOROUTINE.set(guards.saturating_sub(1));
            return guards > 0;
        }
    };
    let depth = m.depth.load(Ordering::Relaxed);
    // An M that goes with its outermost guard cannot go while a callback below it runs.
    let last = guards(depth) == 1 && m.for_guard.get();
    if guards(depth) == 0 || (last && callbacks(depth) > 0) {
        return false;
    }
    if last {
        m.for_guard.set(false); // nor is one that comes from here on
        compiler_fence(Ordering::SeqCst);
    }
    uncount(m);
    if last {
        dropm(m);
    }
    true
}
