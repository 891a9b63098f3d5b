//! What must compile, and what must not, and why not.
//!
//! Each file of `compile/pass` compiles without a warning. Each file of `compile/fail` does not, and says where and how:
//!
//! ```text
//! //~ E0277 cannot be sent        at the end of a line: an error there with this code and this text in its message
//! //~ - is given twice            the same, an error without a code
//! //~^ E0277 …                    an error in the line above, or further up for each `^`
//! //@ flags: --test               at the start of a file: more flags for the compiler
//! ```
//!
//! Codes, places and a few words are looked at, no more, so that a compiler that words things differently is no failure. That
//! the compiler is asked the right question is what the files of `pass` show.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A program, from the environment that cargo sets for tests, else by its usual name.
fn program(variable: &str, usual: &str) -> Command {
    Command::new(env::var_os(variable).unwrap_or_else(|| usual.into()))
}

/// Where the crate `gort` is, compiled: asks cargo, for whom that is nothing to do.
fn compiled() -> PathBuf {
    let output = program("CARGO", "cargo")
        .args(["build", "--package", "gort", "--lib", "--message-format=json", "--quiet", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stderr(Stdio::inherit())
        .output()
        .expect("cargo");
    assert!(output.status.success(), "cargo build");
    let text = String::from_utf8(output.stdout).expect("JSON");
    let library = text.split('"').filter(|word| word.ends_with(".rlib")).find(|word| {
        let name = Path::new(word).file_stem().expect("a name").to_str().expect("text");
        name == "libgort" || name.starts_with("libgort-")
    });
    library.expect("cargo names the library").into()
}

/// What the compiler says to a file: whether it compiles, and a line for each error and warning.
fn compile(library: &Path, file: &Path, source: &str) -> (bool, String) {
    let directory = library.parent().expect("it lies in one");
    let out = env::temp_dir().join(format!("gort-compile-{}", std::process::id()));
    fs::create_dir_all(&out).expect("a temporary directory");
    let flags = source.lines().find_map(|line| line.strip_prefix("//@ flags: ")).unwrap_or_default();
    let mut command = program("RUSTC", "rustc");
    command.args(["--error-format=short", "--crate-name=case"]);
    for (flag, value) in [("--edition", "2021"), ("--emit", "metadata")] {
        if !flags.contains(flag) {
            command.args([flag, value]);
        }
    }
    command.arg("--extern").arg(format!("gort={}", library.display()));
    // cargo puts what it depends on next to it, or below.
    command.arg("-L").arg(format!("dependency={}", directory.display()));
    command.arg("-L").arg(format!("dependency={}", directory.join("deps").display()));
    command.args(flags.split_whitespace()).arg("--out-dir").arg(&out).arg(file);
    let output = command.output().expect("rustc");
    fs::remove_dir_all(&out).expect("it is ours");
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// An error that a file expects.
struct Expected<'a> {
    line: usize,
    code: &'a str,
    text: &'a str,
}

fn expected(source: &str) -> Vec<Expected<'_>> {
    let lines = source.lines().enumerate().filter_map(|(i, line)| {
        let comment = line.split_once("//~")?.1;
        let text = comment.trim_start_matches('^');
        let up = comment.len() - text.len();
        let (code, text) = text.trim().split_once(' ').expect("a code and a text");
        Some(Expected { line: i + 1 - up, code, text })
    });
    lines.collect()
}

/// Whether one of the compiler's lines, `FILE:LINE:COLUMN: error[CODE]: MESSAGE`, is that error.
fn is_said(said: &str, file: &Path, error: &Expected<'_>) -> bool {
    let place = format!("{}:{}:", file.display(), error.line);
    let kind = if error.code == "-" { "error:".to_string() } else { format!("error[{}]:", error.code) };
    said.lines().any(|line| line.starts_with(&place) && line.contains(&kind) && line.contains(error.text))
}

fn each_of(directory: &str, mut look: impl FnMut(&Path, &str)) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/compile").join(directory);
    let mut files: Vec<_> = fs::read_dir(directory).expect("cases").map(|f| f.expect("a file").path()).collect();
    files.sort();
    assert!(!files.is_empty());
    for file in files {
        look(&file, &fs::read_to_string(&file).expect("text"));
    }
}

#[test]
fn what_must_compile_does_and_what_must_not_does_not() {
    let library = compiled();
    let mut wrong = Vec::new();
    each_of("pass", |file, source| {
        let (compiles, said) = compile(&library, file, source);
        if !compiles || !said.is_empty() {
            wrong.push(format!("{} does not compile without a word:\n{said}", file.display()));
        }
    });
    each_of("fail", |file, source| {
        let (compiles, said) = compile(&library, file, source);
        let expected = expected(source);
        assert!(!expected.is_empty(), "{}: no error is expected", file.display());
        if compiles {
            wrong.push(format!("{} compiles", file.display()));
        }
        for error in expected.iter().filter(|error| !is_said(&said, file, error)) {
            let (line, code, text) = (error.line, error.code, error.text);
            wrong.push(format!("{}:{line}: no {code} {text:?}, but\n{said}", file.display()));
        }
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
