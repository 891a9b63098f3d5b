//! Joining threads that nobody waits for, so that the end of the runtime leaves none behind.
//!
//! A thread that ends cannot join itself, and should not stay unjoined until the runtime ends. So each joins the one that
//! ended before it: it puts its own handle where that one's was, and waits for what it found there, which has nothing left to
//! do. One thread at a time is unjoined, and whoever joins the last has joined all. There is no circle, because each waits
//! for one that came to that place earlier.

use crate::fork;
use core::mem;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;

type Handle = Option<JoinHandle<()>>;

fn lock(handle: &Mutex<Handle>) -> MutexGuard<'_, Handle> {
    handle.lock().unwrap_or_else(|e| e.into_inner())
}

/// Where a thread finds its own handle, which only its maker is given.
#[derive(Clone, Default)]
pub(super) struct OwnHandle(Arc<Mutex<Handle>>);

impl OwnHandle {
    /// Makes the thread by `spawn`, and leaves its handle to it. A thread that is quicker waits for that.
    pub(super) fn hand_over(&self, spawn: impl FnOnce() -> io::Result<JoinHandle<()>>) -> io::Result<()> {
        let mut own = lock(&self.0);
        *own = Some(spawn()?);
        Ok(())
    }
}

/// The thread that has ended last.
pub(super) struct Last(Mutex<Handle>);

impl Last {
    pub(super) const fn none() -> Last {
        Last(Mutex::new(None))
    }

    /// The calling thread ends, whose handle that is: joins the one before. In a forked child there is none.
    pub(super) fn follow(&self, own: &OwnHandle) {
        if !fork::is_child() {
            let own = lock(&own.0).take();
            Last::await_end(mem::replace(&mut *lock(&self.0), own));
        }
    }

    /// Joins the thread that ended last.
    pub(super) fn join(&self) {
        Last::await_end(lock(&self.0).take());
    }

    fn await_end(thread: Handle) {
        if let Some(thread) = thread {
            // It ends in the destructor of a key, long after a panic of its own would have been caught.
            let _ = thread.join();
        }
    }
}
