//! Programs in C and C++ that use gort as their users do: installed, found by pkg-config, linked statically and dynamically.
//!
//! Each runs with both backends, with one P and with two, in a process of its own. GORT_CAPI_PROFILE=release tests the libraries as
//! they are meant to be; `ci/capi.sh` does.

use gort_tests::subprocess::Rerun;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// Where everything is installed, by the first test that asks.
fn prefix() -> &'static Path {
    static PREFIX: OnceLock<PathBuf> = OnceLock::new();
    PREFIX.get_or_init(|| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let profile = env::var("GORT_CAPI_PROFILE").unwrap_or("dev".into());
        let prefix = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("capi-{profile}"));
        let mut install = Command::new(root.join("install.sh"));
        let output = install.arg(&prefix).env("GORT_CAPI_PROFILE", profile).stdin(Stdio::null()).output();
        succeeded(&install, &output.expect("there is a shell"));
        prefix
    })
}

fn succeeded(command: &Command, output: &std::process::Output) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        text(&output.stdout),
        text(&output.stderr)
    );
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Linked {
    Statically,
    Dynamically,
}

/// What pkg-config says.
fn pkg_config(package: &str, what: &str) -> Vec<String> {
    let mut command = Command::new("pkg-config");
    command.args([what, package]).env("PKG_CONFIG_PATH", prefix().join("lib/pkgconfig"));
    let output = command.output().expect("there is a pkg-config");
    succeeded(&command, &output);
    String::from_utf8_lossy(&output.stdout).split_whitespace().map(str::to_owned).collect()
}

/// Compiles a program as its users would, and returns its path.
fn build(source: &Path, linked: Linked) -> PathBuf {
    let cpp = source.extension().is_some_and(|e| e == "cpp");
    let (variable, compiler, standard) = if cpp { ("CXX", "g++", "-std=c++17") } else { ("CC", "gcc", "-std=c99") };
    let package = if linked == Linked::Statically { "gort-static" } else { "gort" };
    let name = source.file_stem().expect("a name").to_str().expect("text");
    let kind = if cpp { "cpp" } else { "c" };
    let program = prefix().join(format!("{name}-{kind}-{linked:?}"));
    let mut command = Command::new(env::var(variable).unwrap_or(compiler.into()));
    command.args([standard, "-pedantic", "-Wall", "-Wextra", "-Werror", "-O1", "-g", "-pthread"]);
    command.args(pkg_config(package, "--cflags")).arg(source).arg("-o").arg(&program);
    if name != "opened" {
        command.args(pkg_config(package, "--libs"));
    }
    if linked == Linked::Dynamically {
        command.arg(format!("-Wl,-rpath,{}", prefix().join("lib").display()));
    }
    let output = command.output().expect("there is a compiler");
    succeeded(&command, &output);
    program
}

/// Runs a program with each kind of goroutines, and with one P and two.
fn run(program: &Path, arguments: &[&str]) {
    for backend in ["goroutines", "threads"] {
        for procs in [1, 2] {
            let mut command = Command::new(program);
            command.args(arguments);
            Rerun::with(command).env("GORT_BACKEND", backend).env("GORT_PROCS", procs).run().success();
        }
    }
}

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/c").join(name)
}

/// Builds a program with either library, and runs it.
fn check(name: &str) {
    for linked in [Linked::Dynamically, Linked::Statically] {
        run(&build(&source(name), linked), &[]);
    }
}

/// Row S-01.
#[test]
fn every_function_does_what_it_should() {
    check("usual.c");
}

#[test]
fn every_function_serves_cpp() {
    check("usual.cpp");
}

/// Row X-07.
/// Row X-10.
///
/// Row C-34.
#[test]
fn misuse_is_a_code() {
    check("misuse.c");
}

#[test]
fn joins_have_deadlines() {
    check("joins.c");
}

#[test]
fn signal_handlers_unpark() {
    check("signals.c");
}

#[test]
fn what_waits_in_a_program_parks() {
    check("parks.c");
}

/// Row S-02.
#[test]
fn the_library_can_be_opened_and_closed() {
    let library = prefix().join("lib/libgort.so");
    run(&build(&source("opened.c"), Linked::Dynamically), &[library.to_str().expect("text")]);
}

/// Row A-14.
#[test]
fn the_static_library_can_be_part_of_a_shared_one() {
    let library = prefix().join("libplugin.so");
    let mut command = Command::new(env::var("CC").unwrap_or("gcc".into()));
    command.args(["-shared", "-Wl,-Bsymbolic-functions", "-o"]).arg(&library);
    command.arg("-Wl,--whole-archive").arg(prefix().join("lib/libgort.a")).arg("-Wl,--no-whole-archive");
    command.args(pkg_config("gort-static", "--libs"));
    let output = command.output().expect("there is a compiler");
    succeeded(&command, &output);
    run(&build(&source("opened.c"), Linked::Statically), &[library.to_str().expect("text")]);
}

/// The guide's programs in C: the smallest, which is one in C++ too, and a larger one.
#[test]
fn the_guides_programs_work() {
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/c.md");
    let text = fs::read_to_string(guide).expect("the guide is there");
    let programs: Vec<&str> = text.split("```c\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert_eq!(programs.len(), 2);
    let sources = [
        ("smallest.c", programs[0], "a goroutine greets C\n"),
        ("smallest.cpp", programs[0], "a goroutine greets C\n"),
        ("larger.c", programs[1], "12 lines, 290 bytes\n"),
    ];
    for (name, program, says) in sources {
        let path = prefix().join(name);
        fs::write(&path, program).expect("a file");
        for linked in [Linked::Dynamically, Linked::Statically] {
            let said = Rerun::with(Command::new(build(&path, linked))).run();
            said.success();
            assert_eq!((&*said.stdout, &*said.stderr), (says, ""), "{name}, {linked:?}");
        }
    }
}
