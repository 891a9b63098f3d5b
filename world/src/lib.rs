//! What the tests with real programs share. The tests themselves are in `tests/`, one subject per file; `ci/world.sh`
//! starts the servers that they need and runs them.

pub mod churn;
pub mod crowd;
pub mod heaps;
pub mod http;
pub mod mark;
pub mod pool;
pub mod process;
pub mod server;
pub mod servers;
pub mod suites;

pub use gort::interpose::report as hooks;
