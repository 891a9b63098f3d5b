//! Nobody forks.

pub(crate) fn init() {}
