//! docs/hooks.md names every hook, and nothing else that looks like one.

use gort_tests::release::{built_for, running, Release};
use std::collections::BTreeSet;

#[test]
fn the_page_about_hooks_lists_them_all() {
    let page = include_str!("../../docs/hooks.md");
    let tables = page.split("## What is not caught").next().unwrap();
    // The first cell of each row: names between backticks. What stands in parentheses explains.
    let listed: BTreeSet<_> = tables
        .lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .map(|row| row.split(" | ").next().unwrap())
        .flat_map(|cell| cell.split('(').next().unwrap().split(['`', ' ']))
        .filter(|name| !name.is_empty())
        .collect();
    let report = gort::interpose::report();
    let defined: BTreeSet<_> = report.hooks.iter().map(|hook| hook.name).collect();
    let missing: Vec<_> = defined.difference(&listed).collect();
    let gone: Vec<_> = listed.difference(&defined).collect();
    assert!(missing.is_empty() && gone.is_empty(), "not listed: {missing:?}; listed, but no hook: {gone:?}");
}

/// Names that glibc did not always have, with the release that brought them.
const YOUNG: [(&str, Release); 5] = [
    ("_Fork", (2, 34)),
    ("close_range", (2, 34)),
    ("closefrom", (2, 34)),
    ("epoll_pwait2", (2, 35)),
    ("pidfd_open", (2, 36)),
];

#[test]
fn all_hooks_are_live() {
    let report = gort::interpose::report();
    let dead: BTreeSet<_> = report.hooks.iter().filter(|hook| !hook.live).map(|hook| hook.name).collect();
    // The linker shows the loader those of a program's names that libraries have when it is linked. A name that came later is
    // the program's own affair then, and the library of today is found by others.
    let late = |since| built_for() < since && since <= running();
    let expected = YOUNG.iter().filter(|&&(_, since)| late(since)).map(|&(name, _)| name).collect();
    assert_eq!(dead, expected);
    assert_eq!(report.all_live(), dead.is_empty());
    assert!(report.hooks.len() > 150, "only {}", report.hooks.len());
}
