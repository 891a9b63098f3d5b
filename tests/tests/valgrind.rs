//! Goroutines under valgrind: every switch of stack and thread pointer is one that it follows, and no memory is misused.

use gort_tests::subprocess::Rerun;
use std::process::{Command, Stdio};

const SCENARIO: &str = env!("CARGO_BIN_EXE_scenario");

#[test]
fn valgrind_runs_goroutines() {
    let found = Command::new("valgrind").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !found.is_ok_and(|status| status.success()) {
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "CI must have valgrind");
        eprintln!("no valgrind on the PATH: nothing is checked");
        return;
    }
    for procs in ["1", "2"] {
        let mut command = Command::new("valgrind");
        command.args(["--error-exitcode=99", "--fair-sched=yes", "-q", SCENARIO, "mini_suite"]);
        let outcome = Rerun::with(command).env("GORT_PROCS", procs).run();
        outcome.success();
        assert!(outcome.stdout.contains("mini suite passed"), "{outcome:?}");
    }
}
