//! Handles and tokens.

pub(crate) mod current;
#[path = "../../../crates/gort-rt/src/thread/park.rs"]
pub(crate) mod park;

/// What users hold.
pub(crate) struct Thread {
    pub(crate) inner: current::Inner,
}

impl Thread {
    /// The handle of the goroutine with this wait word, or of a plain thread.
    pub(crate) fn new(wait: Option<&'static crate::atomic::AtomicU64>) -> &'static Thread {
        crate::engine::keep(Thread { inner: current::Inner::new(wait) })
    }

    pub(crate) fn unpark(&self) {
        park::unpark(&self.inner);
    }
}
