//! As with a plain test: one that should panic returns nothing, others what a program may.
//@ flags: --test
#[gort::test]
#[should_panic]
fn should_panic() -> Result<(), String> { //~^^ - must return `()`
    Ok(())
}

#[gort::test]
fn number() -> i32 { 5 } //~ E0277 Termination
