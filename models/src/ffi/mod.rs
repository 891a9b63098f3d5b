//! C threads that call in.

#[path = "../../../crates/gort-rt/src/ffi/extra_m.rs"]
pub(crate) mod extra_m;

/// The frames of callbacks, which models do not have.
pub(crate) mod boundary {
    pub(crate) fn left_behind() -> ! {
        panic!("a thread ended within a callback");
    }
}
