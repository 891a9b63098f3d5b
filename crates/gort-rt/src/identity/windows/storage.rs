//! Copies of the module's thread-local storage, for goroutines.
//!
//! The module's TLS directory says what the loader copies for each thread: an image of variables with their first values, then so
//! many zeroes. Where the copy of a thread is, an array in its block says, by the number that the loader has given to the module.
//!
//! When a library with thread-local storage is loaded the loader may make the array of each thread anew. A switch that falls between
//! its copy and its exchange of the two would be lost, and the goroutine would run with the storage of the one before, until its
//! next switch. Nothing that can be done here prevents that: a library with native thread-local storage is to be loaded before the
//! first goroutine.

use crate::arch;
use crate::os::imports::directory;
use core::ptr;
use core::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use std::alloc::{GlobalAlloc, Layout, System};
use windows_sys::Win32::System::Diagnostics::Debug::IMAGE_DIRECTORY_ENTRY_TLS;
use windows_sys::Win32::System::SystemServices::IMAGE_TLS_DIRECTORY64;

/// Whether variables are kept so: not where std and C compilers keep all under keys.
pub(super) const IS_USED: bool = cfg!(not(all(target_env = "gnu", not(target_abi = "llvm"))));

/// The image.
static IMAGE: AtomicPtr<u8> = AtomicPtr::new(ptr::null_mut());
/// Its bytes.
static FILLED: AtomicUsize = AtomicUsize::new(0);
/// Bytes of a copy: the image's, and of the zeroes. 0: not looked for yet.
static SIZE: AtomicUsize = AtomicUsize::new(0);
/// What the address of a copy is a multiple of.
static ALIGN: AtomicUsize = AtomicUsize::new(1);

/// Finds out what a copy is, and has switches exchange them.
pub(super) fn init() {
    if SIZE.load(Ordering::Relaxed) != 0 {
        return;
    }
    let Some(table) = directory::<IMAGE_TLS_DIRECTORY64>(IMAGE_DIRECTORY_ENTRY_TLS) else { return };
    // SAFETY: the loader has read the same record, and has filled the number in.
    let (table, module) =
        unsafe { (&*table, ptr::with_exposed_provenance::<u32>((*table).AddressOfIndex as usize).read()) };
    let filled = (table.EndAddressOfRawData - table.StartAddressOfRawData) as usize;
    // SAFETY: any of the two views is plain numbers.
    let shift = unsafe { table.Anonymous.Characteristics } >> 20 & 15;
    IMAGE.store(ptr::with_exposed_provenance_mut(table.StartAddressOfRawData as usize), Ordering::Relaxed);
    FILLED.store(filled, Ordering::Relaxed);
    ALIGN.store(if shift == 0 { 16 } else { 1 << (shift - 1) }, Ordering::Relaxed);
    SIZE.store((filled + table.SizeOfZeroFill as usize).max(1), Ordering::Relaxed);
    arch::set_storage(module);
}

fn layout() -> Layout {
    let (size, align) = (SIZE.load(Ordering::Relaxed), ALIGN.load(Ordering::Relaxed));
    Layout::from_size_align(size.max(1), align.max(16)).expect("the linker gives sizes that fit, and powers of two")
}

/// A copy, with the first values. None: there is no memory for it.
pub(super) fn make() -> Option<usize> {
    // Not by the program's global allocator, which may keep its own state there.
    // SAFETY: the layout is not empty.
    let copy = unsafe { System.alloc(layout()) };
    if copy.is_null() {
        return None;
    }
    let storage = copy.expose_provenance();
    // SAFETY: just made.
    unsafe { reset(storage) };
    Some(storage)
}

/// Gives all variables of a copy their first values.
///
/// # Safety
/// [`make`] made it, and nobody uses it.
pub(super) unsafe fn reset(storage: usize) {
    let (copy, filled) = (ptr::with_exposed_provenance_mut::<u8>(storage), FILLED.load(Ordering::Relaxed));
    // SAFETY: the copy has that size, of which the image is a part, and is the caller's.
    unsafe {
        copy.copy_from_nonoverlapping(IMAGE.load(Ordering::Relaxed), filled);
        copy.add(filled).write_bytes(0, layout().size() - filled);
    }
}

/// Frees a copy.
///
/// # Safety
/// [`make`] made it, and nobody uses it any more.
pub(super) unsafe fn free(storage: usize) {
    // SAFETY: the caller's promise.
    unsafe { System.dealloc(ptr::with_exposed_provenance_mut(storage), layout()) };
}
