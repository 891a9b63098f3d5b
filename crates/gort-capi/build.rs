//! How the shared library is linked.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() != Ok("linux") {
        return;
    }
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libgort.so.0");
    // The library's own waits (channels, joins) go to its own hooks in any case, also where the program's go to libc: when
    // it was opened by dlopen, or linked behind libc.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-Bsymbolic-functions");
}
