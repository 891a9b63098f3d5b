//! Finds the test-suites of crossbeam's crates, where cargo keeps the sources of dependencies, and writes modules that name
//! them, for `tests/crossbeam.rs`.

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

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=Cargo.lock");
    println!("cargo::rustc-check-cfg=cfg(crossbeam_sanitize)");
    let metadata = metadata();
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    let mut modules = String::new();
    for (package, files) in SUITES {
        let tests = source(&metadata, package).join("tests");
        writeln!(modules, "mod {} {{", package.replace('-', "_")).expect("a string");
        for file in files {
            let path = tests.join(file).with_extension("rs");
            assert!(path.is_file(), "{} is not there", path.display());
            writeln!(modules, "    #[path = {path:?}]\n    mod {file};").expect("a string");
        }
        writeln!(modules, "}}").expect("a string");
    }
    let path = out.join("std_mpsc.rs");
    let theirs = fs::read_to_string(source(&metadata, "crossbeam-channel").join("tests/mpsc.rs")).expect("text");
    fs::write(&path, for_std(&theirs)).expect("OUT_DIR is ours");
    writeln!(modules, "#[path = {path:?}]\nmod std_mpsc;").expect("a string");
    fs::write(out.join("crossbeam.rs"), modules).expect("OUT_DIR is ours");
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
