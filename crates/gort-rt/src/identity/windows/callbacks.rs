//! This module's callbacks for the beginning and the end of threads, as its TLS directory lists them for the loader.
//!
//! std's runs the destructors of Rust's thread-local variables and gives back what std keeps of the thread; those of the C
//! runtime free what C's have allocated. They are called on a goroutine as on a thread, in the same order; all but the one of the
//! runtime's own that is about kernel threads.

use crate::os::imports::{base, directory};
use crate::os::is_for_kernel_threads;
use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};
use windows_sys::Win32::System::Diagnostics::Debug::IMAGE_DIRECTORY_ENTRY_TLS;
use windows_sys::Win32::System::SystemServices::{IMAGE_TLS_DIRECTORY64, PIMAGE_TLS_CALLBACK};

/// The list, which ends with a null; null: not looked for yet.
static LIST: AtomicPtr<PIMAGE_TLS_CALLBACK> = AtomicPtr::new(ptr::null_mut());
/// The list of a module that has none.
static NONE: PIMAGE_TLS_CALLBACK = None;

/// Calls all of them with this reason.
///
/// # Safety
/// What the reason says is true of the caller.
pub(super) unsafe fn call(reason: u32) {
    let mut next = list();
    // SAFETY: the list is the module's, made by its linker, and ends with a null.
    while let Some(callback) = unsafe { *next } {
        if !is_for_kernel_threads(callback) {
            // SAFETY: the loader calls it in the same way; the caller's promise.
            unsafe { callback(base(), reason, ptr::null_mut()) };
        }
        next = next.wrapping_add(1);
    }
}

fn list() -> *const PIMAGE_TLS_CALLBACK {
    let known = LIST.load(Ordering::Relaxed);
    if !known.is_null() {
        return known;
    }
    let found = directory::<IMAGE_TLS_DIRECTORY64>(IMAGE_DIRECTORY_ENTRY_TLS).map_or(ptr::null(), |table| {
        // SAFETY: the loader has read the same record.
        ptr::with_exposed_provenance::<PIMAGE_TLS_CALLBACK>(unsafe { (*table).AddressOfCallBacks } as usize)
    });
    let list = if found.is_null() { &raw const NONE } else { found };
    LIST.store(list.cast_mut(), Ordering::Relaxed);
    list
}
