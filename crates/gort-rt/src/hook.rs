//! What `gort-interpose` needs of the runtime: not for users, and without promises of stability.
//!
//! Every function here may be called from any thread, inside a libc function: none allocates, panics, or touches errno.

use crate::arch;
use crate::config;
use crate::ffi::cancel;
use crate::fork;
use crate::identity;
use crate::os;
use crate::sched;
use crate::sched::g::G;
use crate::sched::global::try_sched;
use crate::stack;
use crate::sync::futex;
use crate::sync::rawmutex::{RawMutex, RawMutexGuard};
use crate::thread;
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

pub use crate::arch::system_call;
pub use crate::debug::why::Why;
pub use crate::poll::{
    closing, descriptor, opened, own_descriptors, wait_any, Attempt, Descriptor, Interest, Stamp, Waited,
};
pub use crate::pthread;
pub use crate::pthread::start_runtime;
pub use crate::sched::deadlock::Blocked;
pub use crate::sync::futex::sentry::{Silent, Step};
pub use crate::sync::futex::{KernelWait, Wait};

/// The crate `gort` is in this process: it is an application, and its settings default to what applications want. Before the
/// start.
pub fn declare_application() {
    config::declare_application();
}

/// Whether the caller runs on a goroutine that may park here.
#[inline(always)]
pub fn may_park() -> bool {
    sched::parkable().is_some_and(|g| !in_signal_handler(g))
}

/// Whether the caller runs on the alternate signal stack of the kernel thread: in a signal handler, which must not switch.
#[inline]
fn in_signal_handler(g: &G) -> bool {
    let here = 0u8;
    // SAFETY: the M of a running goroutine is set and lives for ever.
    let (lo, hi) = unsafe { (*g.m.get()).alternate.get() };
    (lo..hi).contains(&(&raw const here as usize))
}

/// `pthread_cancel` of a thread that is no goroutine: by `libcs`, which is told when to act, or later; see `ffi::cancel`.
pub fn cancel(thread: libc::pthread_t, libcs: impl Fn() -> libc::c_int) -> libc::c_int {
    cancel::request(thread, libcs)
}

/// Parks the calling goroutine on a futex word until a wake, or until `deadline` in nanoseconds of the monotonic clock.
///
/// # Safety
/// [`may_park`] says yes, and `word` is readable.
pub unsafe fn futex_wait(word: *const AtomicU32, expected: u32, bits: u32, deadline: Option<u64>) -> Wait {
    let g = sched::parkable().expect("the caller has asked");
    // SAFETY: the caller's promise, passed on.
    unsafe { futex::wait(g, word, expected, bits, deadline) }
}

/// Wakes up to `n` goroutines that wait on the word at this address; returns how many.
#[inline]
pub fn futex_wake(word: usize, n: u32, bits: u32) -> u32 {
    if fork::is_child() {
        return 0; // the table is the parent's, locks and all
    }
    let (woken, others) = futex::wake(word, n, bits);
    if woken > 0 {
        if let Some(g) = sched::parkable().filter(|g| !in_signal_handler(g)) {
            sched::after_wake(g, others);
        }
    }
    woken
}

/// As [`futex_wake`], and never a scheduling point: for signal handlers on any stack.
pub fn wake_and_stay(key: usize, n: u32, bits: u32) -> u32 {
    if fork::is_child() {
        return 0;
    }
    futex::wake(key, n, bits).0
}

/// Whether a wake of this address might find a goroutine. The caller has changed what is there by an atomic
/// read-modify-write; or the goroutines that must be woken began to wait before something that the caller knows of.
#[inline]
pub fn has_waiters(key: usize) -> bool {
    futex::has_waiters(key)
}

/// Parks the calling goroutine until a wake of `key`, or until `deadline`, unless `ready` says that it need not (`Changed`).
/// `ready` and `last` are called at most once each, as `sync::futex::wait_unless` says; [`may_park`] has said yes. `why` says
/// what is there.
pub fn wait_unless(
    why: Why,
    key: usize,
    bits: u32,
    deadline: Option<u64>,
    ready: impl FnOnce() -> bool,
    last: impl FnOnce() -> bool,
) -> Wait {
    let g = sched::parkable().expect("the caller has asked");
    futex::wait_unless(g, why, key, bits, deadline, ready, last)
}

/// One try of the calling goroutine to have the lock at `key`, then a wait for it until a wake or until `deadline`. See
/// `sync::futex::sentry::lock_or_wait`; [`may_park`] has said yes.
pub fn lock_or_wait(
    key: usize,
    bits: u32,
    always: bool,
    deadline: Option<u64>,
    try_lock: impl FnOnce() -> Option<i32>,
    lock: impl FnOnce() -> i32,
) -> Step {
    let g = sched::parkable().expect("the caller has asked");
    futex::sentry::lock_or_wait(g, key, bits, always, deadline, try_lock, lock)
}

/// Announces that the caller, who holds the mutex, is about to release it where no hook sees it.
///
/// # Safety
/// `silent` stays where it is until [`no_longer_silent`].
pub unsafe fn announce(silent: &Silent) {
    if !fork::is_child() {
        // SAFETY: the caller's promise.
        unsafe { silent.announce() };
    }
}

/// Takes an announcement back, once, after that release.
pub fn no_longer_silent(silent: &Silent) {
    if !fork::is_child() {
        silent.done();
    }
}

/// Whether this wake of the word at this address should go to the kernel's waiters first.
#[inline]
pub fn kernels_turn(word: usize) -> bool {
    futex::kernels_turn(word)
}

/// Parks the calling goroutine until `deadline`, in nanoseconds of the monotonic clock. False: it may not park here.
pub fn sleep_until(deadline: u64) -> bool {
    match sched::parkable() {
        Some(g) => {
            thread::sleep_until_ns(g, deadline);
            true
        }
        None => false,
    }
}

/// Lets other goroutines run. False: the caller is no goroutine that may.
pub fn yield_now() -> bool {
    match sched::parkable() {
        Some(g) => {
            sched::yield_now(g);
            true
        }
        None => false,
    }
}

/// The calling process is the child of a fork that ran no handlers (`_Fork`). Async-signal-safe.
pub fn forked() {
    fork::in_child();
}

/// The monotonic clock, in nanoseconds.
pub fn now() -> u64 {
    os::now()
}

/// Runs `load`, a call of `dlopen` or `dlclose`, and brings the thread-local storage of all goroutines up to date.
///
/// One at a time, since no library may go while its variables are copied. A constructor that loads another library does so
/// within the outer call.
pub fn with_modules_changing<T>(load: impl FnOnce() -> T) -> T {
    if fork::is_child() {
        return load(); // the lock may be held by a thread that is not here
    }
    let _changing = MODULES.lock();
    let change = try_sched().is_some().then(identity::changing);
    let value = load();
    if try_sched().is_some() {
        // SAFETY: the arena names blocks of ours; `refresh` is called after each change, under the lock.
        let done = unsafe { identity::refresh(change, &mut |each| stack::for_each_tp(each)) };
        if let Err(e) = done {
            os::write_stderr(format!("gort: thread-local storage of a loaded library is incomplete: {e}\n").as_bytes());
        }
    }
    value
}

static MODULES: Reentrant = Reentrant { holder: AtomicUsize::new(0), lock: RawMutex::new(()) };

/// A lock that its holder may take again. Threads and goroutines are told apart by their thread pointers.
struct Reentrant {
    holder: AtomicUsize,
    lock: RawMutex<()>,
}

/// Holds a [`Reentrant`]; None inside: it was held by the caller already.
struct Held<'a>(&'a Reentrant, Option<RawMutexGuard<'a, ()>>);

impl Reentrant {
    fn lock(&self) -> Held<'_> {
        let me = arch::thread_pointer();
        if self.holder.load(Ordering::Relaxed) == me {
            return Held(self, None); // only we ourselves can have written that
        }
        let guard = self.lock.lock();
        self.holder.store(me, Ordering::Relaxed);
        Held(self, Some(guard))
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if self.1.is_some() {
            self.0.holder.store(0, Ordering::Relaxed);
        }
    }
}
