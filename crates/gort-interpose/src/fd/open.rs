//! Opening files: of a FIFO it waits for the other side, of a terminal for the line, on a slow disk for the disk.

use super::made;
use crate::hand_off::{hand_off, hooks};
use crate::next::Next;
use crate::Ours;
use core::mem;
use libc::{c_char, c_int, c_void, mode_t};

hooks! { HOOKS, opened:
    c"creat" creat(path: *const c_char, mode: mode_t) -> c_int;
    c"creat64" creat64(path: *const c_char, mode: mode_t) -> c_int;
    c"__open_2" __open_2(path: *const c_char, flags: c_int) -> c_int;
    c"__open64_2" __open64_2(path: *const c_char, flags: c_int) -> c_int;
    c"__openat_2" __openat_2(directory: c_int, path: *const c_char, flags: c_int) -> c_int;
    c"__openat64_2" __openat64_2(directory: c_int, path: *const c_char, flags: c_int) -> c_int;
}

/// What this file defines beside [`HOOKS`].
pub(crate) static VARIADIC: &[Ours] = &[
    Ours::new(c"open", open as *const ()),
    Ours::new(c"open64", open64 as *const ()),
    Ours::new(c"openat", openat as *const ()),
    Ours::new(c"openat64", openat64 as *const ()),
];

/// Opens a file by `open`, and hands off meanwhile.
fn opened(open: impl FnOnce() -> c_int) -> c_int {
    made(|| hand_off(open))
}

/// Calls libc's variadic `open` or `open64`.
///
/// # Safety
/// As for `open`; `next` is the one or the other.
unsafe fn open_by(next: &Next, path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    type Open = unsafe extern "C" fn(*const c_char, c_int, ...) -> c_int;
    // SAFETY: the caller's promise, passed on; the type is that of both.
    opened(|| unsafe { mem::transmute::<*mut c_void, Open>(next.need())(path, flags, mode) })
}

/// Calls libc's variadic `openat` or `openat64`.
///
/// # Safety
/// As for `openat`; `next` is the one or the other.
unsafe fn openat_by(next: &Next, directory: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    type OpenAt = unsafe extern "C" fn(c_int, *const c_char, c_int, ...) -> c_int;
    // SAFETY: the caller's promise, passed on; the type is that of both.
    opened(|| unsafe { mem::transmute::<*mut c_void, OpenAt>(next.need())(directory, path, flags, mode) })
}

// C declares the following variadic: the mode is there only if a file may be made. It travels as the argument of a
// fixed signature does. Where a caller left it out, whatever is in the register is passed on, and nobody looks at it.

/// libc's `open`.
///
/// # Safety
/// As for that function.
#[no_mangle]
pub unsafe extern "C" fn open(path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    static NEXT: Next = Next::new(c"open");
    // SAFETY: the caller's promise, passed on.
    unsafe { open_by(&NEXT, path, flags, mode) }
}

/// libc's `open64`.
///
/// # Safety
/// As for that function.
#[no_mangle]
pub unsafe extern "C" fn open64(path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    static NEXT: Next = Next::new(c"open64");
    // SAFETY: the caller's promise, passed on.
    unsafe { open_by(&NEXT, path, flags, mode) }
}

/// libc's `openat`.
///
/// # Safety
/// As for that function.
#[no_mangle]
pub unsafe extern "C" fn openat(directory: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    static NEXT: Next = Next::new(c"openat");
    // SAFETY: the caller's promise, passed on.
    unsafe { openat_by(&NEXT, directory, path, flags, mode) }
}

/// libc's `openat64`.
///
/// # Safety
/// As for that function.
#[no_mangle]
pub unsafe extern "C" fn openat64(directory: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    static NEXT: Next = Next::new(c"openat64");
    // SAFETY: the caller's promise, passed on.
    unsafe { openat_by(&NEXT, directory, path, flags, mode) }
}
