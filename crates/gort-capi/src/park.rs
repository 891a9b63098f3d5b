//! Waiting: for time, for others' turn, for a wake-up.

use crate::code::{run, GORT_ENOHANDLE, GORT_OK};
use crate::fork;
use crate::spawn::{self, Thread};
use crate::start::duration;
use core::ffi::c_int;
use core::time::Duration;
use gort_rt::thread;

/// Waits for at least so long. A goroutine parks; another thread sleeps in the kernel. Needs no runtime.
///
/// @param nanoseconds  how long; GORT_FOREVER is 584 years.
/// @return GORT_OK; GORT_EFORKED.
#[no_mangle]
pub extern "C" fn gort_sleep(nanoseconds: u64) -> c_int {
    run(|| {
        fork::check()?;
        thread::sleep(Duration::from_nanos(nanoseconds));
        Ok(())
    })
}

/// Lets other goroutines run first; on a thread that is none, other threads. Needs no runtime.
///
/// @return GORT_OK; GORT_EFORKED.
#[no_mangle]
pub extern "C" fn gort_yield() -> c_int {
    run(|| {
        fork::check()?;
        thread::yield_now();
        Ok(())
    })
}

/// Waits until somebody calls gort_unpark() with the caller's handle; returns at once if somebody has since the last gort_park().
/// It may return for no reason, so look at what you wait for, and park again. On goroutines and on other threads; needs no
/// runtime.
///
/// @param timeout  nanoseconds to wait at most, or GORT_FOREVER.
/// @return GORT_OK, whatever has ended the wait; GORT_EFORKED.
#[no_mangle]
pub extern "C" fn gort_park(timeout: u64) -> c_int {
    run(|| {
        fork::check()?;
        match duration(timeout) {
            Some(timeout) => thread::park_timeout(timeout),
            None => thread::park(),
        }
        Ok(())
    })
}

/// Ends the gort_park() of a goroutine or thread: the one that waits now, or the next one. What was written before is seen after
/// that park.
///
/// From anywhere: any goroutine, any thread, with or without a runtime. Async-signal-safe: it neither waits nor allocates, takes no
/// lock, and leaves errno alone. (One condition, for a library that dlopen() has loaded: a thread's first access to its
/// thread-local storage may allocate. Call any function of gort's once on a thread before a signal handler does.)
///
/// @param thread  a handle.
/// @return GORT_OK; GORT_ENOHANDLE: it has been joined, or was detached or a thread, and has ended; GORT_EFORKED.
#[no_mangle]
pub extern "C" fn gort_unpark(thread: Thread) -> c_int {
    // Not by `run`, which may keep a text: here is nothing that panics, and nothing to say.
    let entry = match spawn::entry(thread) {
        Ok(entry) => entry,
        Err(e) => return e.code(),
    };
    let code = match entry.thread.get() {
        Some(thread) => {
            thread.unpark();
            GORT_OK
        }
        None => GORT_ENOHANDLE,
    };
    entry.give_back_quietly();
    code
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::code::GORT_FOREVER;
    use crate::spawn::{Entry, THREADS};

    #[test]
    fn an_unpark_leaves_nothing_behind() {
        let entry = || THREADS.insert(Entry::new(false)).unwrap();
        let handle = entry();
        assert_eq!(gort_unpark(handle), GORT_ENOHANDLE, "there is nobody yet");
        THREADS.get(handle).unwrap().thread.get_or_init(thread::current);
        assert_eq!(gort_unpark(handle), GORT_OK);
        assert_eq!(gort_park(GORT_FOREVER), GORT_OK);
        assert!(THREADS.remove(handle));
        assert_eq!(gort_unpark(handle), GORT_ENOHANDLE);
        let next = entry();
        assert_ne!(next, handle);
        assert_eq!(next as u32 & 0xff_ffff, handle as u32 & 0xff_ffff, "its slot is free again");
    }
}
