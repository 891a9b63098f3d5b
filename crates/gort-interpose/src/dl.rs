//! Loading and unloading libraries: the thread-local storage of goroutines that exist already must follow.
//!
//! # Who runs the constructors
//!
//! The loader gives a new library's thread-local variables their first values in the blocks that it knows, then runs the
//! library's constructors. It does not know a goroutine's block, which follows when the call is over. So on a goroutine the
//! call is made on the stack and the thread-local storage of the kernel thread underneath: constructors find their variables
//! there. They run on no goroutine, then; what they wait for blocks the kernel thread, and the goroutine's P goes to others.
//!
//! The text for `dlerror` is kept for the thread that called. A call that fails is therefore made again on the goroutine, where
//! it fails in the same way (or finds the library after all). One that succeeds has the goroutine forget an older text.
//!
//! # Who calls
//!
//! A name without a slash is looked for along the run path of the library that calls, and libc takes its return address for
//! that. Called from here the caller would be the executable, so the search is made before the call: see `run_path`.

use crate::arch::tail_call_with_caller;
use crate::hand_off::hand_off;
use crate::next::next;
use crate::run_path;
use crate::Ours;
use gort_rt::ffi::on_system_stack;
use gort_rt::hook;
use libc::{c_char, c_int, c_void};

/// What this file defines.
pub(crate) static HOOKS: &[Ours] =
    &[Ours::new(c"dlopen", dlopen as *const ()), Ours::new(c"dlclose", dlclose as *const ())];

/// libc's `dlopen`.
///
/// # Safety
/// As for libc's: the library's constructors run.
#[no_mangle]
#[unsafe(naked)]
pub unsafe extern "C" fn dlopen(name: *const c_char, flags: c_int) -> *mut c_void {
    // The return address says who calls.
    tail_call_with_caller!(open)
}

/// A call of `dlopen` that has only pointers, so that it may be made on the system stack.
#[derive(Clone, Copy)]
struct Call {
    name: *const c_char,
    flags: c_int,
    caller: *const c_void,
}

// SAFETY: the caller of `dlopen` waits for the call, wherever it is made, and its text stays as it is meanwhile.
unsafe impl Send for Call {}

/// The handle of a library, which belongs to the process.
struct Library(*mut c_void);

// SAFETY: the loader's handles are good on all threads.
unsafe impl Send for Library {}

/// [`dlopen`], told where it is called from.
///
/// # Safety
/// As for [`dlopen`]; `caller` is an address of the code that calls.
unsafe extern "C" fn open(name: *const c_char, flags: c_int, caller: *const c_void) -> *mut c_void {
    let call = Call { name, flags, caller };
    if name.is_null() || flags & libc::RTLD_NOLOAD != 0 || !hook::may_park() {
        // SAFETY: the caller's promise, passed on.
        return unsafe { call.make() };
    }
    let library = hand_off(|| {
        on_system_stack(move || {
            // SAFETY: as above.
            let library = Library(unsafe { call.make() });
            if library.0.is_null() {
                forget_error();
            }
            library
        })
    });
    if library.0.is_null() {
        // SAFETY: as above.
        return unsafe { call.make() };
    }
    forget_error();
    library.0
}

impl Call {
    /// Loads the library here, and brings the thread-local storage of goroutines up to date.
    ///
    /// # Safety
    /// As for [`open`].
    unsafe fn make(self) -> *mut c_void {
        let next = next!(c"dlopen", fn(*const c_char, c_int) -> *mut c_void);
        hook::with_modules_changing(|| {
            // SAFETY: the caller's promise, passed on. Paths that are tried first are such that libc itself would try.
            unsafe {
                let found = run_path::search(self.name, self.caller, |path, more| next(path, self.flags | more));
                if found.is_null() {
                    next(self.name, self.flags)
                } else {
                    found
                }
            }
        })
    }
}

/// Has the calling thread, or goroutine, forget the text of the last error.
fn forget_error() {
    // SAFETY: no preconditions. The text is gone with the next call of a function of the loader's.
    unsafe { libc::dlerror() };
}

/// libc's `dlclose`.
///
/// # Safety
/// As for libc's: nothing uses the library any more.
#[no_mangle]
pub unsafe extern "C" fn dlclose(library: *mut c_void) -> c_int {
    let next = next!(c"dlclose", fn(*mut c_void) -> c_int);
    // SAFETY: the caller's promise, passed on.
    hook::with_modules_changing(|| unsafe { next(library) })
}
