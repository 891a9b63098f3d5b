//! The test-suites of crossbeam's own crates, and those of `std::sync::mpsc`, which crossbeam-channel has a copy of. They use
//! `std::thread`, and run here with `GORT_THREADS=1`, all on goroutines, libtest's own threads included. Without further
//! arguments they run on plain threads as well, for comparison; `--skip suites::` leaves that out.
//!
//! The files are taken from where cargo keeps the sources of dependencies; see `build.rs`.

use std::env;
use std::process::Command;

// Other people's code, as it is.
#[allow(warnings, unsafe_op_in_unsafe_fn, missing_docs, clippy::all, clippy::undocumented_unsafe_blocks)]
mod suites {
    include!(concat!(env!("OUT_DIR"), "/crossbeam.rs"));
}

/// At least so many tests are in the suites.
const TESTS: usize = 580;

/// Tests at a time. Most of them mostly wait.
const AT_A_TIME: &str = "16";

/// How often a test that failed in the crowd may fail alone.
const TRIES: usize = 3;

/// Runs tests of this binary with `GORT_THREADS=1`; returns what libtest wrote.
fn on_goroutines(arguments: &[&str]) -> (bool, String) {
    let mut command = Command::new(env::current_exe().expect("a test binary has a path"));
    let output = command.args(arguments).env("GORT_THREADS", "1").output().expect("this binary can be started");
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    (output.status.success(), text.into_owned())
}

/// Many of the tests measure time, and some fail on a busy machine, on any kind of thread: what fails in the crowd is run
/// alone, and must pass then, sooner or later.
#[test]
fn all_of_them_on_goroutines() {
    assert!(gort_world::hooks().all_live(), "{}", gort_world::hooks());
    let (_, text) = on_goroutines(&["suites::", "--test-threads", AT_A_TIME]);
    let results = text.lines().filter_map(|line| line.strip_prefix("test ")?.rsplit_once(" ... "));
    let mut passed = 0;
    for (test, result) in results {
        match result {
            "ok" => passed += 1,
            "FAILED" => {
                println!("{test} failed in the crowd");
                let passes = || on_goroutines(&[test, "--exact"]).0;
                assert!((0..TRIES).any(|_| passes()), "{test} fails alone as well; in the crowd:\n{text}");
                passed += 1;
            }
            _ => panic!("{test}: {result}"),
        }
    }
    println!("{passed} tests passed");
    assert!(passed >= TESTS, "only {passed} tests passed\n{text}");
}
