//! The peers: the same workloads on other runtimes, each in its own idiom.

pub mod bare;
pub mod go;
pub mod may;
pub mod std;
pub mod tokio;
