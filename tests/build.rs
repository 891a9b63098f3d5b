//! Compiles the C halves of the scenarios, every file in `c/`, into one static library.

use std::fs;

fn main() {
    println!("cargo:rerun-if-changed=c");
    println!("cargo:rerun-if-changed=build.rs");
    let mut sources: Vec<_> = fs::read_dir("c")
        .expect("the package has a directory of C sources")
        .map(|entry| entry.expect("the directory can be read").path())
        .filter(|path| path.extension().is_some_and(|e| e == "c"))
        .collect();
    sources.sort();
    for source in &sources {
        println!("cargo:rerun-if-changed={}", source.display());
    }
    // Optimised in every profile: values in registers and cached addresses of thread-local variables are what the
    // scenarios are about.
    cc::Build::new()
        .files(&sources)
        .define("_GNU_SOURCE", None)
        .opt_level(2)
        .warnings(true)
        .extra_warnings(true)
        .warnings_into_errors(true)
        .compile("gort_tests_c");
}
