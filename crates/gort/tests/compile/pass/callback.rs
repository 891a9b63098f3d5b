//! Callbacks, with and without a symbol, without a warning where everything is one.
//@ flags: --crate-type=lib --edition=2024
#![deny(warnings, missing_docs, unused_qualifications, improper_ctypes_definitions)]

use std::ffi::{c_int, c_void};

/// With a symbol.
#[gort::callback(on_panic = -1, export)]
pub extern "C" fn case_exported(n: c_int) -> c_int {
    n + 1
}

/// Under another name.
#[gort::callback(on_panic = abort, export = "case_another")]
pub extern "C" fn renamed() {}

/// By hand.
#[gort::callback(on_panic = ())]
#[unsafe(no_mangle)]
pub extern "C" fn case_by_hand() {}

/// By hand, under another name.
#[unsafe(export_name = "case_by_hand_too")]
#[gort::callback(on_panic = std::ptr::null_mut())]
pub extern "system" fn by_hand_too(p: *mut c_void) -> *mut c_void {
    p
}

/// Without one: two of these names do not meet.
pub mod inner {
    /// As above, without a symbol.
    #[gort::callback(on_panic = None)]
    pub extern "C" fn case_exported(r: Option<&u8>) -> Option<&u8> {
        r
    }
}
