//! A program whose `main` is a goroutine's.
#![deny(warnings)]

#[derive(Debug)]
struct NotSend(#[allow(dead_code)] std::rc::Rc<i32>);

/// With a documentation.
#[gort::main(procs = 1 + 1, stack_size = 1 << 20, backend = gort::Backend::Goroutines, crate = ::gort)]
#[allow(clippy::unnecessary_wraps)]
fn main() -> Result<(), NotSend> {
    #![allow(unused_variables)]
    let unused = std::rc::Rc::new(5);
    Ok(())
}
