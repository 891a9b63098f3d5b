//! Being inside without a closure: a callback whose begin and end are calls of their own.
//!
//! What [`super::callback`] does around a closure, [`enter`] and [`leave`] do for callers who have none, such as C. A thread that
//! has entered counts as one callback: shutdown waits for it. Nobody checks the pairs at compile time, so they are counted, apart
//! from the callbacks: `m.guards` of `m.depth`. A `leave` too many therefore never ends a callback that somebody else is in.
//!
//! A thread that ends with guards of its own still entered, gives its M back as always, guards and all.
//! On a thread that is ending already the M is bound for a call only (see `extra_m`); a guard is such a call, and its last `leave`
//! gives the M back.
//!
//! Goroutines are inside as long as they live; theirs are only counted.

use super::callback::{bind, Depth, Refused};
use super::extra_m::{dropm, Bound};
use crate::atomic::Ordering;
use crate::sched::g::{Kind, G};
use crate::sched::m::M;
use crate::tls;
use core::cell::Cell;
use core::mem;
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
    let m = match foreign_m() {
        Ok(m) => {
            mem::forget(Depth::enter(m)?); // `leave` takes it up again
            m
        }
        Err(Caller::Goroutine) => {
            OF_GOROUTINE.set(OF_GOROUTINE.get() + 1);
            return Ok(());
        }
        Err(Caller::Stranger) => return first(),
    };
    m.guards.set(m.guards.get() + 1);
    Ok(())
}

#[cold]
fn first() -> Result<(), Refused> {
    let (m, bound) = bind()?;
    match Depth::enter(m) {
        Ok(depth) => mem::forget(depth),
        Err(refused) => {
            if bound == Bound::ToCall {
                dropm(m);
            }
            return Err(refused);
        }
    }
    m.guards.set(m.guards.get() + 1);
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
    let guards = m.guards.get();
    // An M that goes with its outermost guard cannot go while a callback below it runs.
    let last = guards == 1 && m.for_guard.get();
    if guards == 0 || (last && m.depth.load(Ordering::Relaxed) > 1) {
        return false;
    }
    if last {
        m.for_guard.set(false); // nor is one that comes from here on
        compiler_fence(Ordering::SeqCst);
    }
    m.guards.set(guards - 1);
    drop(Depth::entered(m));
    if last {
        dropm(m);
    }
    true
}
