//! A shared library with a runtime and hooks of its own, as a C host loads it.

#![allow(missing_docs)] // what it exports is described in `exports.rs`

include!("../../plugin/src/exports.rs");
