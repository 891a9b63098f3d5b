//! One file per ABI: what only one processor knows.
//!
//! # Required items
//!
//! | Item | Contract |
//! |---|---|
//! | `tail_call_with_caller!` | the body of a naked function of two arguments, whole numbers or pointers: goes on in another one, which gets the address that it returns to as its third |

#[cfg(target_arch = "aarch64")]
mod aarch64;
#[cfg(target_arch = "aarch64")]
pub(crate) use aarch64::tail_call_with_caller;

#[cfg(target_arch = "x86_64")]
mod x86_64;
#[cfg(target_arch = "x86_64")]
pub(crate) use x86_64::tail_call_with_caller;
