//! What the scenario tests share. The tests themselves are in `tests/`.

pub mod backend;
pub mod host_state;
pub mod measure;
pub mod process;
pub mod raw;
pub mod real;
pub mod refuse;
pub mod release;
pub mod signals;
pub mod subprocess;
pub mod system;

pub mod cthreads;
pub mod dumps;
pub mod handlers;
pub mod jumps;
pub mod kinds;
pub mod library;
pub mod locks;
pub mod queues;
pub mod rows;
#[cfg(target_arch = "x86_64")]
pub mod steps;
pub mod storms;
pub mod waiting;
pub mod watch;
