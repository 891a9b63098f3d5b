//! Compiles the C halves of the scenarios that run on Windows.

fn main() {
    println!("cargo:rerun-if-changed=c");
    println!("cargo:rerun-if-changed=../c");
    cc::Build::new()
        .include("../c")
        .files(["../c/frames.c", "c/cthreads.c"])
        .opt_level(2)
        .warnings(true)
        .extra_warnings(true)
        .warnings_into_errors(true)
        // gcc takes what mingw's headers read by `gs` for an array at address 0.
        .flag("-Wno-array-bounds")
        .compile("gort_tests_c");
}
