//! What the scenario tests share. The tests themselves are in `tests/`.

pub mod measure;
pub mod raw;
pub mod subprocess;

pub mod child;
pub mod cthreads;
pub mod watch;
