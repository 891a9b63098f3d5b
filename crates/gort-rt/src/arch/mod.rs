//! One file per ABI: the context switch, the thread pointer and the first frame of a goroutine.
//!
//! # Required items
//!
//! | Item | Contract |
//! |---|---|
//! | [`init`] | called once before any of the others; finds out how the thread pointer may be written |
//! | [`thread_pointer`] | the base that thread-local variables are addressed from |
//! | [`switch`] | save the present context, load another one, thread pointer included |
//! | [`call_on_stack`] | call a function on another stack and thread pointer, then come back |
//! | [`call_leavable`] | call a start routine, which may end by `pthread_exit` |
//! | [`valgrind`] | tells valgrind of stacks; does nothing where there is no valgrind |
//! | [`full_fence`] | no load or store crosses it, in either direction |
//! | [`prepare`] | lay out a first frame so that [`switch`] enters a function on a fresh stack |

pub(crate) mod valgrind;
mod x86_64;

pub(crate) use x86_64::{call_leavable, call_on_stack, full_fence, init, prepare, switch, thread_pointer};
