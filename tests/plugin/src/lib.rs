//! A shared library with a runtime of its own, as a C host loads it: without hooks.

#![allow(missing_docs)] // what it exports is described in `exports.rs`

use gort_rt as gort;

include!("exports.rs");
