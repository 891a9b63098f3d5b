//! Functions that cannot be callbacks.
//@ flags: --crate-type=lib

#[gort::callback(on_panic = 0)]
fn rust() -> i32 { 1 } //~ - write `extern "C" fn`

#[gort::callback(on_panic = 0)]
extern "C" fn generic<T>(t: &T) -> i32 { 1 } //~ - cannot be generic

#[gort::callback(on_panic = 0)]
async extern "C" fn later() -> i32 { 1 } //~ - cannot be `async`

#[gort::callback(on_panic = 0)]
extern "C-unwind" fn unwinds() -> i32 { 1 } //~ - a panic never leaves a callback

#[gort::callback(on_panic = 0)]
extern "C" fn never() -> ! { loop {} } //~ - returns to C

#[gort::callback(on_panic = 0)]
struct NoFunction; //~ - belongs on an `extern "C" fn`

struct Method;
impl Method {
    #[gort::callback(on_panic = 0)]
    extern "C" fn method(&self) -> i32 { 1 } //~ - cannot take `self`
}
