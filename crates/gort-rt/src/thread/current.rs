//! Handles: who runs.

use crate::sched;
use crate::sched::g::Ticket;
use crate::tls;
use core::cell::{Cell, OnceCell};
use core::fmt;
use core::mem::ManuallyDrop;
use core::num::NonZeroU64;
use core::ptr;
use core::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

/// The number of a goroutine, or of a thread that asked for [`current`]. Never used twice in a process.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ThreadId(NonZeroU64);

impl fmt::Debug for ThreadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ThreadId({})", self.0)
    }
}

/// Numbers are given out in blocks, so that spawning on many Ps does not share a counter.
const ID_BLOCK: u64 = 256;
static NEXT_BLOCK: AtomicU64 = AtomicU64::new(0);

impl ThreadId {
    fn new() -> ThreadId {
        thread_local! {
            /// The next number of this thread's block, and the numbers left in it.
            static BLOCK: Cell<(u64, u64)> = const { Cell::new((0, 0)) };
        }
        BLOCK.with(|block| {
            let (next, left) = match block.get() {
                (_, 0) => (NEXT_BLOCK.fetch_add(1, Ordering::Relaxed) * ID_BLOCK + 1, ID_BLOCK),
                some => some,
            };
            block.set((next + 1, left - 1));
            ThreadId(NonZeroU64::new(next).expect("counts from 1"))
        })
    }
}

/// A number for a goroutine that has no handle so far.
pub(crate) fn new_id() -> u64 {
    ThreadId::new().0.get()
}

/// What a [`Thread`] points at.
pub(crate) struct Inner {
    id: ThreadId,
    name: Option<Box<str>>,
    /// The park token; see `thread::park`.
    pub(super) token: AtomicU64,
    /// The wait word of the goroutine; none for other threads. Written before the goroutine first waits.
    wait: Cell<Option<&'static AtomicU64>>,
}

// SAFETY: `wait` is written once, before the goroutine first waits, and read only by somebody who has swapped the number of
// one of its waits out of `token`, which the goroutine released later than that.
unsafe impl Sync for Inner {}
// SAFETY: nothing in it belongs to a thread.
unsafe impl Send for Inner {}

impl Inner {
    fn new(id: ThreadId, name: Option<String>) -> Inner {
        Inner { id, name: name.map(String::into_boxed_str), token: AtomicU64::new(0), wait: Cell::new(None) }
    }

    /// Says whose handle this is, by the wait word.
    ///
    /// # Safety
    /// Once, before the goroutine first runs or before anybody else knows the handle.
    pub(crate) unsafe fn bind(&self, wait: &'static AtomicU64) {
        self.wait.set(Some(wait));
    }

    /// The ticket of the wait numbered `seq` of this handle's goroutine.
    pub(super) fn ticket(&self, seq: u64) -> Option<Ticket> {
        self.wait.get().map(|wait| Ticket::of(wait, seq))
    }

    pub(crate) fn id(&self) -> u64 {
        self.id.0.get()
    }

    pub(crate) fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The name as bytes; empty if there is none.
    pub(crate) fn name_bytes(&self) -> &[u8] {
        self.name().unwrap_or("").as_bytes()
    }
}

/// A handle to a goroutine, or to a thread that asked for [`current`]; the counterpart of [`std::thread::Thread`].
#[derive(Clone)]
pub struct Thread {
    pub(super) inner: Arc<Inner>,
}

impl Thread {
    pub(super) fn new(name: Option<String>) -> Thread {
        Thread { inner: Arc::new(Inner::new(ThreadId::new(), name)) }
    }

    /// The number of this goroutine or thread.
    pub fn id(&self) -> ThreadId {
        self.inner.id
    }

    /// The same as a number.
    pub(crate) fn number(&self) -> u64 {
        self.inner.id()
    }

    /// The name that [`super::Builder::name`] gave, or, for a thread that is no goroutine, the one std knows.
    pub fn name(&self) -> Option<&str> {
        self.inner.name()
    }

    /// Whether the caller is the goroutine of this handle, which [`super::Builder`] made.
    pub(super) fn is_current(&self) -> bool {
        sched::goroutine().is_some_and(|g| ptr::eq(g.thread.get(), Arc::as_ptr(&self.inner)))
    }

    /// Gives the token: a [`super::park`] that waits, or the next one, returns.
    ///
    /// From anywhere, signal handlers included: it neither waits nor allocates. (Go's counterpart is `ready`; Haskell's
    /// `hs_try_putmvar` is the model for a wake that needs no processor.)
    pub fn unpark(&self) {
        super::park::unpark(&self.inner);
    }
}

impl fmt::Debug for Thread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Thread").field("id", &self.id()).field("name", &self.name()).finish_non_exhaustive()
    }
}

/// Runs `f` with the handle of the caller, without counting a reference where it can. Threads, and goroutines that
/// `pthread_create` made, get one when they first ask, with the name that std knows.
pub(super) fn with_current<T>(f: impl FnOnce(&Thread) -> T) -> T {
    if let Some(g) = sched::goroutine() {
        let inner = g.thread.get();
        if !inner.is_null() {
            // SAFETY: the goroutine holds a reference by `Arc::into_raw` until its end; this borrows it.
            let thread = ManuallyDrop::new(Thread { inner: unsafe { Arc::from_raw(inner) } });
            return f(&thread);
        }
    }
    thread_local! {
        static CURRENT: OnceCell<Thread> = const { OnceCell::new() };
    }
    let make = || {
        // SAFETY: the current goroutine lives.
        let g = unsafe { tls::current_goroutine().as_ref() };
        let id = g.and_then(|g| NonZeroU64::new(g.record.id())).map_or_else(ThreadId::new, ThreadId);
        let inner = Inner::new(id, std::thread::current().name().map(str::to_owned));
        if let Some(g) = g {
            // SAFETY: nobody else knows the handle yet.
            unsafe { inner.bind(g.wait) };
        }
        Thread { inner: Arc::new(inner) }
    };
    let mut f = Some(f);
    CURRENT
        .try_with(|current| (f.take().expect("runs once"))(current.get_or_init(make)))
        .unwrap_or_else(|_| (f.take().expect("not run"))(&make())) // the thread is ending
}

/// The handle of the caller: a goroutine, or any other thread.
pub fn current() -> Thread {
    with_current(Thread::clone)
}
