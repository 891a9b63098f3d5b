//! Windows.

use core::ptr;
use windows_sys::Win32::System::LibraryLoader::GetModuleHandleW;

pub(crate) use gort_redirect::{report, Report};

/// Windows has no forks.
pub(crate) fn at_fork(_in_child: extern "C" fn()) {}

extern "C" {
    /// What the linker calls the beginning of the module that this crate is part of.
    static __ImageBase: u8;
}

/// Whether calls of the process's program come to the hooks that are live: they serve the module that this crate is part of, which is
/// the program where the static library was linked into it.
pub(crate) fn hooks_serve_the_process() -> bool {
    // SAFETY: no name stands for the program, which is always there.
    let program = unsafe { GetModuleHandleW(ptr::null()) };
    ptr::eq(program.cast_const().cast(), &raw const __ImageBase)
}
