//! Which glibc there is, for what depends on it: the one that this program was built for, and the one that it runs with.

use std::ffi::CStr;

/// A release of glibc: 2 and 36, say.
pub type Release = (u32, u32);

/// The release that this program was compiled for and linked with.
pub fn built_for() -> Release {
    extern "C" {
        fn release_compiled_for() -> i32;
    }
    // SAFETY: returns a constant.
    let number = unsafe { release_compiled_for() } as u32;
    (number / 1000, number % 1000)
}

/// The release that this process runs with, which is the same or a later one.
pub fn running() -> Release {
    // SAFETY: a constant string of glibc's.
    let text = unsafe { CStr::from_ptr(libc::gnu_get_libc_version()) }.to_str().expect("digits and a dot");
    let (major, minor) = text.split_once('.').expect("two numbers");
    (major.parse().expect("a number"), minor.parse().expect("a number"))
}
