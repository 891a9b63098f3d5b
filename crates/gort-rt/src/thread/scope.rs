//! Goroutines that borrow from their spawner; the counterpart of [`std::thread::scope`].

use super::builder::Builder;
use super::current::Thread;
use super::join::JoinHandle;
use super::Result;
use crate::debug::why::Why;
use crate::sync::event::Event;
use core::fmt;
use core::marker::PhantomData;
use core::mem;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::io;
use std::panic::{catch_unwind, resume_unwind, AssertUnwindSafe};
use std::sync::Arc;

/// Goroutines of a scope that are alive, plus one for the scope's own body.
pub(super) struct Data {
    running: AtomicUsize,
    panicked: AtomicBool,
    all_ended: Event,
}

impl Data {
    /// A goroutine's panic was not looked at by anybody.
    pub(super) fn note_panic(&self) {
        self.panicked.store(true, Ordering::Relaxed);
    }

    /// One less is running. The last one lets the scope end.
    pub(super) fn leave(self: &Arc<Data>) {
        // AcqRel: what the leavers did comes before the scope's end.
        if self.running.fetch_sub(1, Ordering::AcqRel) == 1 {
            // SAFETY: we hold a reference.
            unsafe { Event::set(&self.all_ended) };
        }
    }
}

/// One more that is running; leaves when it is dropped, so that a spawn that fails or panics does not keep the scope.
struct Member<'a>(&'a Arc<Data>);

impl Member<'_> {
    fn join(data: &Arc<Data>) -> Member<'_> {
        data.running.fetch_add(1, Ordering::Relaxed);
        Member(data)
    }
}

impl Drop for Member<'_> {
    fn drop(&mut self) {
        self.0.leave();
    }
}

/// Where goroutines that borrow are spawned; see [`scope`].
pub struct Scope<'scope, 'env: 'scope> {
    data: Arc<Data>,
    /// Invariance in both lifetimes, as in std: else a scope could be passed off as a longer one.
    scope: PhantomData<&'scope mut &'scope ()>,
    env: PhantomData<&'env mut &'env ()>,
}

/// The right to join a goroutine of a scope.
pub struct ScopedJoinHandle<'scope, T> {
    handle: JoinHandle<T>,
    scope: PhantomData<&'scope ()>,
}

/// Runs `f`, which may spawn goroutines that borrow what outlives the call, and waits for all of them.
///
/// ```
/// let mut words = vec!["a", "bb", "ccc"];
/// let lengths: usize = gort_rt::thread::scope(|s| {
///     let handles: Vec<_> = words.iter().map(|w| s.spawn(|| w.len())).collect();
///     handles.into_iter().map(|h| h.join().unwrap()).sum()
/// });
/// words.clear();
/// assert_eq!(lengths, 6);
/// ```
///
/// # Panics
/// A goroutine that was not joined by hand panicked.
pub fn scope<'env, F, T>(f: F) -> T
where
    F: for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> T,
{
    let scope = Scope {
        data: Arc::new(Data {
            running: AtomicUsize::new(1),
            panicked: AtomicBool::new(false),
            all_ended: Event::new(),
        }),
        scope: PhantomData,
        env: PhantomData,
    };
    let result = catch_unwind(AssertUnwindSafe(|| f(&scope)));
    scope.data.leave();
    scope.data.all_ended.wait(Why::SCOPE);
    match result {
        Err(payload) => resume_unwind(payload),
        Ok(_) if scope.data.panicked.load(Ordering::Relaxed) => panic!("a scoped goroutine panicked"),
        Ok(value) => value,
    }
}

impl<'scope, 'env> Scope<'scope, 'env> {
    /// Starts a goroutine that may borrow what outlives the scope.
    ///
    /// # Panics
    /// Where [`Builder::spawn`] fails.
    pub fn spawn<F, T>(&'scope self, f: F) -> ScopedJoinHandle<'scope, T>
    where
        F: FnOnce() -> T + Send + 'scope,
        T: Send + 'scope,
    {
        Builder::new().spawn_scoped(self, f).unwrap_or_else(|e| panic!("cannot spawn a goroutine: {e}"))
    }
}

impl Builder {
    /// Starts a goroutine in `scope`.
    ///
    /// # Errors
    /// As [`Builder::spawn`].
    pub fn spawn_scoped<'scope, 'env, F, T>(
        self,
        scope: &'scope Scope<'scope, 'env>,
        f: F,
    ) -> io::Result<ScopedJoinHandle<'scope, T>>
    where
        F: FnOnce() -> T + Send + 'scope,
        T: Send + 'scope,
    {
        let member = Member::join(&scope.data);
        // SAFETY: the scope does not end before every goroutine in it has left, and a goroutine leaves at its very end:
        // after its thread-local destructors and after it dropped its share of the packet. An unread result is dropped with
        // the handle, whose lifetime is the scope's, or by the goroutine before it leaves.
        let handle = unsafe { self.spawn_unchecked(f, Some(scope.data.clone())) }?;
        mem::forget(member); // the goroutine leaves
        Ok(ScopedJoinHandle { handle, scope: PhantomData })
    }
}

impl<'scope, T> ScopedJoinHandle<'scope, T> {
    /// The handle of the goroutine.
    pub fn thread(&self) -> &Thread {
        self.handle.thread()
    }

    /// Waits for the goroutine to end.
    ///
    /// # Errors
    /// The goroutine panicked: the panic's payload.
    pub fn join(self) -> Result<T> {
        self.handle.join()
    }

    /// Whether the goroutine has ended. Does not wait.
    pub fn is_finished(&self) -> bool {
        self.handle.is_finished()
    }
}

impl fmt::Debug for Scope<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope").field("running", &self.data.running).finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for ScopedJoinHandle<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScopedJoinHandle").field("thread", self.thread()).finish_non_exhaustive()
    }
}
