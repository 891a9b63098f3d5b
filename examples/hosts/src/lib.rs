//! A Rust library for hosts that are no Rust programs: `include/hosts.h` is what they see of it.
//!
//! Everything that C may call has gort's attribute `#[callback]`, so that any thread may call it. In the bodies goroutines, std's
//! channels and blocking calls are used as anywhere; a panic becomes the code [`FAILED`]. Three subjects: its life ([`life`]), work
//! that is spread over goroutines and calls the host back ([`jobs`]), a database ([`store`]).

pub mod jobs;
pub mod life;
pub mod store;

#[cfg(not(feature = "hooks"))]
extern crate gort_rt as gort;

#[cfg(feature = "hooks")]
use gort::callback;
#[cfg(not(feature = "hooks"))]
use gort_macros::callback;
use std::ffi::{c_int, c_void};

/// It was done.
pub const OK: c_int = 0;
/// A panic, or a call after the end of the runtime. `hosts_last_panic` has the text.
pub const FAILED: c_int = -1;
/// An argument that must not be null is, or a number makes no sense.
pub const INVALID: c_int = -2;
/// The runtime is not ended, since somebody is inside.
pub const BUSY: c_int = -3;

/// A function of the host's, as `hosts.h` describes it.
pub type Function = Option<unsafe extern "C" fn(context: *mut c_void, index: i64) -> i64>;

/// A function of the host's with its first argument.
#[derive(Clone, Copy)]
struct Host {
    function: unsafe extern "C" fn(*mut c_void, i64) -> i64,
    context: *mut c_void,
}

// SAFETY: hosts.h demands functions that may be called with their context from any thread, from several at once too.
unsafe impl Send for Host {}
// SAFETY: the same.
unsafe impl Sync for Host {}

impl Host {
    /// None where the function is null.
    fn new(function: Function, context: *mut c_void) -> Option<Host> {
        function.map(|function| Host { function, context })
    }

    fn call(self, index: i64) -> i64 {
        // SAFETY: the host gave function and context to us as a pair, for calls like this one.
        unsafe { (self.function)(self.context, index) }
    }
}
