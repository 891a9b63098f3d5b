//! What the scenarios that run on Windows share: the helpers of `tests/src`, and in place of those that only Linux has, others.

#[path = "../../src/cthreads.rs"]
pub mod cthreads;
#[path = "../../src/kinds.rs"]
pub mod kinds;
#[path = "../../src/measure.rs"]
pub mod measure;
#[path = "../../src/subprocess.rs"]
pub mod subprocess;

pub mod backend;
pub mod process;
pub mod system;
