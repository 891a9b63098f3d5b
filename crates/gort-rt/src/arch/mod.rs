//! One file per ABI: what only one processor, and one system's convention for it, knows. The context switch, the thread pointer,
//! the first frame of a goroutine.
//!
//! # Required items
//!
//! Those marked with a star are for identities that are a C library's thread blocks, and for its signals and hooks.
//!
//! | Item | Contract |
//! |---|---|
//! | [`init`] | called once before any of the others; finds out how the thread pointer may be written |
//! | [`thread_pointer`] | the base that thread-local variables are addressed from, or what stands for it: where a goroutine's identity is, or a kernel thread's |
//! | [`Native`] | what a kernel thread keeps of itself while goroutines run on it |
//! | [`THREAD_VECTOR`]* | offset from it of the word that leads to the thread vector |
//! | [`SELF_WORDS`]* | offsets from it of words that hold the thread pointer itself |
//! | [`STACK_GUARD`]* | offset from it of the stack protector's word, if it lies in the thread's block |
//! | [`RSEQ_SIGNATURE`]* | what glibc registers its areas for restartable sequences with |
//! | [`switch`] | save the present context, load another one, thread pointer included |
//! | [`call_on_stack`] | call a function on another stack and thread pointer, then come back |
//! | [`call_leavable`]* | call a start routine, which may end by `pthread_exit` |
//! | [`prepare`] | lay out a first frame so that [`switch`] enters a function on a fresh stack |
//! | [`full_fence`] | no load or store crosses it, in either direction |
//! | [`fence_after_rmw`] | the same, by one who has just made an atomic read-modify-write, which may be fence enough |
//! | [`system_call`]* | enter the kernel |
//! | [`stack_pointer_of`]* | the stack pointer in what a signal handler is given |
//! | [`valgrind_request`] | ask valgrind, which runs this processor's programs; for [`valgrind`] |

#[cfg(target_os = "linux")]
mod native;
pub(crate) mod valgrind;

#[cfg(target_arch = "aarch64")]
mod aarch64;
#[cfg(target_arch = "aarch64")]
use aarch64 as abi;

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod x86_64;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
use x86_64 as abi;

#[cfg(all(target_arch = "x86_64", windows))]
mod x86_64_windows;
#[cfg(all(target_arch = "x86_64", windows))]
use x86_64_windows as abi;

#[cfg(target_os = "linux")]
pub use abi::system_call;
use abi::valgrind_request;
#[cfg(target_os = "linux")]
pub(crate) use abi::{call_leavable, stack_pointer_of, RSEQ_SIGNATURE, SELF_WORDS, STACK_GUARD, THREAD_VECTOR};
pub(crate) use abi::{call_on_stack, fence_after_rmw, full_fence, init, prepare, switch, thread_pointer};
#[cfg(windows)]
pub(crate) use abi::{goroutine, set_storage, Native, Record};
#[cfg(target_os = "linux")]
pub(crate) use native::Native;
