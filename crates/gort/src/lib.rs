//! Threads you can have a million of, callable from any C thread: Go's runtime model as a Rust library.
//!
//! Replace `std::thread` by `gort::thread`; keep std, keep your crates, keep your C libraries.
//!
//! ```
//! use std::sync::mpsc;
//!
//! let (to_first, mut from) = mpsc::channel();
//! for _ in 0..1000 {
//!     let (to_next, next) = mpsc::channel();
//!     gort::thread::spawn(move || {
//!         let token: u32 = from.recv().unwrap(); // parks the goroutine, not the kernel thread
//!         to_next.send(token + 1).unwrap();
//!     });
//!     from = next;
//! }
//! to_first.send(0).unwrap();
//! assert_eq!(from.recv().unwrap(), 1000);
//! ```
//!
//! An application names this crate: it adds to the runtime, `gort-rt`, the hooks that make std's own blocking calls park
//! goroutines ([`interpose`]). A library that only wants goroutines depends on `gort-rt`, which overrides nothing.

#[cfg(target_os = "linux")]
pub use gort_interpose as interpose;
pub use gort_macros::{callback, main, test};
#[cfg(windows)]
pub use gort_redirect as interpose;
#[cfg(target_os = "linux")]
pub use gort_rt::io;
pub use gort_rt::{
    alloc, backend, dump, ffi, set_procs, shutdown, stats, thread, Backend, Config, Error, Stats, TLS_SLOTS,
};

mod application;
#[doc(hidden)]
pub mod entry;

#[doc(hidden)]
pub use gort_rt::testing;

#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
