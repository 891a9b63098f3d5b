//! docs/faults.md: each row names a test, and each test that it names exists.

use std::path::Path;

#[test]
fn each_row_has_a_test_that_exists() {
    let page = include_str!("../../docs/faults.md");
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    // Rows of tables, without their heads and the lines below these.
    let rows: Vec<_> = page.lines().filter(|l| l.starts_with("| ") && !l.starts_with("| Fault |")).collect();
    assert!(rows.len() > 30, "only {} rows", rows.len());
    for row in rows {
        let last = row.trim_end_matches(" |").rsplit(" | ").next().unwrap();
        let tests: Vec<_> = last.split('`').filter_map(|name| name.split_once("::")).collect();
        assert!(!tests.is_empty(), "no test for: {row}");
        for (file, test) in tests {
            let file = match file.split_once('/') {
                Some(("world", file)) => here.join(format!("../world/tests/{file}.rs")),
                _ => here.join(format!("tests/{file}.rs")),
            };
            let text = std::fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
            assert!(text.contains(&format!("\nfn {test}() {{")), "no test {test} in {}", file.display());
        }
    }
}
