//! What dumps show: only the reasons of waits, which protocols name.

#[path = "../../crates/gort-rt/src/debug/why.rs"]
pub(crate) mod why;
