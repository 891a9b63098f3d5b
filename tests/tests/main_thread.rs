//! The main thread as a C thread that calls in: in main, before it and after it. The program is `src/bin/on_main.rs`.

use gort_tests::subprocess::{Outcome, Rerun};

fn on_main(what: &str) -> Rerun {
    Rerun::scenario(env!("CARGO_BIN_EXE_on_main"), what).inherit_all()
}

fn check(outcome: &Outcome) -> &str {
    outcome.success();
    assert!(outcome.stdout.contains("main is done"), "{}", outcome.stdout);
    &outcome.stdout
}

#[test]
fn in_main() {
    check(&on_main("callback").run());
}

/// Row C-20, C-40.
#[test]
fn before_main() {
    check(&on_main("early").env("CALL_BEFORE_MAIN", 1).run());
}

/// Row R-49.
#[test]
fn in_destructors_of_the_process() {
    let outcome = on_main("destructor").run();
    let stdout = check(&outcome);
    for n in 0..2 {
        assert!(stdout.contains(&format!("destructor {n} on the main thread: true")), "{stdout}");
    }
}

/// Row.
#[test]
fn a_callback_costs_no_more_than_elsewhere() {
    // What is promised is that looking for the thread's stack, which is slow on the main thread, is not part of it.
    // That takes tens of microseconds; the bound is generous to slow machines.
    let outcome = on_main("cost").run();
    let costs: Vec<u64> = check(&outcome).split_whitespace().map_while(|word| word.parse().ok()).collect();
    assert_eq!(costs.len(), 2);
    assert!(costs.iter().all(|&ns| ns < 5_000), "nanoseconds on main and elsewhere: {costs:?}");
}

/// Row X-30.
#[test]
fn closures_of_goroutines_run_on_the_main_thread() {
    for procs in [1, 2] {
        check(&on_main("serve").env("GORT_PROCS", procs).run());
    }
}
