//! Tests on goroutines.
//@ flags: --test
#![deny(warnings)]

#[gort::test]
fn plain() {}

#[gort::test(stack_size = 1 << 20)]
#[ignore = "for a reason"]
fn with_a_result() -> Result<(), Box<dyn std::error::Error>> {
    Ok(())
}

#[gort::test()]
#[should_panic(expected = "text")]
fn r#match() {
    panic!("text")
}
