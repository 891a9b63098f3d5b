//! What the measurements ask of the system.
//!
//! # Required items
//!
//! | Item | Contract |
//! |---|---|
//! | [`held_bytes`] | bytes of memory that the process holds, with what the system needs to map them where it tells |
//! | [`most_goroutines`] | how many goroutines the system bears at once |
//! | [`short_sleeps`] | whether C's `clock_nanosleep` sleeps for fractions of a millisecond; else why not |
//! | [`use_cpus`] | restricts the process to the first so many of the CPUs that it may use |
//! | [`send`], [`receive`] | a message over a connection, by one system call |
//! | [`need_descriptors`], [`parents_cpu`], [`use_all_cpus`], [`Usage`]* | for the load |
//!
//! What has a star is wanted only where there is a load, which so far is on Linux; elsewhere `load/elsewhere.rs` stands in for it. So
//! does `rows/hooked_elsewhere.rs` for the row about libc's functions.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
use linux as system;
#[cfg(windows)]
mod windows;
#[cfg(windows)]
use windows as system;

#[cfg(target_os = "linux")]
pub use linux::{need_descriptors, parents_cpu, use_all_cpus, Usage};
pub use system::{held_bytes, most_goroutines, receive, send, short_sleeps, use_cpus};
