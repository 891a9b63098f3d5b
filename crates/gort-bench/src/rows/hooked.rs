//! What hooks cost threads that are no goroutines: libc's functions as everybody calls them, through the hook, beside libc's own.

use super::Measured;
use crate::measure::{best, per_op};
use libc::{c_int, c_void, pthread_mutex_t};
use std::ffi::CStr;
use std::hint::black_box;
use std::mem::transmute;
use std::time::Instant;

type OnMutex = unsafe extern "C" fn(*mut pthread_mutex_t) -> c_int;
type Read = unsafe extern "C" fn(c_int, *mut c_void, usize) -> isize;

/// The definition behind the hook.
///
/// # Panics
/// If there is none.
fn behind(name: &CStr) -> *mut c_void {
    // SAFETY: looking a name up has no preconditions. The hooks are linked into this program, so "next" is libc's.
    let at = unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr()) };
    assert!(!at.is_null(), "libc has {name:?}");
    at
}

/// Nanoseconds for a lock and an unlock of a free mutex.
fn lock_and_unlock(lock: OnMutex, unlock: OnMutex) -> f64 {
    let mut mutex = libc::PTHREAD_MUTEX_INITIALIZER;
    per_op(|n| {
        let (lock, unlock) = black_box((lock, unlock));
        let start = Instant::now();
        for _ in 0..n {
            // SAFETY: the mutex is initialised, stays where it is, and is unlocked by the thread that has locked it.
            let results = unsafe { (lock(&raw mut mutex), unlock(&raw mut mutex)) };
            assert_eq!(results, (0, 0), "a free mutex can be locked and unlocked");
        }
        start.elapsed()
    })
}

/// Nanoseconds for a `read` that the kernel refuses at once.
fn refused_read(read: Read) -> f64 {
    per_op(|n| {
        let read = black_box(read);
        let start = Instant::now();
        for _ in 0..n {
            // SAFETY: no descriptor has this number, so nothing is written.
            assert_eq!(unsafe { read(-1, std::ptr::null_mut(), 1) }, -1, "read from nowhere");
        }
        start.elapsed()
    })
}

/// Runs the row, on the calling thread, which must be no goroutine.
pub fn run() -> Measured {
    // SAFETY: symbols of these names have these types.
    let (lock, unlock, read) = unsafe {
        (
            transmute::<*mut c_void, OnMutex>(behind(c"pthread_mutex_lock")),
            transmute::<*mut c_void, OnMutex>(behind(c"pthread_mutex_unlock")),
            transmute::<*mut c_void, Read>(behind(c"read")),
        )
    };
    assert!(lock as usize != libc::pthread_mutex_lock as *const () as usize, "the hooks are in place");
    let figures = best([
        &|| lock_and_unlock(libc::pthread_mutex_lock, libc::pthread_mutex_unlock),
        &|| lock_and_unlock(lock, unlock),
        &|| refused_read(libc::read),
        &|| refused_read(read),
    ]);
    Ok(figures.to_vec())
}
