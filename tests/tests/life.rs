//! The life of a library with a runtime of its own: loaded by a C host that knows nothing of Rust, started, used from many
//! threads, shut down, unloaded. The hosts are `hosts/life.c` and `hosts/together.c`, where each scenario is described; the
//! libraries are the packages `plugin`, with the runtime alone, and `plugin-hooked`, with hooks.

use gort_tests::library::Directory;
use gort_tests::needs_goroutines;
use gort_tests::subprocess::Rerun;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The library of this name, which cargo has built together with this test.
fn plugin(name: &str) -> PathBuf {
    let deps = std::env::current_exe().expect("a test has a path");
    deps.with_file_name(format!("libgort_tests_{name}.so"))
}

/// Each kind of library by itself.
const EACH: &[[&str; 2]] = &[["plugin", "plugin"], ["plugin_hooked", "plugin_hooked"]];
/// For scenarios with two.
const PAIRS: &[[&str; 2]] =
    &[["plugin", "plugin_hooked"], ["plugin_hooked", "plugin"], ["plugin_hooked", "plugin_hooked"]];

/// Runs a scenario of the program `host` with these libraries, with one P and with two.
fn run(host: &str, scenario: &str, pairs: &[[&str; 2]]) {
    run_with(host, scenario, pairs, &[]);
}

/// As [`run`], with more in the environment.
fn run_with(host: &str, scenario: &str, pairs: &[[&str; 2]], more: &[(&str, &str)]) {
    let directory = Directory::new();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("hosts").join(host);
    let program =
        directory.program(source, &["-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", "-pthread", "-rdynamic", "-ldl"]);
    for (i, [one, other]) in pairs.iter().enumerate() {
        // Copies, since the loader would take the same file for the same library.
        let paths =
            [directory.copy(plugin(one), &format!("one{i}.so")), directory.copy(plugin(other), &format!("two{i}.so"))];
        for procs in [1, 2] {
            let mut command = Command::new(&program);
            command.arg(scenario).args(&paths);
            let rerun = Rerun::with(command).env("GORT_PROCS", procs).inherit("GORT_CHAOS");
            more.iter().fold(rerun, |rerun, (name, value)| rerun.env(name, value)).run().success();
        }
    }
}

/// Row X-09.
#[test]
fn a_hundred_lives_leave_no_thread_mapping_or_descriptor() {
    run("life.c", "rounds", EACH);
}

/// With kernel threads for goroutines too, of which nothing stays.
#[test]
fn lives_leave_nothing_in_the_heap() {
    run("life.c", "heap", EACH);
    run_with("life.c", "heap", EACH, &[("GORT_BACKEND", "threads")]);
}

#[test]
fn eleven_hundred_lives_leave_no_pthread_key() {
    run("life.c", "keys", EACH);
}

#[test]
fn what_is_known_of_descriptors_goes_with_the_library() {
    run("life.c", "descriptors", EACH);
}

#[test]
fn threads_that_have_called_in_outlive_the_library() {
    run("life.c", "survivors", EACH);
}

#[test]
fn a_library_whose_runtime_runs_stays_though_it_is_closed() {
    run("life.c", "resident", EACH);
}

#[test]
fn a_library_starts_and_ends_again_and_again() {
    run("life.c", "again", EACH);
}

#[test]
fn a_first_callback_or_ten_at_once_start_the_runtime() {
    run("life.c", "first", EACH);
}

/// Row X-12.
#[test]
fn a_constructor_starts_the_runtime_and_waits_for_threads_that_call_in() {
    needs_goroutines!("std's threads do not begin before constructors are done");
    run("together.c", "constructor", EACH);
}

/// Row X-12.
#[test]
fn a_constructor_and_another_thread_start_the_runtime_at_once() {
    needs_goroutines!("std's threads do not begin before constructors are done");
    run("together.c", "constructor_races", PAIRS);
}

/// Row S-08.
#[test]
fn two_libraries_in_one_process_do_not_meet() {
    run("together.c", "two_libraries", PAIRS);
}

const LINKED: &[&str] = &[
    "unused",
    "running",
    "inside",
    "storm",
    "shut_down",
    "callbacks",
    "callbacks_storm",
    "again",
    "child",
    "constructor",
    "constructor_shut_down",
];

/// A program that is linked with the library has it from before its beginning, so that the loader's part of an exit comes before
/// the library's. The library must not take this for its unloading.
#[test]
fn a_program_that_is_linked_with_the_library_exits() {
    let directory = Directory::new();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("hosts/linked.c");
    for name in ["plugin", "plugin_hooked"] {
        let library = directory.copy(plugin(name), name);
        let library = library.to_str().expect("text");
        let flags = ["-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", "-no-pie", library, "-pthread"];
        let program = directory.program(&source, &flags);
        for scenario in LINKED {
            let mut command = Command::new(&program);
            command.arg(scenario);
            let ended = Rerun::with(command).inherit("GORT_CHAOS").run();
            ended.success();
            assert_eq!(ended.stdout, "it ends\n", "what was printed is written at the end of {scenario} with {name}");
            assert_eq!(ended.stderr, "", "{scenario} with {name}");
        }
    }
}

/// Row X-11.
#[test]
fn a_process_exits_while_threads_call_in() {
    run("life.c", "exits_running", EACH);
    run("life.c", "exits_shut_down", EACH);
}
