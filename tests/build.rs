//! Compiles the C and C++ halves of the scenarios, every file in `c/`, into one static library for each language.

use std::fs;

fn main() {
    println!("cargo:rerun-if-changed=c");
    println!("cargo:rerun-if-changed=build.rs");
    compile(false, "c", "gort_tests_c");
    compile(true, "cpp", "gort_tests_cpp");
}

fn compile(cpp: bool, extension: &str, library: &str) {
    let mut sources: Vec<_> = fs::read_dir("c")
        .expect("the package has a directory of C sources")
        .map(|entry| entry.expect("the directory can be read").path())
        .filter(|path| path.extension().is_some_and(|e| e == extension))
        .collect();
    sources.sort();
    for source in &sources {
        println!("cargo:rerun-if-changed={}", source.display());
    }
    // Optimised in every profile: values in registers and cached addresses of thread-local variables are what the
    // scenarios are about.
    cc::Build::new()
        .cpp(cpp)
        .files(&sources)
        .define("_GNU_SOURCE", None)
        .opt_level(2)
        .warnings(true)
        .extra_warnings(true)
        .warnings_into_errors(true)
        .compile(library);
}
