//! Compiles the C side of the foreign-call rows. It is optimised in every profile, as the C libraries of a real program are.

fn main() {
    println!("cargo:rerun-if-changed=c/bench.c");
    println!("cargo:rerun-if-changed=c/bench.h");
    cc::Build::new().file("c/bench.c").opt_level(2).warnings(true).compile("gort_bench_c");
}
