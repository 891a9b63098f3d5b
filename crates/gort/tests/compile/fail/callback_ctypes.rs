//! Types that C has not.
//@ flags: --crate-type=lib
#![deny(improper_ctypes_definitions)]

#[gort::callback(on_panic = ())]
pub extern "C" fn argument(text: String) {} //~ - not FFI-safe

#[gort::callback(on_panic = "")]
pub extern "C" fn result<'a>() -> &'a str { "" } //~ - not FFI-safe
