//! Loading and unloading libraries: the thread-local storage of goroutines that exist already must follow.
//!
//! Known limit: `dlopen` looks at the run path of the library that calls it; called through this hook the caller is the
//! executable. A library that loads others by bare name from its own run path should be given an absolute path.

use crate::next::Next;
use core::mem;
use gort_rt::hook;
use libc::{c_char, c_int, c_void};

/// libc's `dlopen`.
///
/// # Safety
/// As for libc's: the library's constructors run.
#[no_mangle]
pub unsafe extern "C" fn dlopen(name: *const c_char, flags: c_int) -> *mut c_void {
    static NEXT: Next = Next::new(c"dlopen");
    type F = unsafe extern "C" fn(*const c_char, c_int) -> *mut c_void;
    let next = NEXT.get();
    if next.is_null() {
        return core::ptr::null_mut();
    }
    // SAFETY: a symbol of this name has this type; the caller's promise is passed on.
    hook::with_modules_changing(|| unsafe { mem::transmute::<*mut c_void, F>(next)(name, flags) })
}

/// libc's `dlclose`.
///
/// # Safety
/// As for libc's: nothing uses the library any more.
#[no_mangle]
pub unsafe extern "C" fn dlclose(library: *mut c_void) -> c_int {
    static NEXT: Next = Next::new(c"dlclose");
    type F = unsafe extern "C" fn(*mut c_void) -> c_int;
    let next = NEXT.get();
    if next.is_null() {
        return -1;
    }
    // SAFETY: as in `dlopen`.
    hook::with_modules_changing(|| unsafe { mem::transmute::<*mut c_void, F>(next)(library) })
}
