//! Says how `libhosts.so` is linked.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // A host that loads the library at run time (`dlopen`, Python's ctypes) has libc before it, so that without this the
    // library's own calls of `recv` or `nanosleep` would not come to gort's hooks. With it they do; those of the host do
    // not, unless the host is linked with the library.
    println!("cargo::rustc-cdylib-link-arg=-Wl,-Bsymbolic-functions");
    // Hosts in other directories find it by this name.
    println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libhosts.so");
}
