//! Locks for the runtime's own state. They block the kernel thread and know nothing of goroutines.

pub(crate) mod event;
pub(crate) mod futex;
pub(crate) mod list;
pub(crate) mod rawmutex;
