//! What this crate asks of the platform.
//!
//! # Required items
//!
//! | Item | Contract |
//! |---|---|
//! | [`at_fork`] | be told of forks, in the child, from now on |
//! | [`report`], [`Report`] | which of the system's functions park goroutines, `enabled` and `hooks` with `name` and `live`, and `all_live()`; the linker then has all hooks of the static library in the program |
//! | [`hooks_serve_the_process`] | whether calls of the whole process come to the hooks, or of this library alone |

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
use linux as system;
#[cfg(windows)]
mod windows;
#[cfg(windows)]
use windows as system;

pub(crate) use system::{at_fork, hooks_serve_the_process, report, Report};
