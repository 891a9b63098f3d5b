//! One symbol for two functions.
//@ flags: --crate-type=lib --emit=obj
#[gort::callback(on_panic = (), export = "case_same")]
pub extern "C" fn one() {}

#[gort::callback(on_panic = (), export)]
#[doc = "the second"]
pub extern "C" fn case_same() {} //~^^ - symbol `case_same` is already defined
