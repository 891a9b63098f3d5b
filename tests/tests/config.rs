//! Settings: what means nothing is an error that names it, and what is set has its effect.

use gort::{thread, Config};
use gort_tests::backend::goroutines_are_threads;
use gort_tests::measure::guards;
use gort_tests::subprocess::{role, Rerun};
use std::io::ErrorKind;
use std::panic::catch_unwind;

const SCENARIO: &str = env!("CARGO_BIN_EXE_scenario");

#[test]
fn bad_values_are_errors_that_name_them() {
    const NAME: &str = "bad_values_are_errors_that_name_them";
    let Some(role) = role() else {
        for (variable, values) in [
            ("GORT_PROCS", &["0", "1025", "-1", "two", "1.5", "99999999999999999999"][..]),
            ("GORT_STACK_SIZE", &["1", "16383", "lots", "1t", "-5", "99999999999999999999g"][..]),
            ("RUST_MIN_STACK", &["lots"][..]),
            ("GORT_CHAOS", &["x", "-1", "1.0", "1,", ",faults", "1,fault", "1, faults"][..]),
            ("GORT_GUARD", &["none", "MPROTECT"][..]),
            ("GORT_IDENTITY", &["both", "1"][..]),
            ("GORT_BACKEND", &["thread", "Threads", "1"][..]),
            ("GORT_OVERFLOW_REPORT", &["yes", "2"][..]),
            ("GORT_DEADLOCK_REPORT", &["no"][..]),
        ] {
            if variable == "GORT_IDENTITY" && goroutines_are_threads() {
                continue; // kernel threads bring their own
            }
            for value in values {
                Rerun::of(NAME, &format!("{variable} {value}")).env(variable, value).run().success();
            }
        }
        return;
    };
    let (variable, value) = role.split_once(' ').unwrap();
    let check = |text: &str| {
        assert!(text.contains(variable), "{text:?} names the variable");
        assert!(text.contains(&format!("{value:?}")), "{text:?} names the value");
    };
    // Each way to start fails, and fails again: nothing is half started.
    for _ in 0..2 {
        check(&Config::new().start().unwrap_err().to_string());
        let e = thread::Builder::new().spawn(|| ()).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::InvalidInput);
        check(&e.to_string());
        let payload = catch_unwind(|| thread::spawn(|| ()).join()).map(drop).unwrap_err();
        check(payload.downcast_ref::<String>().unwrap());
        let payload = catch_unwind(|| thread::scope(|s| s.spawn(|| ()).join())).map(drop).unwrap_err();
        check(payload.downcast_ref::<String>().unwrap());
        if variable != "GORT_IDENTITY" {
            check(&thread::available_parallelism().unwrap_err().to_string());
        }
    }
}

#[test]
fn what_a_program_sets_comes_before_the_environment() {
    const NAME: &str = "what_a_program_sets_comes_before_the_environment";
    if role().is_none() {
        Rerun::of(NAME, "child").env("GORT_PROCS", "nonsense").env("GORT_STACK_SIZE", "nonsense").run().success();
        return;
    }
    Config::new().procs(3).stack_size(1 << 20).overflow_report(false).deadlock_report(false).start().unwrap();
    assert_eq!(gort::stats().procs, 3);
    let g = thread::spawn(|| std::hint::black_box([1u8; 700 << 10]).len());
    assert_eq!(g.join().unwrap(), 700 << 10);
}

#[test]
fn bad_settings_are_errors() {
    const NAME: &str = "bad_settings_are_errors";
    if role().is_none() {
        Rerun::of(NAME, "child").run().success();
        return;
    }
    for (config, text) in [
        (Config::new().procs(0), "procs is 0"),
        (Config::new().procs(1025), "procs is 1025"),
        (Config::new().stack_size(100), "stack_size is 100"),
    ] {
        let e = config.start().unwrap_err().to_string();
        assert!(e.contains(text), "{e}");
    }
    Config::new().procs(2).start().expect("a refused start is no start");
}

#[test]
fn a_second_start_is_an_error() {
    const NAME: &str = "a_second_start_is_an_error";
    let Some(role) = role() else {
        for first in ["config", "spawn", "scope"] {
            Rerun::of(NAME, first).env("GORT_PROCS", "2").run().success();
        }
        return;
    };
    match role.as_str() {
        "config" => Config::new().start().unwrap(),
        "spawn" => thread::spawn(|| ()).join().unwrap(),
        _ => thread::scope(|s| s.spawn(|| ()).join().unwrap()),
    }
    for config in [Config::new(), Config::new().procs(1)] {
        let e = config.start().unwrap_err().to_string();
        assert!(e.contains("runs already"), "{e}");
    }
    let e = thread::spawn(|| Config::new().start().unwrap_err().to_string()).join().unwrap();
    assert!(e.contains("runs already"), "{e}");
    assert_eq!(gort::stats().procs, 2);
}

#[test]
fn a_thousand_and_twenty_four_ps_work() {
    let outcome = Rerun::scenario(SCENARIO, "mini_suite").env("GORT_PROCS", "1024").run();
    assert!(outcome.success().stdout.contains("mini suite passed"));
}

#[test]
fn stack_sizes_come_from_the_environment() {
    const NAME: &str = "stack_sizes_come_from_the_environment";
    if role().is_none() {
        for (variable, value) in [
            ("GORT_STACK_SIZE", "2m"),
            ("GORT_STACK_SIZE", "2048K"),
            ("RUST_MIN_STACK", "2097152"),
            ("RUST_MIN_STACK", "3000000"),
        ] {
            Rerun::of(NAME, "child").env(variable, value).run().success();
        }
        return;
    }
    let g = thread::spawn(|| std::hint::black_box(&[1u8; 1700 << 10]).len());
    assert_eq!(g.join().unwrap(), 1700 << 10);
}

/// Settings that change how the runtime does things, and nothing that a program sees.
#[test]
fn every_way_of_working_works() {
    let settings = [
        ("GORT_IDENTITY", "donor"),
        ("GORT_IDENTITY", "built"),
        ("GORT_MEMBARRIER", "0"),
        ("GORT_FSGSBASE", "0"),
        ("GORT_INTERPOSE", "0"),
        ("GORT_CHAOS", "1"),
        ("GORT_CHAOS", "77"),
        ("GORT_CHAOS", "0"),
        ("GORT_STACK_SIZE", "64k"),
        ("RUST_MIN_STACK", "1"),
        ("GORT_PROCS", ""),
        ("GORT_BACKEND", "threads"),
    ];
    for (name, value) in guards().iter().map(|&guard| ("GORT_GUARD", guard)).chain(settings) {
        for procs in ["1", "2", "4"] {
            let outcome = Rerun::scenario(SCENARIO, "mini_suite").env("GORT_PROCS", procs).env(name, value).run();
            assert!(outcome.success().stdout.contains("mini suite passed"), "{name}={value}: {outcome:?}");
        }
    }
}
