//! What a goroutine leaves behind, and who waits for it.

use super::current::Thread;
use super::scope::Data;
use super::Result;
use crate::debug::why::Why;
use crate::sync::event::Event;
use core::cell::UnsafeCell;
use core::fmt;
use std::sync::Arc;

/// The place where a goroutine puts its result.
pub(super) struct Packet<T> {
    pub(super) result: UnsafeCell<Option<Result<T>>>,
    /// Set at the goroutine's very end, after its thread-local destructors.
    pub(super) ended: Event,
    /// The scope that wants to know of a panic nobody has seen.
    scope: Option<Arc<Data>>,
    thread: Thread,
}

// SAFETY: the goroutine writes `result` before it sets `ended`; the one who joins reads it after. A T travels from the
// goroutine to the joiner, hence Send; the error is Send by its type.
unsafe impl<T: Send> Sync for Packet<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Send for Packet<T> {}

impl<T> Packet<T> {
    pub(super) fn new(thread: Thread, scope: Option<Arc<Data>>) -> Packet<T> {
        Packet { result: UnsafeCell::new(None), ended: Event::new(), scope, thread }
    }

    /// Waits for the goroutine's end and takes its result.
    ///
    /// # Safety
    /// Called once, by the one who may join.
    pub(super) unsafe fn take(&self) -> Result<T> {
        self.ended.wait(Why::join(self.thread.inner.id()));
        // SAFETY: `ended` is set, so the goroutine has written and will not touch it again.
        unsafe { (*self.result.get()).take() }.expect("a goroutine that has ended has left a result")
    }
}

impl<T> Drop for Packet<T> {
    fn drop(&mut self) {
        if let (Some(scope), Some(Err(_))) = (&self.scope, self.result.get_mut()) {
            scope.note_panic();
        }
    }
}

/// The right to join a goroutine; the counterpart of [`std::thread::JoinHandle`]. Dropping it lets the goroutine run on.
pub struct JoinHandle<T> {
    pub(super) packet: Arc<Packet<T>>,
}

impl<T> JoinHandle<T> {
    /// The handle of the goroutine.
    pub fn thread(&self) -> &Thread {
        &self.packet.thread
    }

    /// Waits for the goroutine to end, thread-local destructors included. Any thread may call it.
    ///
    /// # Errors
    /// The goroutine panicked: the panic's payload.
    ///
    /// # Panics
    /// The caller is that goroutine, as with std: it would wait for itself.
    pub fn join(self) -> Result<T> {
        if !self.is_finished() && self.thread().is_current() {
            panic!("a goroutine cannot join itself: it would wait for its own end for ever");
        }
        // SAFETY: `join` consumes the only handle.
        unsafe { self.packet.take() }
    }

    /// Whether the goroutine has ended. Does not wait.
    pub fn is_finished(&self) -> bool {
        self.packet.ended.is_set()
    }

    /// Waits as [`JoinHandle::join`] does, until `deadline` at most, in nanoseconds of [`crate::os::now`]. Whether the goroutine has
    /// ended.
    pub(crate) fn wait_until(&mut self, deadline: u64) -> bool {
        // The one waiter: `self` is borrowed for that long. The goroutine has a reference of its own while it sets the event.
        self.packet.ended.wait_until(Why::join(self.thread().inner.id()), Some(deadline))
    }
}

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinHandle").field("thread", self.thread()).finish_non_exhaustive()
    }
}
