//! The two kinds of threads that the tour compares, behind one trait, so that each act is written once.
//!
//! In a program of your own there is no trait: write `gort::thread` where `std::thread` stood.

use std::io;
use std::thread::Result;

/// What both kinds can do.
pub trait Threads {
    /// A running thread.
    type Handle;

    /// Starts a thread, or says why there cannot be one more.
    fn spawn<F: FnOnce() + Send + 'static>(f: F) -> io::Result<Self::Handle>;

    /// Waits for its end. An error is the thread's panic.
    fn join(handle: Self::Handle) -> Result<()>;

    /// Whether it has ended.
    fn is_finished(handle: &Self::Handle) -> bool;

    /// Waits for the end of all, and counts those that ended without a panic.
    fn join_all(handles: Vec<Self::Handle>) -> usize {
        handles.into_iter().map(Self::join).filter(Result::is_ok).count()
    }
}

/// Goroutines: `gort::thread`.
pub struct Goroutines;

/// Kernel threads: `std::thread`.
pub struct StdThreads;

impl Threads for Goroutines {
    type Handle = gort::thread::JoinHandle<()>;

    fn spawn<F: FnOnce() + Send + 'static>(f: F) -> io::Result<Self::Handle> {
        gort::thread::Builder::new().spawn(f)
    }

    fn join(handle: Self::Handle) -> Result<()> {
        handle.join()
    }

    fn is_finished(handle: &Self::Handle) -> bool {
        handle.is_finished()
    }
}

impl Threads for StdThreads {
    type Handle = std::thread::JoinHandle<()>;

    fn spawn<F: FnOnce() + Send + 'static>(f: F) -> io::Result<Self::Handle> {
        std::thread::Builder::new().spawn(f)
    }

    fn join(handle: Self::Handle) -> Result<()> {
        handle.join()
    }

    fn is_finished(handle: &Self::Handle) -> bool {
        handle.is_finished()
    }
}
