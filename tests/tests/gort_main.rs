//! `#[gort::main]`: a program is as it would be with a plain `main`, and its body runs on a goroutine.

use gort_tests::needs_goroutines;
use gort_tests::subprocess::{Outcome, Rerun};
use std::process::Command;

fn program(kind: &str, which: &str) -> Rerun {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gort_main"));
    command.args([kind, which]);
    Rerun::with(command).inherit_all()
}

/// What the program wrote, without the numbers of threads in messages of panics.
fn text(outcome: &Outcome) -> (String, String) {
    let strip = |text: &str| text.lines().map(without_number).collect::<Vec<_>>().join("\n");
    (outcome.stdout.clone(), strip(&outcome.stderr))
}

/// `thread 'main' (1234) panicked` without the parentheses, and without the place, which differs between the twins.
fn without_number(line: &str) -> String {
    match line.split_once("' (").and_then(|(name, rest)| Some((name, rest.split_once(") panicked")?))) {
        Some((name, _)) => format!("{name}' panicked"),
        None => line.split_once(" panicked at ").map_or(line, |(name, _)| name).to_string(),
    }
}

/// Return values, exit codes, panics, what is printed, the room on the stack, the thread's name.
#[test]
fn ends_as_a_plain_main_does() {
    let codes = [
        ("unit", 0),
        ("fails", 1),
        ("question_mark", 1),
        ("code", 7),
        ("code_in_result", 8),
        ("opaque", 1),
        ("never", 3),
        ("exits", 4),
        ("panics", 101),
        ("quiet_panic", 101),
        ("deep", 0),
        ("name", 0),
        ("others_go_on", 0),
    ];
    for (which, code) in codes {
        let [plain, goroutine] = ["plain", "goroutine"].map(|kind| program(kind, which).run());
        assert_eq!(plain.status.code(), Some(code), "{which}: {plain:?}");
        assert_eq!(goroutine.status, plain.status, "{which}: {goroutine:?}");
        assert_eq!(text(&goroutine), text(&plain), "{which}");
    }
}

#[test]
fn the_body_runs_on_a_goroutine() {
    for (name, value) in [("GORT_PROCS", "1"), ("GORT_INTERPOSE", "0"), ("GORT_CHAOS", "3")] {
        let outcome = program("goroutine", "is_goroutine").env(name, value).run();
        assert_eq!(outcome.success().stdout, "5\n");
    }
}

#[test]
fn settings_are_those_of_config() {
    let outcome = program("goroutine", "settings").run();
    assert_eq!(outcome.success().stdout, "3 Ps\n");
}

/// The body does not run where the runtime cannot start, or runs already with other settings.
#[test]
fn a_start_that_fails_is_told() {
    let outcome = program("goroutine", "unit").env("GORT_PROCS", "none").run();
    assert_eq!((outcome.status.code(), outcome.stdout.as_str()), (Some(1), ""));
    outcome.says("main cannot run on a goroutine").says("GORT_PROCS");
    let outcome = program("goroutine", "twice").run();
    assert_eq!((outcome.status.code(), outcome.stdout.as_str()), (Some(1), "3 Ps\n"));
    outcome.says("the runtime runs already");
}

/// The main thread, which waits for the goroutine, does not keep the report of a dead-lock back.
#[test]
fn a_dead_lock_is_reported() {
    needs_goroutines!("nobody reports a dead-lock of threads");
    program("goroutine", "dead_lock")
        .env("GORT_CHAOS", "")
        .run()
        .died_of(libc::SIGALRM)
        .says("all goroutines are asleep");
}
