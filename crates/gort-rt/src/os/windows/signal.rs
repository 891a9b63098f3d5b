//! Signals, which do not interrupt threads on Windows: each item is empty here.

/// Handlers are kept from the calling thread; there are none.
#[must_use = "it counts while it lives"]
pub(crate) struct Blocked(());

impl Blocked {
    /// From now on.
    pub(crate) fn all() -> Blocked {
        Blocked(())
    }
}

/// The runtime starts.
pub(crate) fn remember_mask() {}

/// The calling thread, one of the runtime's, is ready for handlers.
pub(crate) fn take_signals() {}

/// The calling thread, one of the runtime's, is about to end.
pub(crate) fn refuse_signals() {}

/// Whether the caller runs on its kernel thread's signal stack.
pub(crate) fn on_signal_stack() -> bool {
    false
}
