//! Rust code that C started, and that panics. Calls what the header declares as C does, by name.

use gort_capi as _;
use std::ffi::{c_char, c_int, c_void, CStr};
use std::ptr;

extern "C" {
    fn gort_start(config: *const c_void) -> c_int;
    fn gort_spawn(
        thread: *mut u64,
        function: unsafe extern "C-unwind" fn(*mut c_void) -> *mut c_void,
        argument: *mut c_void,
        name: *const c_char,
        stack_size: usize,
    ) -> c_int;
    fn gort_join(thread: u64, result: *mut *mut c_void) -> c_int;
    fn gort_last_panic(buffer: *mut c_char, size: usize, length: *mut usize) -> c_int;
    fn gort_blocking_begin() -> c_int;
}

const OK: c_int = 0;
const NO_HANDLE: c_int = 6;
const PANIC: c_int = 15;
const RANGE: c_int = 16;
const NONE: c_int = 17;

unsafe extern "C-unwind" fn panics(argument: *mut c_void) -> *mut c_void {
    // SAFETY: the runtime runs.
    unsafe { gort_blocking_begin() };
    panic!("argument {}", argument as usize);
}

#[test]
fn a_panic_in_a_goroutine_is_a_code_and_a_text_for_who_joins() {
    // SAFETY: the functions are declared as the header has them; all pointers are null or to locals.
    unsafe {
        assert_eq!(gort_start(ptr::null()), OK);
        for detached in [false, true, false] {
            let mut thread = 0;
            let out = if detached { ptr::null_mut() } else { &raw mut thread };
            assert_eq!(gort_spawn(out, panics, 7 as *mut c_void, c"panics".as_ptr(), 0), OK);
            if detached {
                continue;
            }
            let mut result = ptr::null_mut();
            assert_eq!(gort_join(thread, &mut result), PANIC);
            assert!(result.is_null());
            assert_eq!(gort_join(thread, &mut result), NO_HANDLE);
            let mut buffer = [1 as c_char; 40];
            let mut length = 0;
            assert_eq!(gort_last_panic(buffer.as_mut_ptr(), 4, &mut length), RANGE);
            assert_eq!((CStr::from_ptr(buffer.as_ptr()), length), (c"arg", 10));
            assert_eq!(gort_last_panic(buffer.as_mut_ptr(), buffer.len(), &mut length), OK);
            assert_eq!((CStr::from_ptr(buffer.as_ptr()), length), (c"argument 7", 10));
            assert_eq!(gort_last_panic(buffer.as_mut_ptr(), buffer.len(), &mut length), NONE);
        }
    }
}
