//! Start, end, and what there is in between.

use crate::{callback, BUSY, FAILED, INVALID, OK};
use std::ffi::{c_char, c_int, c_uint};
use std::time::Duration;

/// Starts the runtime. Zeroes leave settings to the environment.
///
/// No callback: it is what comes before the first one.
#[no_mangle]
pub extern "C" fn hosts_start(procs: c_uint, stack: usize) -> c_int {
    // A library leaves its host's signals alone: no handler for the report of an overflow.
    let mut config = gort::Config::new().overflow_report(false);
    if procs > 0 {
        config = config.procs(procs as usize);
    }
    if stack > 0 {
        config = config.stack_size(stack);
    }
    match config.start() {
        Ok(()) => OK,
        Err(error) => {
            eprintln!("hosts_start: {error}");
            INVALID
        }
    }
}

/// Ends the runtime, unless somebody is inside after this time.
///
/// No callback: it would wait for itself.
#[no_mangle]
pub extern "C" fn hosts_shutdown(milliseconds: c_uint) -> c_int {
    match gort::shutdown(Duration::from_millis(milliseconds.into())) {
        Ok(()) => OK,
        Err(error) => {
            eprintln!("hosts_shutdown: {error}");
            BUSY
        }
    }
}

/// `struct hosts_counts`.
#[repr(C)]
pub struct Counts {
    goroutines: usize,
    kernel_threads: usize,
    callbacks: usize,
    bound_threads: usize,
    dead_hooks: usize,
    backend: usize,
}

/// Fills the counts in. No callback, so that it works after the end too, and does not count itself.
///
/// # Safety
/// The pointer is null or may be written through.
#[no_mangle]
pub unsafe extern "C" fn hosts_count(counts: *mut Counts) -> c_int {
    if counts.is_null() {
        return INVALID;
    }
    let stats = gort::stats();
    let now = Counts {
        goroutines: stats.goroutines,
        kernel_threads: stats.kernel_threads,
        callbacks: stats.callbacks,
        bound_threads: stats.extra_ms_in_use,
        dead_hooks: dead_hooks(),
        backend: usize::from(gort::backend().is_ok_and(|backend| backend == gort::Backend::Threads)),
    };
    // SAFETY: not null, and writable by the contract.
    unsafe { counts.write(now) };
    OK
}

/// How many of gort's hooks are not what this process's calls come to.
#[cfg(feature = "hooks")]
fn dead_hooks() -> usize {
    let report = gort::interpose::report();
    report.hooks.iter().filter(|hook| !(report.enabled && hook.live)).count()
}

/// There are none, so that all names are libc's own.
#[cfg(not(feature = "hooks"))]
fn dead_hooks() -> usize {
    usize::MAX
}

/// Copies the last panic's text.
///
/// # Safety
/// `text` is null or has room for `size` bytes.
#[no_mangle]
pub unsafe extern "C" fn hosts_last_panic(text: *mut c_char, size: usize) -> usize {
    let Some(last) = gort::ffi::take_last_panic() else { return 0 };
    if let (false, Some(most)) = (text.is_null(), size.checked_sub(1)) {
        let length = last.len().min(most);
        // SAFETY: the room is there by the contract: `length` bytes and one more. Our text lies elsewhere.
        unsafe {
            text.copy_from_nonoverlapping(last.as_ptr().cast(), length);
            text.add(length).write(0);
        }
    }
    last.len()
}

/// Ties the calling goroutine to its kernel thread.
#[callback(on_panic = FAILED)]
#[no_mangle]
pub extern "C" fn hosts_lock_thread() -> c_int {
    gort::ffi::lock_os_thread();
    OK
}

/// Undoes that.
#[callback(on_panic = FAILED)]
#[no_mangle]
pub extern "C" fn hosts_unlock_thread() -> c_int {
    gort::ffi::unlock_os_thread();
    OK
}
