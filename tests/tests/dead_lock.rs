//! The report that nothing can go on: made for a true dead-lock, and never else.

use gort_tests::needs_goroutines;
use gort_tests::subprocess::Rerun;

const SCENARIO: &str = env!("CARGO_BIN_EXE_scenario");
const REPORT: &str = "all goroutines are asleep - deadlock!";

/// Row X-20.
#[test]
fn a_dead_lock_is_reported_once() {
    needs_goroutines!("the report is the scheduler's");
    for (name, goroutines) in [("dead_lock", "2 of them"), ("dead_lock_in_std", "1 of them")] {
        for procs in ["1", "2"] {
            let outcome = Rerun::scenario(SCENARIO, name).env("GORT_PROCS", procs).run();
            outcome.says(REPORT).says(goroutines).says("GORT_DEADLOCK_REPORT=0");
            outcome.says(" [").says("goroutines: 0 running, 0 runnable, ");
            assert_eq!(outcome.stderr.matches(REPORT).count(), 1, "{outcome:?}");
            assert_eq!(outcome.status.code(), Some(7), "the process goes on waiting: {outcome:?}");
        }
    }
}

#[test]
fn the_report_can_be_switched_off() {
    let outcome = Rerun::scenario(SCENARIO, "dead_lock").env("GORT_DEADLOCK_REPORT", "0").run();
    outcome.does_not_say("deadlock");
    assert_eq!(outcome.status.code(), Some(7), "{outcome:?}");
}

/// Row X-20.
#[test]
fn there_is_no_false_alarm() {
    for name in ["woken_by_a_thread", "woken_by_a_callback", "waiting_for_a_timer", "waiting_in_a_call"] {
        Rerun::scenario(SCENARIO, name).env("GORT_PROCS", "1").run().success().does_not_say("deadlock");
    }
}
