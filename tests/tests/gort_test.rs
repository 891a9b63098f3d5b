//! `#[gort::test]`: tests are as those of `#[test]` are, and their bodies run on goroutines.

use gort::thread;
use gort_tests::subprocess::{Outcome, Rerun};
use std::process::Command;
use std::rc::Rc;

#[gort::test]
fn runs_on_a_goroutine() {
    assert!(thread::is_goroutine());
    assert_eq!(std::thread::current().name(), Some("runs_on_a_goroutine"));
    assert_eq!(thread::current().name(), Some("runs_on_a_goroutine"));
    assert_eq!(thread::spawn(|| 5).join().unwrap(), 5);
}

#[gort::test]
#[should_panic(expected = "in the middle of the text")]
fn should_panic() {
    panic!("this is in the middle of the text, {}", 5);
}

#[should_panic]
#[gort::test]
fn attributes_may_come_first() -> () {
    std::panic::resume_unwind(Box::new(5));
}

#[gort::test]
fn returns_a_result() -> Result<(), Box<dyn std::error::Error>> {
    let n: i32 = "5".parse()?;
    assert_eq!(n, 5);
    Ok(())
}

#[gort::test(stack_size = 5 << 20)]
fn has_the_stack_that_it_asks_for() {
    fn use_stack(bytes: usize) -> usize {
        let room = std::hint::black_box([1u8; 4096]);
        let deeper = if bytes > 5000 { use_stack(bytes - 5000) } else { 0 };
        deeper + usize::from(std::hint::black_box(&room)[bytes % 4096])
    }
    assert!(use_stack(2500 << 10) > 0);
}

/// Tests that only other tests run, in child processes.
mod for_children {
    use super::*;

    #[gort::test]
    #[ignore = "fails on purpose"]
    fn panics() {
        println!("printed before");
        eprintln!("printed before, too");
        panic!("on purpose");
    }

    #[gort::test]
    #[ignore = "fails on purpose"]
    fn fails() -> Result<(), Rc<str>> {
        Err("not Send".into())
    }

    #[gort::test]
    #[ignore = "run by another test"]
    fn succeeds() {
        assert!(thread::is_goroutine());
        println!("printed by a success");
    }

    #[gort::test]
    #[should_panic]
    #[ignore = "fails on purpose"]
    fn should_panic_and_does_not() {}

    #[cfg(any())]
    #[gort::test]
    fn configured_out() {
        compile_error!("it is not there");
    }
}

/// Runs one of these as `cargo test` does, and captures what the harness captures.
fn run(test: &str, setting: (&str, &str)) -> Outcome {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let threads = if setting.1 == "1" { "--test-threads=1" } else { "--test-threads=2" };
    command.args(["--exact", &format!("for_children::{test}"), "--ignored", threads]);
    Rerun::with(command).inherit_all().env(setting.0, setting.1).run()
}

const SETTINGS: [(&str, &str); 3] = [("GORT_PROCS", "1"), ("GORT_PROCS", "2"), ("GORT_THREADS", "1")];

#[test]
fn the_message_of_a_panic_has_the_tests_name_and_is_captured() {
    for setting in SETTINGS {
        let outcome = run("panics", setting);
        assert_eq!(outcome.status.code(), Some(101), "{outcome:?}");
        let captured = outcome.stdout.split_once("---- for_children::panics stdout ----").expect("a section").1;
        for text in ["printed before\n", "printed before, too\n", "thread 'for_children::panics'", "on purpose"] {
            assert!(captured.contains(text), "{text:?} in {outcome:?}");
            outcome.does_not_say(text);
        }
    }
}

#[test]
fn an_error_is_a_failure() {
    let outcome = run("fails", SETTINGS[0]);
    assert_eq!(outcome.status.code(), Some(101), "{outcome:?}");
    assert!(outcome.stdout.contains("Error: \"not Send\""), "{outcome:?}");
}

#[test]
fn what_a_success_prints_is_not_seen() {
    for setting in SETTINGS {
        let outcome = run("succeeds", setting);
        assert!(outcome.status.success() && outcome.stdout.contains("1 passed"), "{outcome:?}");
        assert!(!(outcome.stdout + &outcome.stderr).contains("printed by"));
    }
}

#[test]
fn a_panic_that_does_not_come_is_a_failure() {
    let outcome = run("should_panic_and_does_not", SETTINGS[0]);
    assert!(outcome.stdout.contains("test did not panic as expected"), "{outcome:?}");
}

#[test]
fn tests_run_on_goroutines_without_hooks_too() {
    let outcome = run("succeeds", ("GORT_INTERPOSE", "0"));
    assert!(outcome.status.success() && outcome.stdout.contains("1 passed"), "{outcome:?}");
}
