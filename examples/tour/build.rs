//! Builds the C library of the tour, `c/pump.c`, and links it in.

fn main() {
    println!("cargo::rerun-if-changed=c/pump.c");
    println!("cargo::rerun-if-changed=c/pump.h");
    println!("cargo::rustc-link-lib=pthread");
    cc::Build::new().file("c/pump.c").include("c").flag("-pthread").warnings(true).compile("pump");
}
