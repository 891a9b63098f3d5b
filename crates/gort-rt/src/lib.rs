//! The runtime of gort.
#![allow(dead_code, missing_docs)]
mod arch;
mod identity;
mod os;
mod stack;
