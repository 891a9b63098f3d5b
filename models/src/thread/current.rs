//! The handle of the running goroutine or thread.

use crate::atomic::AtomicU64;
use crate::engine::Local;
use crate::sched::g::Ticket;
use crate::thread::Thread;
use core::cell::Cell;

pub(crate) struct Inner {
    pub(super) token: AtomicU64,
    wait: Option<&'static AtomicU64>,
}

impl Inner {
    /// The handle of the goroutine with this wait word, or of a plain thread.
    pub(crate) fn new(wait: Option<&'static AtomicU64>) -> Inner {
        Inner { token: AtomicU64::new(0), wait }
    }

    pub(super) fn ticket(&self, seq: u64) -> Option<Ticket> {
        self.wait.map(|wait| Ticket::of(wait, seq))
    }
}

static CURRENT: Local<Cell<Option<&'static Thread>>> = Local::new(|| Cell::new(None));

/// Says whose handle the calling thread of the model has.
pub(crate) fn set_current(thread: &'static Thread) {
    CURRENT.set(Some(thread));
}

pub(super) fn with_current<R>(f: impl FnOnce(&Thread) -> R) -> R {
    f(CURRENT.get().expect("the model gives the thread a handle"))
}
