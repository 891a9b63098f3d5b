//! What `gort` needs of the runtime where there are no hooks: not for users, and without promises of stability.

use crate::config;
use crate::error::Error;
use crate::start;

/// The crate `gort` is in this process: it is an application, and its settings default to what applications want. Before the
/// start.
pub fn declare_application() {
    config::declare_application();
}

/// Starts the runtime with the default settings, if it does not run.
///
/// # Errors
/// It cannot start, or was shut down.
pub fn start_runtime() -> Result<(), Error> {
    start::runtime().map(drop)
}
