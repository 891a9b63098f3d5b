//! The 1:1 backend: a goroutine is a kernel thread, made by `std::thread`.
//!
//! std brings what a thread needs on every target: name, stack and guard, the report of an overflow. What is left to do here
//! is that a goroutine knows itself as one, and that its end is where the other backend has it: after the destructors of
//! thread-local variables and of pthread keys; see [`body`]. And that the end of the runtime leaves no thread behind; see
//! [`ended`]. What dumps show of it is in [`seat`].

mod body;
mod ended;
pub(crate) mod seat;

use crate::debug::record::Origin;
use crate::error::Error;
use crate::gate;
use crate::os::{self, code, ExitKey};
use crate::sched::run::THREAD_STACK;
use crate::stats::Stats;
use crate::thread::Inner;
use body::Body;
use core::sync::atomic::{AtomicUsize, Ordering};
use ended::Ended;
use std::sync::{Arc, OnceLock};
use std::thread::Builder;

/// Bytes that a C library takes off a thread's stack, for its own block and the program's thread-local variables.
const HEADROOM: usize = 64 << 10;

/// The backend.
pub(crate) struct Threads {
    /// What is said to be the number of Ps.
    procs: AtomicUsize,
    /// Usable bytes of a goroutine's stack where nothing else is said.
    stack_size: AtomicUsize,
    /// Goroutines that have been spawned and have not ended.
    alive: AtomicUsize,
    /// The same, and those that are about to leave: nothing of the user's runs on them any more.
    present: AtomicUsize,
    /// Whose destructor ends goroutines.
    key: ExitKey,
    unjoined: Ended,
}

static THREADS: OnceLock<Threads> = OnceLock::new();

/// Prepares the backend; at each start of the runtime.
pub(crate) fn install(procs: usize, stack_size: usize) -> Result<&'static Threads, Error> {
    if THREADS.get().is_none() {
        let key = body::key()
            .ok_or_else(|| Error::invalid("no pthread key is left to learn of the end of threads by".into()))?;
        let [procs, stack_size, alive, present] = Default::default();
        let _ = THREADS.set(Threads { procs, stack_size, alive, present, key, unjoined: Ended::none() });
    }
    let threads = Threads::installed();
    threads.procs.store(procs, Ordering::Relaxed);
    threads.stack_size.store(stack_size, Ordering::Relaxed);
    Ok(threads)
}

impl Threads {
    /// The backend, which has been installed.
    pub(crate) fn installed() -> &'static Threads {
        THREADS.get().expect("the runtime has been started with it")
    }

    pub(crate) fn procs(&self) -> usize {
        self.procs.load(Ordering::Relaxed)
    }

    pub(crate) fn set_procs(&self, n: usize) -> usize {
        self.procs.swap(n, Ordering::Relaxed)
    }

    /// Goroutines that have not ended.
    pub(crate) fn alive(&self) -> usize {
        self.alive.load(Ordering::Relaxed)
    }

    pub(crate) fn count(&self, stats: &mut Stats) {
        let alive = self.alive();
        stats.procs = self.procs();
        stats.goroutines = alive;
        stats.kernel_threads = alive;
    }

    /// Goroutines that have been spawned and have not left.
    pub(crate) fn present(&self) -> u64 {
        // SeqCst: for the gate.
        self.present.load(Ordering::SeqCst) as u64
    }

    /// Joins the kernel threads of all goroutines that have left. When nobody is there.
    pub(crate) fn join_all(&self) {
        self.unjoined.join();
    }

    fn came(&self) {
        self.alive.fetch_add(1, Ordering::Relaxed);
        self.present.fetch_add(1, Ordering::SeqCst);
    }

    fn ended(&self) {
        self.alive.fetch_sub(1, Ordering::Relaxed);
    }

    fn left(&self) {
        self.present.fetch_sub(1, Ordering::SeqCst);
        gate::left();
    }

    /// See [`crate::backend::spawn`].
    ///
    /// # Safety
    /// What `f` borrows outlives the goroutine.
    pub(crate) unsafe fn spawn<O, F, D>(
        &'static self,
        thread: Arc<Inner>,
        stack: Option<usize>,
        f: F,
    ) -> Result<(), Error>
    where
        F: FnOnce() -> D + Send,
        D: FnOnce(),
    {
        let mut builder = Builder::new().stack_size(bytes(stack.unwrap_or(self.stack_size.load(Ordering::Relaxed)))?);
        if let Some(name) = thread.name() {
            builder = builder.name(name.to_owned());
        }
        self.came();
        let main = move || {
            let body = Body::begin(self, thread, Origin::of::<O>());
            let done = f();
            // SAFETY: the caller vouches for what it borrows, until the goroutine's end.
            unsafe { body.at_end(done) };
        };
        // SAFETY: the caller's promise.
        let made = unsafe { builder.spawn_unchecked(main) }.map_err(|e| {
            self.ended();
            self.left();
            Error::no_thread("cannot start a goroutine's kernel thread", e.raw_os_error().unwrap_or(code::AGAIN))
        })?;
        os::leave_to_itself(made);
        Ok(())
    }
}

/// The size to ask for, for a stack of `usable` bytes. The system stack, which calls may ask for, is the same, so it has the
/// same room at least.
fn bytes(usable: usize) -> Result<usize, Error> {
    let bytes = usable.max(THREAD_STACK).saturating_add(HEADROOM);
    if isize::try_from(bytes).is_ok() {
        Ok(bytes)
    } else {
        Err(Error::invalid(format!("a stack of {usable} bytes does not fit any address space")))
    }
}
