//! Test-suites of other people's crates, run on goroutines: a test binary that has them in its module `suites` runs itself
//! again with `GORT_THREADS=1`, so that libtest's own threads, and all that the suites make, are goroutines.

use std::collections::BTreeMap;
use std::env;
use std::process::Command;

/// Tests at a time. Most of them mostly wait.
const AT_A_TIME: usize = 16;

/// Runs tests of this binary with `GORT_THREADS=1`; returns which there were and whether they passed, and what libtest wrote.
pub fn on_goroutines(filter: &[&str], at_a_time: usize) -> (BTreeMap<String, bool>, String) {
    let mut command = Command::new(env::current_exe().expect("a test binary has a path"));
    command.args(filter).args(["--test-threads", &at_a_time.to_string()]).env("GORT_THREADS", "1");
    let output = command.output().expect("this binary can be started");
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    let results = text.lines().filter_map(|line| line.strip_prefix("test ")?.rsplit_once(" ... "));
    let results = results.filter(|(_, result)| !result.starts_with("ignored"));
    // One that expects a panic has a note behind its name.
    let name = |test: &str| test.trim_end_matches(" - should panic").to_owned();
    let results: BTreeMap<_, _> = results.map(|(test, result)| (name(test), result == "ok")).collect();
    assert!(output.status.success() || results.values().any(|passed| !passed), "{}\n{text}", output.status);
    (results, text.into_owned())
}

/// Runs all tests of the module `suites` of this binary on goroutines.
///
/// # Panics
/// One failed, or there were fewer than `least`.
pub fn all_pass(least: usize) {
    all_pass_but(least, |_| false);
}

/// As [`all_pass`], but those that `may_fail` names may; returns which did.
///
/// # Panics
/// Another one failed, or there were fewer than `least`.
pub fn all_pass_but(least: usize, may_fail: impl Fn(&str) -> bool) -> Vec<String> {
    assert!(crate::hooks().all_live(), "{}", crate::hooks());
    let (results, text) = on_goroutines(&["suites::"], AT_A_TIME);
    println!("{} tests, {} of which may fail", results.len(), results.keys().filter(|test| may_fail(test)).count());
    assert!(results.len() >= least, "only {} tests\n{text}", results.len());
    let failed = results.into_iter().filter(|(_, passed)| !passed).map(|(test, _)| test);
    let (forgiven, failed): (Vec<_>, Vec<_>) = failed.partition(|test| may_fail(test));
    assert!(failed.is_empty(), "{failed:?} failed:\n{text}");
    forgiven
}
