//! The runtime of gort: threads you can have a million of, callable from any C thread.
//!
//! This crate overrides nothing: a library may depend on it. Applications name the crate `gort`, which adds the hooks that
//! make std's own blocking calls park goroutines.
//!
//! | Module | Subject |
//! |---|---|
//! | [`thread`] | goroutines, with the interface of `std::thread` |
//! | [`ffi`] | C threads that call in, calls out to C |
//! | [`alloc`] | allocators with caches per thread |
//! | `tls`, `identity` | the thread-local word; a goroutine's thread block |
//! | `stack`, `arch`, `os` | memory, the processor, the kernel |
//! | `sched`, `time`, `sync` | G, M, P; timers; what goroutines wait on |

#[cfg(not(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu")))]
compile_error!("gort needs Linux on x86-64 with glibc so far");

mod arch;
mod config;
mod error;
mod fork;
mod identity;
mod os;
mod report;
mod sched;
mod stack;
mod start;
mod stats;
mod sync;
mod time;
mod tls;

pub mod alloc;
pub mod ffi;
#[doc(hidden)]
pub mod hook;
pub mod thread;

pub use config::Config;
pub use error::Error;
pub use stats::{stats, Stats};
pub use tls::TLS_SLOTS;

/// For this project's own tests.
#[doc(hidden)]
pub mod testing {
    pub use crate::tls::{is_none, stray_store};
}
