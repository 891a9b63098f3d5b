//! A symbol is a promise that no other has it, which is unsafe to make: who forbids that need not search for it.
//@ flags: --crate-type=lib
#![forbid(unsafe_code)]

#[gort::callback(on_panic = (), export)] //~ - declaration of a `no_mangle` function
pub extern "C" fn case_forbidden() {}

#[gort::callback(on_panic = ())]
pub extern "C" fn without_a_symbol() {}
