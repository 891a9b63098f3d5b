//! Tests that are none.
//@ flags: --test
#[gort::test]
fn arguments(n: i32) {} //~ - takes no arguments

#[gort::test]
async fn asynchronous() {} //~ - remove `async`

#[gort::test]
fn generic<T>() {} //~ - cannot be generic

#[gort::test]
#[test] //~ - cannot be joined with another `test`
fn twice() {}

#[gort::test(procs = 2)] //~ - `procs` is not an argument of `test`
fn setting() {}

#[gort::test(stack_size = "much")] //~ E0308 mismatched types
fn kind() {}

#[gort::test]
const NO_FUNCTION: i32 = 5; //~ - belongs on a function
