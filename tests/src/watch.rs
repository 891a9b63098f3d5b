//! Seeing which system calls a thread makes: a safe cover of `c/watch.h`.

use crate::cthreads::CThread;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::Arc;

extern "C" {
    fn watch_self() -> i32;
    fn watch_next(fd: i32) -> i32;
}

/// Runs `before`, then `watched`, on a new C thread. Returns the numbers of the system calls that the thread made from
/// the start of `watched` to its very end, in order.
///
/// # Panics
/// The kernel has no user notification for seccomp filters, or does not let us.
pub fn system_calls(before: impl FnOnce() + Send + 'static, watched: impl FnOnce() + Send + 'static) -> Vec<i64> {
    const NOT_YET: i32 = i32::MIN;
    let descriptor = Arc::new(AtomicI32::new(NOT_YET));
    let theirs = descriptor.clone();
    let thread = CThread::spawn(move || {
        before();
        // SAFETY: the supervisor below answers until this thread ends.
        theirs.store(unsafe { watch_self() }, Ordering::Release);
        drop(theirs);
        watched();
    });
    // The thread may not make a system call to tell us, since nobody would answer it.
    let fd = loop {
        match descriptor.load(Ordering::Acquire) {
            NOT_YET => std::thread::yield_now(),
            fd => break fd,
        }
    };
    assert!(fd >= 0, "seccomp: {}", std::io::Error::from_raw_os_error(-fd));
    // SAFETY: `fd` is the supervisor's descriptor, closed once.
    let calls = std::iter::repeat_with(|| unsafe { watch_next(fd) }).take_while(|&nr| nr >= 0).map(i64::from).collect();
    thread.join();
    // SAFETY: as above.
    unsafe { libc::close(fd) };
    calls
}
