//! Compiles the C++ half of `tests/cxx.rs`. Finds the test-suites of other people's crates, where cargo keeps the sources of
//! dependencies, and writes modules that name them, for `tests/crossbeam.rs` and `tests/suites.rs`.

use std::env;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A package, and those of its test files that are about waiting.
const SUITES: [(&str, &[&str]); 4] = [
    (
        "crossbeam-channel",
        &[
            "after",
            "array",
            "golang",
            "iter",
            "list",
            "mpsc",
            "never",
            "ready",
            "same_channel",
            "select",
            "select_macro",
            "thread_locals",
            "tick",
            "zero",
        ],
    ),
    ("crossbeam-deque", &["fifo", "injector", "lifo", "steal"]),
    ("crossbeam-queue", &["array_queue", "seg_queue"]),
    ("crossbeam-utils", &["parker", "sharded_lock", "thread", "wait_group"]),
];

/// A suite that takes the root of its crate for granted. Its files are copied, and look for that root in a module.
struct Suite {
    package: &'static str,
    /// Where in the package its files are.
    directory: &'static str,
    /// The one that names the others.
    root: &'static str,
    /// What is replaced in all of them.
    edits: &'static [(&'static str, &'static str)],
}

/// Suites about threads' own variables, and one whose subject keeps caches for threads.
const COPIED: [Suite; 5] = [
    Suite { package: "rayon-core", directory: "src", root: "lib.rs", edits: &[("use rand::", "use rand_09::")] },
    Suite {
        package: "regex",
        directory: "tests",
        root: "lib.rs",
        // The first is not in the package; the other would print what only somebody who asks wants to see.
        edits: &[("mod fuzz;", ""), ("let _ = env_logger::try_init();", ""), ("../testdata", "TESTDATA")],
    },
    Suite { package: "scoped-tls", directory: "src", root: "lib.rs", edits: &[] },
    Suite { package: "thread_local", directory: "src", root: "lib.rs", edits: &[] },
    Suite { package: "tracing-core", directory: "tests", root: "dispatch.rs", edits: &[] },
];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=Cargo.lock");
    println!("cargo::rustc-check-cfg=cfg(crossbeam_sanitize)");
    compile_cxx();
    let metadata = metadata();
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    let (mut modules, mut measuring) = (String::new(), String::new());
    for (package, files) in SUITES {
        let tests = source(&metadata, package).join("tests");
        let module = package.replace('-', "_");
        writeln!(modules, "mod {module} {{").expect("a string");
        for file in files {
            let path = tests.join(file).with_extension("rs");
            let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            writeln!(modules, "    #[path = {path:?}]\n    mod {file};").expect("a string");
            list_measuring(&text, &format!("{module}::{file}"), &mut measuring);
        }
        writeln!(modules, "}}").expect("a string");
    }
    let path = out.join("std_mpsc.rs");
    let theirs = fs::read_to_string(source(&metadata, "crossbeam-channel").join("tests/mpsc.rs")).expect("text");
    let ours = for_std(&theirs);
    list_measuring(&ours, "std_mpsc", &mut measuring);
    fs::write(&path, ours).expect("OUT_DIR is ours");
    writeln!(modules, "#[path = {path:?}]\nmod std_mpsc;").expect("a string");
    writeln!(modules, "pub const MEASURING: &[(&str, &str)] = &[{measuring}];").expect("a string");
    fs::write(out.join("crossbeam.rs"), modules).expect("OUT_DIR is ours");

    let mut modules = String::new();
    for suite in COPIED {
        let module = suite.package.replace('-', "_");
        let copy = out.join(&module);
        suite.copy(&source(&metadata, suite.package), Path::new(suite.directory), &module, &copy);
        writeln!(modules, "#[path = {:?}]\nmod {module};", copy.join(suite.root)).expect("a string");
    }
    fs::write(out.join("suites.rs"), modules).expect("OUT_DIR is ours");
}

impl Suite {
    /// Copies what lies in a directory of the package to `to`, such that `crate` is the module of this name.
    fn copy(&self, package: &Path, directory: &Path, module: &str, to: &Path) {
        fs::create_dir_all(to).expect("OUT_DIR is ours");
        let from = package.join(directory);
        for entry in fs::read_dir(&from).unwrap_or_else(|error| panic!("{}: {error}", from.display())) {
            let path = entry.expect("the directory can be read").path();
            let name = path.file_name().expect("it is in a directory");
            if path.is_dir() {
                self.copy(package, &directory.join(name), module, &to.join(name));
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let mut text = fs::read_to_string(&path).expect("text");
                for (theirs, ours) in self.edits {
                    text = text.replace(theirs, ours);
                }
                text = text.replace("crate::", &format!("crate::suites::{module}::"));
                text = text.replace("TESTDATA", package.join("testdata").to_str().expect("text"));
                // What is said at the top of a file is about lints and features of the whole crate.
                let lines = text.lines().filter(|line| !line.starts_with("#!["));
                let text = lines.flat_map(|line| [line, "\n"]).collect::<String>();
                fs::write(to.join(name), text).expect("OUT_DIR is ours");
            }
        }
    }
}

/// Optimised in every profile: addresses of thread-local variables that a compiler keeps are what the tests are about.
fn compile_cxx() {
    const SOURCE: &str = "c/locals.cpp";
    println!("cargo::rerun-if-changed={SOURCE}");
    cc::Build::new()
        .cpp(true)
        .std("c++17")
        .file(SOURCE)
        .opt_level(2)
        .warnings(true)
        .extra_warnings(true)
        .warnings_into_errors(true)
        .compile("gort_world_cxx");
}

/// What cargo knows of this package's dependencies. They have been fetched for this build already.
fn metadata() -> String {
    let cargo = env::var_os("CARGO").expect("cargo sets it");
    let target = env::var("TARGET").expect("cargo sets it");
    let output = Command::new(cargo)
        .args(["metadata", "--format-version=1", "--offline", "--filter-platform", &target])
        .output()
        .expect("cargo can be started");
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("JSON is UTF-8")
}

/// The directory with the source of that package, by the path of its manifest in what cargo wrote.
fn source(metadata: &str, package: &str) -> PathBuf {
    let paths = metadata.split("\"manifest_path\":\"").skip(1).filter_map(|rest| rest.split('"').next());
    let directory = paths.filter_map(|path| Path::new(path).parent()).find(|directory| {
        let name = directory.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let version = name.strip_prefix(package).and_then(|rest| rest.strip_prefix('-'));
        version.is_some_and(|version| version.starts_with(|c: char| c.is_ascii_digit()))
    });
    directory.unwrap_or_else(|| panic!("cargo metadata does not name {package}")).to_owned()
}

/// What tests name that measure time, or memory of the whole process.
const MEASURES: [&str; 6] = ["ms(", "Duration", "Instant", "_timeout(", "_deadline(", "ALLOCATED"];

/// Adds the tests of this file that measure to a list of pairs: the module and the test's name.
fn list_measuring(text: &str, module: &str, list: &mut String) {
    let starts: Vec<_> = text.match_indices("#[test]").map(|(at, _)| at).collect();
    for (i, &at) in starts.iter().enumerate() {
        let test = &text[at..starts.get(i + 1).copied().unwrap_or(text.len())];
        let name = test.split_once("fn ").and_then(|(_, rest)| rest.split_once('(')).map(|(name, _)| name);
        if let (true, Some(name)) = (MEASURES.iter().any(|word| test.contains(word)), name) {
            // One that is indented is in a module of the file.
            let before = &text[..at];
            let inner = before.ends_with(' ').then(|| before.rsplit_once("\nmod ")).flatten();
            let inner = inner.and_then(|(_, rest)| rest.split_once(" {")).map_or("", |(inner, _)| inner);
            let separator = if inner.is_empty() { "" } else { "::" };
            write!(list, "(\"{module}{separator}{inner}\", {name:?}), ").expect("a string");
        }
    }
}

/// crossbeam-channel's `tests/mpsc.rs` holds the tests of `std::sync::mpsc`, behind a layer that makes its channels look like
/// std's. Without the layer they are the tests of std's channels again.
fn for_std(theirs: &str) -> String {
    let tests = theirs.find("mod channel_tests {").expect("the tests begin here");
    let select = theirs.find("mod select_tests {").expect("std has no select, and these are the last");
    let select = theirs[..select].rfind('}').expect("the end of the tests before them") + 1;
    format!(
        "use std::sync::mpsc::{{channel, sync_channel, Receiver, RecvError, RecvTimeoutError, Sender, SyncSender}};\n\
         use std::sync::mpsc::{{SendError, TryRecvError, TrySendError}};\n\
         use std::thread::JoinHandle;\nuse std::time::Duration;\n\n{}\n",
        &theirs[tests..select]
    )
}
