//! Tests that need a process of their own: the test binary runs itself with one test selected.

use std::process::{Command, Output};

const VARIABLE: &str = "GORT_TEST_CHILD";

/// True in the process that [`run_child`] made for a test.
pub(crate) fn is_child() -> bool {
    std::env::var_os(VARIABLE).is_some()
}

/// Runs one test, named by its full path, in a process of its own where [`is_child`] is true.
pub(crate) fn run_child(test: &str) -> Output {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(VARIABLE, "1")
        .output()
        .unwrap()
}
