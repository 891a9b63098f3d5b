//! The pages of docs/ that say what holds and what happens: each row names a test, and each test that it names exists.

use std::path::Path;

/// Checks the tables of a page whose heads end with a column for tests.
fn each_row_has_a_test(page: &str, least: usize) {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut rows = 0;
    let mut names_tests = false;
    let lines: Vec<_> = page.lines().collect();
    for (i, line) in lines.iter().enumerate() {
        if lines.get(i + 1).is_some_and(|below| below.starts_with("|---")) {
            names_tests = line.ends_with(" Test |") || line.ends_with(" Tests |");
            continue;
        }
        if !names_tests || !line.starts_with("| ") {
            continue;
        }
        rows += 1;
        let last = line.trim_end_matches(" |").rsplit(" | ").next().unwrap();
        let tests: Vec<_> = last.split('`').filter_map(|name| name.split_once("::")).collect();
        assert!(!tests.is_empty(), "no test for: {line}");
        for (file, test) in tests {
            let file = match file.split_once('/') {
                Some(("world", file)) => here.join(format!("../world/tests/{file}.rs")),
                _ => here.join(format!("tests/{file}.rs")),
            };
            let text = std::fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
            assert!(text.contains(&format!("\nfn {test}() {{")), "no test {test} in {}", file.display());
        }
    }
    assert!(rows >= least, "only {rows} rows");
}

#[test]
fn each_fault_has_a_test_that_exists() {
    each_row_has_a_test(include_str!("../../docs/faults.md"), 30);
}

#[test]
fn each_promise_has_a_test_that_exists() {
    each_row_has_a_test(include_str!("../../docs/promises.md"), 30);
}
