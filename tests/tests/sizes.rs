//! The sizes of things, small enough for every run of the tests; `ci/sizes.sh` runs the same in full.

use gort_tests::needs_goroutines;
use gort_tests::subprocess::Rerun;
use std::process::Command;

fn sizes(args: &[&str], procs: u32) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sizes"));
    command.args(args);
    Rerun::with(command).env("GORT_PROCS", procs).run().success();
}

#[test]
fn many_alive_each_touched_twice() {
    needs_goroutines!("there are more than the system has threads, or kernel threads are counted");
    for procs in [1, 2] {
        sizes(&["alive", "20000"], procs);
    }
}

#[test]
fn many_asleep_until_moments_of_their_own() {
    needs_goroutines!("there are more than the system has threads, or kernel threads are counted");
    for procs in [1, 2] {
        sizes(&["sleepers", "10000"], procs);
    }
}

#[test]
fn sixty_five_ps() {
    needs_goroutines!("there are more than the system has threads, or kernel threads are counted");
    sizes(&["procs"], 65);
}

#[test]
fn idle_costs_nothing() {
    needs_goroutines!("there are more than the system has threads, or kernel threads are counted");
    sizes(&["idle", "nothing"], 2);
}

#[test]
fn idle_with_a_timer_costs_nothing() {
    needs_goroutines!("there are more than the system has threads, or kernel threads are counted");
    sizes(&["idle", "timer"], 2);
}

#[test]
fn idle_with_sockets_costs_nothing() {
    needs_goroutines!("there are more than the system has threads, or kernel threads are counted");
    sizes(&["idle", "netpoller"], 2);
}
