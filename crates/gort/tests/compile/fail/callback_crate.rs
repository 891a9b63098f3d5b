//! A path to the crate that leads nowhere.
//@ flags: --crate-type=lib
#[gort::callback(on_panic = (), crate = not_there)] //~ E0433 not_there
extern "C" fn path() {}
