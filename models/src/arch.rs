//! The processor. A stack is a thread of the model: switching to another lets its thread go on, and waits for one's own turn.

#[path = "../../crates/gort-rt/src/arch/native.rs"]
mod native;

use crate::atomic::{fence, Ordering};
use crate::engine::{keep, Local, Parker};
use core::cell::{Cell, OnceCell};
use core::ptr;
use std::panic;

pub(crate) use native::Native;

pub(crate) fn full_fence() {
    fence(Ordering::SeqCst);
}

pub(crate) fn fence_after_rmw() {
    fence(Ordering::SeqCst);
}

pub(crate) fn thread_pointer() -> usize {
    0
}

/// A saved context.
struct Context {
    thread: OnceCell<Parker>,
    /// It may go on.
    turn: Cell<bool>,
    /// It must not go on, but end.
    over: Cell<bool>,
    /// It is being run. Whoever switches to one that is has found a goroutine that was not saved.
    running: Cell<bool>,
}

/// What ends a goroutine's thread.
struct End;

static HERE: Local<Cell<*const Context>> = Local::new(|| Cell::new(ptr::null()));

/// The context of a thread to be.
pub(crate) fn context() -> *mut u8 {
    let context =
        Context { thread: OnceCell::new(), turn: Cell::new(false), over: Cell::new(false), running: Cell::new(false) };
    ptr::from_ref(keep(context)).cast_mut().cast()
}

/// The calling thread is that of the context: waits until somebody switches to it.
///
/// # Safety
/// [`context`] made it.
pub(crate) unsafe fn begin(at: *mut u8) {
    HERE.set(at.cast());
    // SAFETY: the caller's promise; contexts live as long as the execution.
    unsafe { &*at.cast::<Context>() }.stay();
}

impl Context {
    fn stay(&self) {
        let _ = self.thread.set(Parker::here());
        while !self.turn.replace(false) {
            Parker::park();
        }
        if self.over.get() {
            panic::resume_unwind(Box::new(End));
        }
    }

    fn go(&self) {
        assert!(!self.running.replace(true), "a context is run twice, or before it was saved");
        self.turn.set(true);
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }
}

/// Saves the calling context, whose address goes to `save`, and goes on with the one at `sp`.
///
/// # Safety
/// `sp` was saved, or made by [`context`], and nobody else goes on with it.
pub(crate) unsafe fn switch(save: *mut *mut u8, sp: *mut u8, _tp: usize) {
    if HERE.get().is_null() {
        HERE.set(context().cast());
    }
    let here = HERE.get();
    // SAFETY: contexts live as long as the execution; `save` is the caller's.
    unsafe {
        save.write(here.cast_mut().cast());
        (*here).running.set(false);
        (*sp.cast::<Context>()).go();
        (*here).stay();
    }
}

/// The context is not needed any more.
///
/// # Safety
/// As for [`switch`].
pub(crate) unsafe fn end(sp: *mut u8) {
    // SAFETY: the caller's promise.
    unsafe {
        (*sp.cast::<Context>()).over.set(true);
        (*sp.cast::<Context>()).go();
    }
}

/// Runs `f`, which does not return but ends by [`end`].
pub(crate) fn until_the_end(f: impl FnOnce()) {
    let Err(why) = panic::catch_unwind(panic::AssertUnwindSafe(f)) else { unreachable!("it does not return") };
    if !why.is::<End>() {
        panic::resume_unwind(why);
    }
}
