//! Values of the wrong type: each error is where the value is.
//@ flags: --crate-type=lib

#[gort::callback(on_panic = "text")] //~ E0308 mismatched types
extern "C" fn value() -> i32 { 1 }

#[gort::callback(on_panic = ())]
extern "C" fn body() { 1 } //~ E0308 mismatched types

#[gort::callback(on_panic = 5)] //~ E0308 mismatched types
extern "C" fn nothing() {}

#[gort::callback(on_panic = 0)]
extern "C" fn inside(pointer: Box<i32>) -> i32 {
    let n: u8 = *pointer; //~ E0308 mismatched types
    n.into()
}
