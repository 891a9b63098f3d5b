//! Every row of gort runs, checks its own result and prints what the table needs. The counts are tiny; no figure is judged.

use std::io::{Read, Write};
use std::net::TcpListener;
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

/// The names and units of a row's figures.
fn figures(row: &str) -> Vec<(&str, &str)> {
    match row {
        "skynet_1m" | "sleep_1ms_100k" => vec![(row, "ms")],
        "parked_1m" => vec![(row, "ns"), ("parked_1m_bytes", "bytes")],
        "tcp_echo_100" => vec![(row, "trips/s"), ("tcp_echo_100_cpu", "ns")],
        "tcp_echo_10k" => vec![(row, "trips/s"), ("tcp_echo_10k_cpu", "ns")],
        "http_plain" => vec![(row, "req/s"), ("http_plain_cpu", "ns")],
        "conn_churn" => vec![(row, "conn/s"), ("conn_churn_cpu", "ns")],
        "callback_main" => vec![(row, "ns"), ("callback_main_other", "ns")],
        "callback_parallel" => vec![(row, "ns"), ("callback_parallel_gain", "x")],
        "callback_wake" => vec![("callback_wake_p50", "ns"), ("callback_wake_p99", "ns")],
        "hooked" => {
            vec![("hooked_lock", "ns"), ("hooked_lock_libc", "ns"), ("hooked_read", "ns"), ("hooked_read_libc", "ns")]
        }
        "idle_10k" => vec![(row, "bytes"), ("idle_10k_cpu", "%"), ("idle_10k_switches", "/s")],
        _ => vec![(row, "ns")],
    }
}

/// Checks all lines of one row.
fn check_row(lines: &[String], row: &str, runtime: &str, procs: &str) {
    let figures = figures(row);
    assert_eq!(lines.len(), figures.len(), "{lines:?}");
    for (line, (figure, unit)) in lines.iter().zip(figures) {
        check(line, figure, runtime, procs, unit);
    }
}

/// Row C-45, A-15, X-05, X-17.
#[test]
fn every_row_of_gort_runs_on_one_and_two_processors() {
    for row in rows() {
        for procs in ["1", "2"] {
            check_row(&lines(&["one", "gort", &row, procs]), &row, "gort", procs);
        }
    }
}

#[test]
fn the_peers_serve_and_are_served_the_same_load() {
    for row in ["tcp_rtt", "tcp_echo_100", "tcp_echo_10k", "http_plain", "conn_churn", "idle_10k"] {
        for peer in ["tokio", "std"] {
            check_row(&lines(&["one", peer, row, "1"]), row, peer, "1");
        }
    }
    check_row(&lines(&["one", "bare", "tcp_rtt", "1"]), "tcp_rtt", "bare", "1");
}

#[test]
fn the_peers_are_called_back() {
    for row in ["callback_main", "callback_parallel", "callback_wake", "call_c_callback", "locked_pingpong"] {
        check_row(&lines(&["one", "std", row, "1"]), row, "std", "1");
    }
    check_row(&lines(&["one", "tokio", "callback_wake", "1"]), "callback_wake", "tokio", "1");
}

#[test]
fn a_load_without_a_server_says_so() {
    // Nothing listens on port 1.
    let output = bench(&["load", "tcp_echo_100", "127.0.0.1:1"]);
    assert_eq!(output.status.code(), Some(2));
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(complaint.contains("load of tcp_echo_100"), "{complaint}");
}

#[test]
fn a_server_that_answers_wrongly_is_found_out() {
    // It sends back nothing but zeros, as many as it gets; and for HTTP the same.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let server = std::thread::spawn(move || {
        for _ in 0..3 {
            let (mut stream, _) = listener.accept().expect("accept");
            let mut buffer = [0; 256];
            let count = stream.read(&mut buffer).expect("a request");
            stream.write_all(&vec![0; count]).expect("an answer");
        }
    });
    for row in ["tcp_echo_100", "http_plain", "conn_churn"] {
        let output = bench(&["load", row, &address]);
        assert_eq!(output.status.code(), Some(2), "{row}");
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(complaint.contains("wrong"), "{row}: {complaint}");
    }
    server.join().expect("the server ends");
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
        &["load", "tcp_echo_100"],
        &["load", "tcp_echo_100", "nowhere"],
        &["load", "yield", "127.0.0.1:1"],
        &[],
    ] {
        assert_eq!(bench(args).status.code(), Some(2), "{args:?}");
    }
}
