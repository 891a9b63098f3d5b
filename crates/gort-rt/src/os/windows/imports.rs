//! This module's imports: where its calls of other modules' functions go through, one word each, filled in by the loader.
//!
//! A function that is redirected is so for all code that is linked into this module, the runtime's own included: what that
//! must have from the system it finds by other ways ([`super::real`]).

use super::code;
use super::error;
use core::ffi::{c_void, CStr};
use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};
use windows_sys::Win32::System::Diagnostics::Debug::{
    IMAGE_DIRECTORY_ENTRY, IMAGE_DIRECTORY_ENTRY_IMPORT, IMAGE_NT_HEADERS64,
};
use windows_sys::Win32::System::Memory::{VirtualProtect, PAGE_READWRITE};
use windows_sys::Win32::System::SystemServices::{IMAGE_DOS_HEADER, IMAGE_IMPORT_DESCRIPTOR, IMAGE_ORDINAL_FLAG64};

/// A function that is redirected to one of ours.
pub struct Function {
    name: &'static CStr,
    ours: *const (),
    /// What the loader had found; null until then.
    real: AtomicPtr<()>,
}

// SAFETY: the pointer is that of a function.
unsafe impl Sync for Function {}

impl Function {
    /// `ours` has the type of the function with this name.
    pub const fn new(name: &'static CStr, ours: *const ()) -> Function {
        Function { name, ours, real: AtomicPtr::new(ptr::null_mut()) }
    }

    /// The system's function; for `ours`, which is called only where that was imported.
    #[inline]
    pub fn real(&self) -> *const () {
        self.real.load(Ordering::Relaxed)
    }

    /// Notes `real` as the system's function, where this module does not import it, and returns ours.
    pub fn stand_in(&self, real: *const ()) -> *const () {
        // Whatever the outcome, the one that is there is right.
        let _ = self.real.compare_exchange(ptr::null_mut(), real.cast_mut(), Ordering::Relaxed, Ordering::Relaxed);
        self.ours
    }

    /// Its name.
    pub fn name(&self) -> &'static CStr {
        self.name
    }

    /// Whether this module imports it, and calls go to ours.
    pub fn is_redirected(&self) -> bool {
        !self.real().is_null()
    }
}

/// Has this module's calls of these functions go to ours. An error number if that is refused. Does nothing for those that do so
/// already. One call at a time.
///
/// Calls that other threads make meanwhile go to one or the other, which off goroutines must be the same.
pub fn redirect(functions: &[&Function]) -> Result<(), i32> {
    let Some(mut library) = directory::<IMAGE_IMPORT_DESCRIPTOR>(IMAGE_DIRECTORY_ENTRY_IMPORT) else {
        return Err(code::INVALID);
    };
    // SAFETY: the loader has filled the table in, which stays as long as the module. It ends with a record of zeroes; so does the
    // list of names of each library, which has a word for each of its functions.
    unsafe {
        while (*library).Name != 0 {
            let mut names = at::<u64>((*library).Anonymous.OriginalFirstThunk);
            let mut words = at::<*mut ()>((*library).FirstThunk);
            // (Linkers need not align the list.)
            while (*library).Anonymous.OriginalFirstThunk != 0 && names.read_unaligned() != 0 {
                let name = names.read_unaligned();
                if name & IMAGE_ORDINAL_FLAG64 == 0 {
                    // A hint of two bytes comes first.
                    let name = CStr::from_ptr(at::<i8>(name as u32 + 2));
                    if let Some(function) = functions.iter().find(|function| function.name == name) {
                        replace(words.cast_mut(), function)?;
                    }
                }
                (names, words) = (names.add(1), words.add(1));
            }
            library = library.add(1);
        }
    }
    Ok(())
}

/// Makes the word lead to our function.
///
/// # Safety
/// It is a word of this module's for the system's function of that name.
unsafe fn replace(word: *mut *mut (), function: &Function) -> Result<(), i32> {
    if !word.is_aligned() {
        return Err(code::INVALID);
    }
    let ours = function.ours.cast_mut();
    // SAFETY: the caller's promise; others read the word while they call, so it is an atomic.
    let shared = unsafe { AtomicPtr::from_ptr(word) };
    let real = shared.load(Ordering::Relaxed);
    if real == ours {
        return Ok(());
    }
    // Before anybody can come to ours.
    function.real.store(real, Ordering::Relaxed);
    let (page, bytes) = (word.cast::<c_void>(), size_of::<usize>());
    let mut rights = 0;
    // SAFETY: the word is the module's own, and its rights are put back.
    unsafe {
        if VirtualProtect(page, bytes, PAGE_READWRITE, &raw mut rights) == 0 {
            return Err(error::last());
        }
        shared.store(ours, Ordering::Release);
        VirtualProtect(page, bytes, rights, &raw mut rights);
    }
    Ok(())
}

extern "C" {
    /// What the linker calls the beginning of the module.
    static __ImageBase: IMAGE_DOS_HEADER;
}

/// The beginning of this module, which names it to the loader's callbacks.
pub(crate) fn base() -> *mut c_void {
    (&raw const __ImageBase).cast_mut().cast()
}

/// What lies so many bytes behind the beginning of this module.
fn at<T>(offset: u32) -> *const T {
    base().cast::<u8>().wrapping_add(offset as usize).cast()
}

/// One of this module's tables for the loader, by its number; None if it has none.
pub(crate) fn directory<T>(number: IMAGE_DIRECTORY_ENTRY) -> Option<*const T> {
    // SAFETY: the module's headers are where the loader has found them.
    let entry = unsafe {
        let headers = at::<IMAGE_NT_HEADERS64>(__ImageBase.e_lfanew as u32);
        (*headers).OptionalHeader.DataDirectory[usize::from(number)]
    };
    (entry.Size != 0).then(|| at(entry.VirtualAddress))
}
