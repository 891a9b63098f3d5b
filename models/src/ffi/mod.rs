//! C threads that call in.

#[path = "../../../crates/gort-rt/src/ffi/extra_m.rs"]
pub(crate) mod extra_m;
