//! Making goroutines.

use super::current::Thread;
use super::join::{JoinHandle, Packet};
use super::scope::Data;
use crate::backend;
use crate::sync::event::Event;
use std::io;
use std::mem;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::Arc;

/// Closures above this size, in bytes, travel in a box. Each layer between here and the goroutine's first frame may copy
/// the closure, and without optimisation does: a few copies of a large one would overflow a usual stack.
const LARGEST_CLOSURE: usize = 4 << 10;

/// How to make a goroutine; the counterpart of [`std::thread::Builder`].
///
/// ```
/// let g = gort_rt::thread::Builder::new().name("reader".into()).stack_size(1 << 20).spawn(|| 42).unwrap();
/// assert_eq!(g.thread().name(), Some("reader"));
/// assert_eq!(g.join().unwrap(), 42);
/// ```
#[derive(Debug, Clone, Default)]
#[must_use = "a builder does nothing until it spawns"]
pub struct Builder {
    pub(super) name: Option<String>,
    pub(super) stack_size: Option<usize>,
}

impl Builder {
    /// A goroutine without a name, on a stack of the configured size.
    pub fn new() -> Builder {
        Builder::default()
    }

    /// Names the goroutine, for reports.
    pub fn name(mut self, name: String) -> Builder {
        self.name = Some(name);
        self
    }

    /// Bytes of stack that the goroutine has at least. Memory is taken up as the stack is touched.
    pub fn stack_size(mut self, bytes: usize) -> Builder {
        self.stack_size = Some(bytes);
        self
    }

    /// Starts a goroutine that runs `f`.
    ///
    /// # Errors
    /// The runtime cannot start, or there is no stack to be had; the text says why and what to do.
    ///
    /// # Panics
    /// The name contains a zero byte, as with std.
    pub fn spawn<F, T>(self, f: F) -> io::Result<JoinHandle<T>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        // SAFETY: `f` borrows nothing that could end.
        unsafe { self.spawn_unchecked(f, None) }
    }

    /// As [`Builder::spawn`], without the bounds on lifetimes. The goroutine leaves `scope` at its very end.
    ///
    /// # Safety
    /// What `f` and its result borrow outlives the goroutine.
    pub(super) unsafe fn spawn_unchecked<F, T>(self, f: F, scope: Option<Arc<Data>>) -> io::Result<JoinHandle<T>>
    where
        F: FnOnce() -> T + Send,
        T: Send,
    {
        if mem::size_of::<F>() > LARGEST_CLOSURE {
            let f = Box::new(f);
            // SAFETY: the same contract.
            return unsafe { self.spawn_small::<F, _, _>(f, scope) };
        }
        // SAFETY: the same contract.
        unsafe { self.spawn_small::<F, _, _>(f, scope) }
    }

    unsafe fn spawn_small<O, F, T>(self, f: F, scope: Option<Arc<Data>>) -> io::Result<JoinHandle<T>>
    where
        F: FnOnce() -> T + Send,
        T: Send,
    {
        if let Some(name) = &self.name {
            assert!(!name.as_bytes().contains(&0), "a goroutine's name may not contain a zero byte");
        }
        let thread = Thread::new(self.name);
        let packet = Arc::new(Packet::new(thread.clone(), scope.clone()));
        let theirs = packet.clone();
        let main = move || {
            let result = catch_unwind(AssertUnwindSafe(f));
            // SAFETY: nobody reads it before `ended` is set.
            unsafe { *theirs.result.get() = Some(result) };
            // A result that nobody can ask for is dropped here, where thread-locals still work, as std does.
            let theirs = match Arc::try_unwrap(theirs) {
                Ok(packet) => {
                    drop(packet);
                    None
                }
                Err(shared) => Some(shared),
            };
            move || {
                // The packet must outlive the event's `set`, and be dropped before the scope may end.
                if let Some(theirs) = theirs {
                    // SAFETY: we hold a reference.
                    unsafe { Event::set(&theirs.ended) };
                }
                if let Some(scope) = scope {
                    scope.leave();
                }
            }
        };
        // SAFETY: the caller's promise; `main` does not unwind, because the only user code in it is caught.
        unsafe { backend::spawn::<O, _, _>(thread.inner, self.stack_size, main)? };
        Ok(JoinHandle { packet })
    }
}

/// Starts a goroutine that runs `f`; the counterpart of [`std::thread::spawn`], and as safe.
///
/// # Panics
/// Where [`Builder::spawn`] fails.
pub fn spawn<F, T>(f: F) -> JoinHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    Builder::new().spawn(f).unwrap_or_else(|e| panic!("cannot spawn a goroutine: {e}"))
}
