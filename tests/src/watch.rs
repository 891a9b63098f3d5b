//! Seeing which system calls a thread makes, and refusing some: a safe cover of `c/watch.h`.

use crate::cthreads::CThread;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering};
use std::sync::{mpsc, Arc};

extern "C" {
    fn watch_self() -> i32;
    fn watch_clones() -> i32;
    fn watch_next(fd: i32, decide: Option<extern "C" fn() -> i32>) -> i32;
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
    let calls =
        std::iter::repeat_with(|| unsafe { watch_next(fd, None) }).take_while(|&nr| nr >= 0).map(i64::from).collect();
    thread.join();
    // SAFETY: as above.
    unsafe { libc::close(fd) };
    calls
}

/// Whether threads may be made, and how often one was refused.
static REFUSE: AtomicBool = AtomicBool::new(false);
static REFUSED: AtomicUsize = AtomicUsize::new(0);

/// A shortage of kernel threads, for a process of the test's own.
pub struct Shortage(());

impl Shortage {
    /// From now on this object decides whether the calling thread, and all that come of it, can make threads. They can for now.
    ///
    /// # Panics
    /// As [`system_calls`].
    pub fn prepare() -> Shortage {
        extern "C" fn decide() -> i32 {
            if REFUSE.load(Ordering::SeqCst) {
                REFUSED.fetch_add(1, Ordering::SeqCst);
                libc::EAGAIN
            } else {
                0
            }
        }
        // The supervisor is not one of those that are watched.
        let (to, from) = mpsc::channel();
        std::thread::spawn(move || {
            let fd = from.recv().expect("the maker sends once");
            // SAFETY: `fd` is the supervisor's descriptor, closed with the process.
            while unsafe { watch_next(fd, Some(decide)) } >= 0 {}
        });
        // SAFETY: the supervisor answers as long as the process lives.
        let fd = unsafe { watch_clones() };
        assert!(fd >= 0, "seccomp: {}", std::io::Error::from_raw_os_error(-fd));
        to.send(fd).expect("the supervisor waits for it");
        Shortage(())
    }

    /// No thread can be made, until [`Shortage::end`].
    pub fn begin(&self) {
        REFUSE.store(true, Ordering::SeqCst);
    }

    /// Threads can be made again.
    pub fn end(&self) {
        REFUSE.store(false, Ordering::SeqCst);
    }

    /// How often a thread was refused so far.
    pub fn refused(&self) -> usize {
        REFUSED.load(Ordering::SeqCst)
    }
}
