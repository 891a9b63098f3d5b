//! `#[callback]` on real functions, with a stand-in for the runtime so that only the expansion is tested.

use gort_macros::callback;
use std::cell::Cell;
use std::panic::resume_unwind;

/// The part of the runtime's `ffi` module that expansions call.
mod runtime {
    pub mod ffi {
        use std::panic::{catch_unwind, AssertUnwindSafe};

        pub fn callback_or<T>(f: impl FnOnce() -> T, on_panic: impl FnOnce() -> T) -> T {
            catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|_| on_panic())
        }

        pub fn callback_or_abort<T>(name: &'static str, f: impl FnOnce() -> T) -> T {
            super::super::ABORT_NAME.set(Some(name));
            f()
        }
    }
}

thread_local! {
    static ABORT_NAME: Cell<Option<&'static str>> = const { Cell::new(None) };
    static VALUES: Cell<u32> = const { Cell::new(0) };
}

/// Ends the body as a panic does, without the message.
fn panic_quietly() -> ! {
    resume_unwind(Box::new("on purpose"))
}

/// Returns early, changes an argument and panics on request.
#[callback(on_panic = count(-1), crate = crate::runtime)]
extern "C" fn steps(mut n: i32) -> i32 {
    if n == 0 {
        return 100;
    }
    for _ in 0..3 {
        n += 1;
        if n == 13 {
            panic_quietly();
        }
    }
    n
}

fn count(value: i32) -> i32 {
    VALUES.set(VALUES.get() + 1);
    value
}

#[test]
fn control_flow_and_a_lazy_value() {
    let f: extern "C" fn(i32) -> i32 = steps;
    assert_eq!(f(0), 100);
    assert_eq!(f(1), 4);
    assert_eq!(VALUES.get(), 0);
    assert_eq!(f(11), -1);
    assert_eq!(VALUES.get(), 1);
}

#[callback(crate = crate::runtime, on_panic = ())]
extern "system" fn nothing(out: &mut u32, fail: bool) {
    *out += 1;
    if fail {
        panic_quietly();
    }
    *out += 1;
}

#[test]
fn unit() {
    let mut out = 0;
    nothing(&mut out, false);
    assert_eq!(out, 2);
    nothing(&mut out, true);
    assert_eq!(out, 3);
}

#[repr(C)]
struct Index {
    at: usize,
}

/// The value may name an argument; patterns and references work.
#[callback(on_panic = fallback, crate = crate::runtime)]
extern "C" fn first<'a>(items: &'a [u8; 3], Index { at }: Index, fallback: &'a u8) -> &'a u8 {
    if at > 2 {
        panic_quietly();
    }
    &items[at]
}

#[test]
fn arguments_in_the_value() {
    assert_eq!(*first(&[1, 2, 3], Index { at: 2 }, &9), 3);
    assert_eq!(*first(&[1, 2, 3], Index { at: 7 }, &9), 9);
}

mod inner {
    /// An exported symbol with an unsafe body.
    ///
    /// # Safety
    ///
    /// `pointer` is null or points at a number.
    #[super::callback(on_panic = abort, crate = crate::runtime)]
    #[no_mangle]
    pub unsafe extern "C" fn gort_macros_test_read(pointer: *const u32) -> u32 {
        if pointer.is_null() {
            return 0;
        }
        // SAFETY: not null, so the caller's promise makes it readable.
        unsafe { *pointer }
    }
}

extern "C" {
    #[link_name = "gort_macros_test_read"]
    fn read_by_symbol(pointer: *const u32) -> u32;
}

#[test]
fn symbol_and_abort_name() {
    let number = 7;
    // SAFETY: the declaration matches the definition above, and the pointers are valid or null.
    unsafe {
        assert_eq!(read_by_symbol(&number), 7);
        assert_eq!(inner::gort_macros_test_read(std::ptr::null()), 0);
    }
    assert_eq!(ABORT_NAME.get(), Some("callback::inner::gort_macros_test_read"));
}
