//! docs/hooks.md names every hook, and nothing else that looks like one.

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

#[test]
fn all_hooks_are_live() {
    let report = gort::interpose::report();
    let dead: Vec<_> = report.hooks.iter().filter(|hook| !hook.live).collect();
    assert!(dead.is_empty(), "{dead:?}");
    assert!(report.hooks.len() > 150, "only {}", report.hooks.len());
}
