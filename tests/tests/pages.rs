//! The pages of docs/ that say what holds and what happens: each row names a test, and each test that it names exists.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
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
            let text = fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
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

/// How many rows of each letter the page of scenarios has, in its order.
const ROWS: [(char, usize); 12] = [
    ('R', 52),
    ('K', 9),
    ('M', 6),
    ('U', 10),
    ('P', 6),
    ('W', 26),
    ('C', 45),
    ('L', 8),
    ('A', 15),
    ('S', 9),
    ('T', 18),
    ('X', 30),
];

/// The rows that must hold for C threads to be able to call in at all.
const FIRST: &str = "R-04 R-08 R-10 R-13 R-17 R-28 R-29 R-32 R-34 R-37 R-42 R-43 R-49 R-50 R-51 P-01 P-06 W-02 W-05 W-08 W-13 W-14 \
    W-21 C-01 C-02 C-03 C-04 C-05 C-07 C-08 C-13 C-14 C-16 C-20 C-22 C-25 C-27 C-34 C-38 C-39 C-40 C-45 L-02 A-01 A-03 A-04 A-08 \
    A-11 A-12 A-13 A-15 S-01 S-02 T-14 T-15 X-01 X-03 X-04 X-06 X-07 X-14 X-15 X-16 X-20 X-27 X-29";

/// The rows that a line of a doc comment names: after the word and before a full stop, parted by commas.
fn rows_in(comment: &str) -> impl Iterator<Item = &str> {
    let is_row = |row: &&str| {
        let (letter, number) = row.split_once('-').unwrap_or_default();
        letter.len() == 1 && number.len() == 2 && number.bytes().all(|byte| byte.is_ascii_digit())
    };
    let lists = comment.split("Row ").skip(1).filter_map(|rest| rest.split('.').next());
    lists.flat_map(|list| list.split(", ")).filter(is_row)
}

/// Adds the tests of a directory, by the rows in their doc comments, as `file::test` with `prefix` before.
fn add_tests(directory: &Path, prefix: &str, tests: &mut BTreeMap<String, BTreeSet<String>>) {
    for entry in fs::read_dir(directory).unwrap_or_else(|e| panic!("{}: {e}", directory.display())) {
        let path = entry.expect("the directory can be read").path();
        if path.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        let file = path.file_stem().and_then(|stem| stem.to_str()).expect("a name");
        let text = fs::read_to_string(&path).expect("a file of ours");
        let (mut rows, mut is_test) = (Vec::new(), false);
        for line in text.lines() {
            if let Some(comment) = line.strip_prefix("///") {
                rows.extend(rows_in(comment));
            } else if line == "#[test]" {
                is_test = true;
            } else if !line.starts_with("#[") {
                let name = line.strip_prefix("fn ").and_then(|rest| rest.strip_suffix("() {"));
                for row in rows.drain(..) {
                    let name =
                        name.filter(|_| is_test).unwrap_or_else(|| panic!("{row} is not of a test: {file}: {line}"));
                    tests.entry(row.to_owned()).or_default().insert(format!("`{prefix}{file}::{name}`"));
                }
                is_test = false;
            }
        }
    }
}

/// The page of scenarios lists every row: with the tests whose doc comments name it, or with the reason why there is none. With
/// `GORT_WRITE_PAGES=1` the names are written into the page.
#[test]
fn each_scenario_has_a_test_or_a_reason() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut tests = BTreeMap::new();
    add_tests(&here.join("tests"), "", &mut tests);
    add_tests(&here.join("../world/tests"), "world/", &mut tests);
    for entry in fs::read_dir(here.join("../crates")).expect("the workspace") {
        let package = entry.expect("the directory can be read");
        let directory = package.path().join("tests");
        if directory.exists() {
            add_tests(&directory, &format!("{}/", package.file_name().to_str().expect("a name")), &mut tests);
        }
    }

    let path = here.join("../docs/scenarios.md");
    let page = fs::read_to_string(&path).expect("the page");
    let mut expected = ROWS.iter().flat_map(|&(letter, rows)| (1..=rows).map(move |n| format!("{letter}-{n:02}")));
    let first: Vec<_> = FIRST.split(' ').collect();
    assert_eq!(first.len(), 66);
    let mut right = String::new();
    for line in page.lines() {
        let cells: Vec<_> = line.trim_start_matches("| ").trim_end_matches(" |").split(" | ").collect();
        if !line.starts_with("| ") || cells[0] == "Row" {
            right += &format!("{line}\n");
            continue;
        }
        let [row, scenario, last] = cells[..] else { panic!("not a row: {line}") };
        assert_eq!(Some(row.to_owned()), expected.next(), "the order of the rows");
        let last = match tests.remove(row) {
            Some(names) => names.into_iter().collect::<Vec<_>>().join(", "),
            None => {
                assert!(!last.is_empty() && !last.contains("::"), "no test says that it is of row {row}: {line}");
                let fine = last.starts_with("Windows") || !first.contains(&row);
                assert!(fine, "{row} needs a test: {line}");
                last.to_owned()
            }
        };
        right += &format!("| {row} | {scenario} | {last} |\n");
    }
    assert_eq!(expected.next(), None, "rows that the page lacks");
    assert!(tests.is_empty(), "tests name rows that there are not: {tests:?}");
    if right != page {
        let differ = right.lines().zip(page.lines()).find(|(right, page)| right != page);
        assert!(std::env::var_os("GORT_WRITE_PAGES").is_some(), "GORT_WRITE_PAGES=1 mends the page: {differ:?}");
        fs::write(path, right).expect("the page can be written");
    }
}
