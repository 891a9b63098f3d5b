//! The runtime of gort: threads you can have a million of, callable from any C thread.
//!
//! This crate overrides nothing: a library may depend on it. Applications name the crate `gort`, which adds the hooks that
//! make std's own blocking calls park goroutines.
//!
//! | Module | Subject |
//! |---|---|
//! | [`thread`] | goroutines, with the interface of `std::thread` |
//! | [`ffi`] | C threads that call in, calls out to C |
//! | [`io`] | waiting for descriptors |
//! | [`alloc`] | allocators with caches per thread |
//! | `tls`, `identity` | the thread-local word; a goroutine's thread block |
//! | `pthread` | goroutines in place of the threads that others make |
//! | `stack`, `arch`, `os` | memory, the processor, the kernel |
//! | `chaos` | a mode for tests |
//! | `sched`, `time`, `sync`, `poll` | G, M, P; timers; what goroutines wait on; the netpoller |
//! | `debug` | what a dump shows |
//! | `backend`, `oneone` | whether the scheduler carries goroutines, or a kernel thread each |
//! | `start`, `stop`, `gate`, `phase`, `unload` | the beginning and the end of the runtime; the end of the library |

// What only the hooks use, and Windows has none yet.
#![cfg_attr(windows, allow(dead_code))]

// On Windows there are no hooks, and thread blocks are not a C library's: rooms that serve these have a counterpart there, named
// by its path.

#[cfg(not(any(
    all(
        target_os = "linux",
        target_env = "gnu",
        any(target_arch = "aarch64", target_arch = "x86_64"),
        target_pointer_width = "64",
        target_endian = "little"
    ),
    all(windows, target_arch = "x86_64")
)))]
compile_error!("gort needs Linux on x86-64 or AArch64 with glibc, or Windows on x86-64, so far");

mod arch;
mod atomic;
mod backend;
#[cfg(target_os = "linux")]
mod chain;
mod chaos;
mod config;
mod debug;
mod error;
mod fork;
mod gate;
#[cfg_attr(windows, path = "identity/windows/mod.rs")]
mod identity;
mod oneone;
mod os;
mod phase;
#[cfg_attr(windows, path = "poll/windows/mod.rs")]
mod poll;
mod report;
mod sched;
mod stack;
mod start;
mod stats;
mod stop;
mod sync;
mod time;
mod tls;
#[cfg_attr(windows, path = "unload/windows.rs")]
mod unload;

pub mod alloc;
#[doc(hidden)]
pub mod embed;
pub mod ffi;
#[cfg_attr(windows, path = "hook/windows.rs")]
#[doc(hidden)]
pub mod hook;
#[cfg(target_os = "linux")]
pub mod io;
#[cfg(target_os = "linux")]
#[doc(hidden)]
pub mod pthread;
#[cfg(windows)]
#[path = "pthread/windows.rs"]
mod pthread;
pub mod thread;

pub use backend::{backend, Backend};
pub use config::Config;
pub use debug::dump::dump;
pub use error::Error;
pub use start::set_procs;
pub use stats::{stats, Stats};
pub use stop::shutdown;
pub use tls::TLS_SLOTS;

/// For this project's own tests.
#[doc(hidden)]
pub mod testing {
    #[cfg(target_os = "linux")]
    pub use crate::arch::system_call;
    pub use crate::chaos::chaos_counts;
    pub use crate::sched::gfree::all_go_cold;
    pub use crate::tls::{is_none, stray_store};
}
