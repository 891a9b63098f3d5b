//! The test-suites of crossbeam's own crates, and those of `std::sync::mpsc`, which crossbeam-channel has a copy of. They use
//! `std::thread`, and run here with `GORT_THREADS=1`, all on goroutines, libtest's own threads included. Without further
//! arguments they run on plain threads as well, for comparison; `--skip suites::` leaves that out.
//!
//! The files are taken from where cargo keeps the sources of dependencies; see `build.rs`.

use gort_world::suites::{all_pass_but, on_goroutines};

// Other people's code, as it is.
#[allow(warnings, unsafe_op_in_unsafe_fn, missing_docs, clippy::all, clippy::undocumented_unsafe_blocks)]
mod suites {
    include!(concat!(env!("OUT_DIR"), "/crossbeam.rs"));
}

/// At least so many tests are in the suites.
const TESTS: usize = 580;

/// How often a test that measures may fail alone.
const TRIES: usize = 3;

/// Whether a test's text names a duration: such tests sleep until others must have done something, or assert that something has
/// taken no longer than that, and on a busy machine they fail on any kind of thread. Or the memory that has been allocated: by
/// others as well, that is.
fn measures(test: &str) -> bool {
    suites::MEASURING.iter().any(|(module, name)| {
        let rest = test.strip_prefix("suites::").and_then(|test| test.strip_prefix(module));
        rest.and_then(|rest| rest.strip_suffix(name)).is_some_and(|between| between.ends_with("::"))
    })
}

/// All must pass in the crowd, but for tests that measure: one of those that fails in the crowd must pass alone, sooner or later.
#[test]
fn all_of_them_on_goroutines() {
    for test in all_pass_but(TESTS, measures) {
        println!("{test}, which measures, failed in the crowd");
        let passes = || on_goroutines(&[&test, "--exact"], 1).0.get(&test) == Some(&true);
        assert!((0..TRIES).any(|_| passes()), "{test} fails alone as well");
    }
}
