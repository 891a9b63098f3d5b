//! `pthread_once`: libc's, in a hand-off.
//!
//! Others wait in the kernel while the routine runs, which is once; the routine itself may park, and goes on elsewhere. It may
//! also throw: C++'s `std::call_once` is made of this, and lets exceptions pass through.

use crate::next::Next;
use crate::Ours;
use core::ffi::c_void;
use core::mem::transmute;
use gort_rt::ffi::blocking;
use libc::c_int;

/// What this file defines.
pub(crate) static HOOKS: &[Ours] = &[Ours::new(c"pthread_once", pthread_once as *const ())];

type Routine = extern "C-unwind" fn();

/// libc's `pthread_once`.
///
/// # Safety
/// As for libc's.
#[no_mangle]
pub unsafe extern "C-unwind" fn pthread_once(control: *mut c_int, routine: Routine) -> c_int {
    static NEXT: Next = Next::new(c"pthread_once");
    type F = unsafe extern "C-unwind" fn(*mut c_int, Routine) -> c_int;
    // SAFETY: a symbol of this name has this type; the caller's promise. Off a goroutine `blocking` is a plain call.
    unsafe {
        let real = transmute::<*mut c_void, F>(NEXT.need());
        blocking(|| real(control, routine))
    }
}
