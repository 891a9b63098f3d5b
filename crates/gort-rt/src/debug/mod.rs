//! Seeing inside a process that runs.
//!
//! | File | Subject |
//! |---|---|
//! | `record` | what is shown of a goroutine, and how it is written and read without stopping anybody |
//! | `why` | what a goroutine waits for |
//! | `room` | stacks for dumps |
//! | `text` | text for a descriptor, without allocation |
//! | `dump` | the dump: Ps, Ms, goroutines |
//! | `sigquit` | a dump when the user asks for one |

pub(crate) mod dump;
pub(crate) mod record;
pub(crate) mod room;
#[cfg_attr(windows, path = "ctrl_break.rs")]
pub(crate) mod sigquit;
mod text;
pub(crate) mod why;
