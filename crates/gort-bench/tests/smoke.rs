//! Every row of gort runs, checks its own result and prints what the table needs. The counts are tiny; no figure is judged.

use std::process::{Command, Output};

/// Runs the program with tiny counts.
fn bench(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_gort-bench"))
        .args(args)
        .env("GORT_BENCH_SCALE", "0.001")
        .output()
        .expect("the program starts")
}

/// What a program that must succeed printed.
fn lines(args: &[&str]) -> Vec<String> {
    let output = bench(args);
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {complaints}");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    text.lines().map(str::to_owned).collect()
}

/// The names of all rows.
fn rows() -> Vec<String> {
    let first_word = |line: &String| line.split(' ').next().unwrap_or_default().to_owned();
    lines(&["list"]).iter().map(first_word).collect()
}

/// Checks a line of JSON against `{"row":ROW,"runtime":RUNTIME,"procs":PROCS,"value":NUMBER,"unit":UNIT}`.
fn check(line: &str, row: &str, runtime: &str, procs: &str, unit: &str) {
    let head = format!("{{\"row\":\"{row}\",\"runtime\":\"{runtime}\",\"procs\":{procs},\"value\":");
    let tail = format!(",\"unit\":\"{unit}\"}}");
    let number = line
        .strip_prefix(&head)
        .and_then(|rest| rest.strip_suffix(&tail))
        .unwrap_or_else(|| panic!("not {head}...{tail} but {line}"));
    let value: f64 = number.parse().expect("a number");
    // The difference of two noisy times may come out below zero; everything else is a duration or a size.
    assert!(value.is_finite() && (value >= 0.0 || row == "callback_first"), "{line}");
}

/// Checks all lines of one row.
fn check_row(lines: &[String], row: &str, runtime: &str, procs: &str) {
    let unit = match row {
        "skynet_1m" | "sleep_1ms_100k" => "ms",
        _ => "ns",
    };
    check(&lines[0], row, runtime, procs, unit);
    if row == "parked_1m" {
        check(&lines[1], "parked_1m_bytes", runtime, procs, "bytes");
        assert_eq!(lines.len(), 2);
    } else {
        assert_eq!(lines.len(), 1);
    }
}

#[test]
fn every_row_of_gort_runs_on_one_and_two_processors() {
    for row in rows() {
        for procs in ["1", "2"] {
            check_row(&lines(&["one", "gort", &row, procs]), &row, "gort", procs);
        }
    }
}

#[test]
fn a_run_prints_one_line_of_json_per_figure() {
    let args = ["run", "--json", "--procs", "1", "--rounds", "2", "parked_1m"];
    check_row(&lines(&args), "parked_1m", "gort", "1");
}

#[test]
fn a_table_has_a_column_per_runtime_and_a_note_for_what_is_missing() {
    let text = lines(&["run", "--peers", "tokio,std", "--procs=1", "--rounds=1", "callback_bound"]);
    assert!(text[0].starts_with("row"), "{text:?}");
    for name in ["gort", "tokio", "std"] {
        assert!(text[0].contains(name), "{text:?}");
    }
    assert!(text[1].starts_with("callback_bound"), "{text:?}");
    assert_eq!(text[2], "- tokio: no such row: callback_bound");
}

#[test]
fn wrong_arguments_are_refused() {
    for args in [
        &["run", "no_such_row"][..],
        &["run", "--procs", "0"],
        &["run", "--peers=java"],
        &["run", "--fast"],
        &["one", "gort"],
        &[],
    ] {
        assert_eq!(bench(args).status.code(), Some(2), "{args:?}");
    }
}
