//! `include/gort.h` says what the sources say.

use std::path::Path;
use std::{env, fs};

/// The header, without what only Rust's readers need: the sections about safety.
fn header(root: &Path) -> String {
    let config = cbindgen::Config::from_file(root.join("cbindgen.toml")).expect("the settings are right");
    let mut made = Vec::new();
    cbindgen::Builder::new()
        .with_config(config)
        .with_crate(root)
        .generate()
        .expect("the sources can be read")
        .write(&mut made);
    without_safety(&String::from_utf8(made).expect("text"))
}

fn without_safety(text: &str) -> String {
    let mut skipping = false;
    let mut lines: Vec<&str> = Vec::new();
    for line in text.lines() {
        if line.trim_start().starts_with("* # Safety") {
            skipping = true;
            // The empty line before it.
            if lines.last().is_some_and(|last| last.trim() == "*") {
                lines.pop();
            }
        } else if line.trim() == "*/" || line.trim() == "*" {
            skipping = false;
        }
        if !skipping {
            lines.push(line.trim_end());
        }
    }
    lines.join("\n") + "\n"
}

/// Row S-09.
#[test]
fn the_header_is_current() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (path, wanted) = (root.join("include/gort.h"), header(root));
    if env::var_os("GORT_WRITE_HEADER").is_some() {
        fs::write(&path, wanted).expect("it can be written");
        return;
    }
    let there = fs::read_to_string(&path).unwrap_or_default();
    let differs = there.lines().zip(wanted.lines()).position(|(a, b)| a != b);
    assert!(
        there == wanted,
        "include/gort.h is not what the sources say, from line {} on; write it anew by GORT_WRITE_HEADER=1 cargo test -p gort-capi \
         --test header",
        differs.map_or(there.lines().count(), |i| i) + 1
    );
}
