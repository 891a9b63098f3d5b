//! Joining threads that nobody waits for, so that the end of the runtime leaves none behind.
//!
//! A thread that ends cannot join itself, and should not stay unjoined until the runtime ends. So each joins the one that
//! ended before it: it puts its own handle where that one's was, and waits for what it found there, which has nothing left to
//! do. One thread at a time is unjoined, and whoever joins the last has joined all. There is no circle, because each waits
//! for one that came to that place earlier.

use crate::fork;
use crate::sync::rawmutex::RawMutex;
use core::mem;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

type Handle = Option<JoinHandle<()>>;

/// Where a thread finds its own handle, which only its maker is given.
#[derive(Clone)]
pub(super) struct OwnHandle(Arc<RawMutex<Handle>>);

impl OwnHandle {
    /// Of a thread that is to be made.
    pub(super) fn none() -> OwnHandle {
        OwnHandle(Arc::new(RawMutex::new(None)))
    }

    /// Makes the thread by `spawn`, and leaves its handle to it. A thread that is quicker waits for that.
    pub(super) fn hand_over(&self, spawn: impl FnOnce() -> io::Result<JoinHandle<()>>) -> io::Result<()> {
        let mut own = self.0.lock();
        *own = Some(spawn()?);
        Ok(())
    }
}

/// The thread that has ended last.
pub(super) struct Last(RawMutex<Handle>);

impl Last {
    pub(super) const fn none() -> Last {
        Last(RawMutex::new(None))
    }

    /// The calling thread ends, whose handle that is: joins the one before. In a forked child there is none.
    pub(super) fn follow(&self, own: &OwnHandle) {
        if !fork::is_child() {
            let own = own.0.lock().take();
            let before = mem::replace(&mut *self.0.lock(), own);
            Last::await_end(before);
        }
    }

    /// Joins the thread that ended last.
    pub(super) fn join(&self) {
        let last = self.0.lock().take();
        Last::await_end(last);
    }

    fn await_end(thread: Handle) {
        if let Some(thread) = thread {
            // It ends in the destructor of a key, long after a panic of its own would have been caught.
            let _ = thread.join();
        }
    }
}
