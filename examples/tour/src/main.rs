//! A tour of gort in five acts.
//!
//! ```text
//! cargo run --release            # digests the files of this repository in act (b)
//! cargo run --release -- DIR     # digests the files below DIR instead
//! ```
//!
//! Each act does something with goroutines, counts what it did, and does the same with `std::thread` where
//! that is possible. The exit status is zero if every count is exact. An act that the system cannot do says so, and is skipped.

mod blocking;
mod clib;
mod digest;
mod echo;
mod process;
mod pump;
mod report;
mod ring;
mod threads;

use report::Report;
use std::env;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

fn main() -> ExitCode {
    let directory = env::args_os().nth(1).map_or_else(repository, PathBuf::from);
    let mut report =
        Report::begin(format!("gort: threads you can have a million of, on {} processors", gort::stats().procs));
    report.show(ring::run());
    report.show(digest::run(&directory));
    report.show(clib::run());
    report.show(blocking::run());
    report.show(echo::run());
    report.end()
}

/// The root of this repository; the current directory if the program was moved away from it.
fn repository() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    root.canonicalize().unwrap_or_else(|_| PathBuf::from("."))
}
