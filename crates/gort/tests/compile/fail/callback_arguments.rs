//! What stands in the parentheses.
//@ flags: --crate-type=lib

#[gort::callback] //~ - say what C gets if the body panics
extern "C" fn missing() {}

#[gort::callback(on_panic = (), exprot)] //~ - `exprot` is not an argument
extern "C" fn unknown() {}

#[gort::callback(on_panic = (), on_panic = abort)] //~ - is given twice
extern "C" fn twice() {}

#[gort::callback(on_panic = (), export = "not a name")] //~ - C has no such name
extern "C" fn name() {}

#[gort::callback(on_panic = (), export)] //~ - `export` gives the function its symbol
#[no_mangle]
extern "C" fn both() {}

#[gort::callback(on_panic = (), export = "other")] //~ - `export` gives the function its symbol
#[unsafe(export_name = "third")]
extern "C" fn both_names() {}
