//! Which of libc's functions park goroutines.
//!
//! On Linux both libraries define libc's names that wait. Which definition a program gets the linker decides: the first one that it comes
//! to, so gort's where libgort stands before libc, as it does by `-lgort`, and libc's where libgort was opened by dlopen.

use crate::code::{failure, run, GORT_EINVAL, GORT_ENONE};
use crate::os;
use core::ffi::{c_char, c_int, CStr};
use core::hint::black_box;

/// Whether calls of a libc function in this process come to gort, so that they park goroutines. They do in a program that is linked with
/// libgort (unless GORT_INTERPOSE=0), and do not where libgort was loaded by dlopen().
///
/// On Windows it is a function of the system's, for example "Sleep", and calls come to gort in a program that libgort.a is part of; not
/// in one that uses gort.dll.
///
/// @param name  of the function, for example "read"; or NULL: all that gort has.
/// @param parks  where the answer goes, 1 or 0.
/// @return GORT_OK; GORT_ENONE: gort has no such function; GORT_EINVAL: `parks` is NULL.
///
/// # Safety
/// `name` is null or a C string, `parks` is null or writable.
#[no_mangle]
pub unsafe extern "C" fn gort_parks(name: *const c_char, parks: *mut c_int) -> c_int {
    run(|| {
        if parks.is_null() {
            return Err(failure(GORT_EINVAL));
        }
        let report = os::report();
        let parks_here = if name.is_null() {
            report.all_live()
        } else {
            // SAFETY: the caller's promise.
            let name = unsafe { CStr::from_ptr(name) };
            let hook = report.hooks.iter().find(|hook| hook.name.as_bytes() == name.to_bytes());
            report.enabled && hook.ok_or_else(|| failure(GORT_ENONE))?.live
        };
        let live = parks_here && os::hooks_serve_the_process();
        // SAFETY: the caller's promise.
        unsafe { *parks = c_int::from(live) };
        Ok(())
    })
}

/// Has the static library bring all hooks into a program that starts the runtime. Else the linker would take those only which the
/// program itself names, and its shared libraries would go on to libc for the others.
pub(crate) fn link() {
    black_box(os::report as fn() -> os::Report);
}
