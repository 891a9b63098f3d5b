//! Builds the C library of the tour, `c/pump.c` and how the system naps, and links it in.

fn main() {
    println!("cargo::rerun-if-changed=c");
    let windows = std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("windows");
    let nap = if windows { "c/nap_windows.c" } else { "c/nap_linux.c" };
    if !windows {
        println!("cargo::rustc-link-lib=pthread");
    }
    cc::Build::new().files(["c/pump.c", nap]).include("c").flag("-pthread").warnings(true).compile("pump");
}
