//! Functions of the system's that the runtime must have whatever this module's imports of them lead to: those that it waits by, which
//! hooks redirect, would otherwise have the runtime park a goroutine in the middle of parking one.

use super::error::kept;
use core::ffi::c_void;
use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};
use windows_sys::core::w;
use windows_sys::Win32::Foundation::{HMODULE, NTSTATUS};
use windows_sys::Win32::System::Kernel::STRING;
use windows_sys::Win32::System::LibraryLoader::GetModuleHandleW;

#[link(name = "ntdll")]
extern "system" {
    /// What `GetProcAddress` calls, which may be redirected too.
    fn LdrGetProcedureAddress(
        module: HMODULE,
        name: *const STRING,
        ordinal: u32,
        address: *mut *mut c_void,
    ) -> NTSTATUS;
}

/// A function that is found by its name, once.
pub(super) struct Real {
    name: &'static str,
    /// Null until it was looked for.
    at: AtomicPtr<()>,
}

impl Real {
    /// `name` ends with a zero, which Wine wants.
    pub(super) const fn new(name: &'static str) -> Real {
        Real { name, at: AtomicPtr::new(ptr::null_mut()) }
    }

    /// Where it is.
    #[inline]
    pub(super) fn at(&self) -> *const () {
        match self.at.load(Ordering::Relaxed) {
            at if at.is_null() => self.find(),
            at => at,
        }
    }

    #[cold]
    fn find(&self) -> *const () {
        let bytes = self.name.len() as u16;
        let name = STRING { Length: bytes - 1, MaximumLength: bytes, Buffer: self.name.as_ptr().cast_mut() };
        let mut found = ptr::null_mut();
        // SAFETY: the strings are such; the library is in every process, for as long as it lives; `found` is ours to write.
        let status = kept(|| unsafe {
            LdrGetProcedureAddress(GetModuleHandleW(w!("kernelbase.dll")), &raw const name, 0, &raw mut found)
        });
        if status < 0 || found.is_null() {
            super::write_stderr(b"gort: this system lacks a function that Windows has since version 8\n");
            std::process::abort();
        }
        self.at.store(found.cast(), Ordering::Relaxed);
        found.cast()
    }
}

/// Declares such functions: `fn NAME(ARGUMENT: TYPE) -> TYPE`.
macro_rules! real {
    ($($(#[$attr:meta])* $vis:vis fn $name:ident($($arg:ident: $type:ty),*) $(-> $result:ty)?;)*) => {
        $(
            $(#[$attr])*
            #[allow(non_snake_case)]
            #[inline]
            $vis unsafe fn $name($($arg: $type),*) $(-> $result)? {
                static REAL: $crate::os::windows::real::Real = $crate::os::windows::real::Real::new(concat!(stringify!($name), "\0"));
                // SAFETY: the type is that of the function with this name; the caller's promise, passed on.
                unsafe {
                    let real: unsafe extern "system" fn($($type),*) $(-> $result)? = core::mem::transmute(REAL.at());
                    real($($arg),*)
                }
            }
        )*
    };
}
pub(super) use real;
