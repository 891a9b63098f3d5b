//! Goroutines for `pthread_create`: what the hooks of `gort-interpose` make of threads that other crates and C start.
//!
//! To glibc the number of a thread (`pthread_t`) is the address of its thread control block, and `pthread_self` computes it
//! from the thread pointer. So the number of a goroutine is an address in its identity, and the arena of stacks tells whether
//! a number is one of ours ([`find`]).
//!
//! Such a *numbered* goroutine differs from others in three ways:
//!
//! * It has its body from the moment when it is made, since the number must be known then.
//! * Its body is not used again, and does not go cold, until it has ended *and* was joined or detached: its number could
//!   come back too early. Whoever is last, the scheduler or the one who joins or detaches, buries it; see `record`.
//! * A frame of glibc's own kind lies below its start routine, so that `pthread_exit` finds its way; see `exit`.
//!
//! | File | Subject |
//! |---|---|
//! | `record` | what a goroutine keeps for those who know its number: state, result, name |
//! | `number` | finding a goroutine by its number, and what may be done with it |
//! | `exit` | the start routine's frame |

mod exit;
mod number;
mod record;

pub use exit::{exiting, Leaving};
pub use number::{find, Numbered, Stack, Until};
pub(crate) use record::Record;

use crate::error::Error;
use crate::fork;
use crate::identity;
use crate::os;
use crate::sched;
use crate::sched::g::{Kind, G};
use crate::sched::global::try_sched;
use crate::sched::spawn;
use crate::start;
use crate::tls;
use core::cell::Cell;
use core::ffi::{c_int, c_void};
use core::sync::atomic::{AtomicU8, Ordering};

/// A start routine.
pub type Start = unsafe extern "C" fn(*mut c_void) -> *mut c_void;

/// What a new thread is to be like.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// Bytes of stack, at least.
    pub stack: usize,
    /// Nobody will join it.
    pub detached: bool,
    /// The start routine returns an `int`, as C11's do.
    pub returns_int: bool,
}

const UNASKED: u8 = 0;
const OFF: u8 = 1;
const ON: u8 = 2;

/// Whether threads become goroutines; nobody has asked before the runtime starts or the first thread is made.
static MODE: AtomicU8 = AtomicU8::new(UNASKED);

/// The start of the runtime: decides whether threads become goroutines from now on.
pub(crate) fn init(on: bool) {
    MODE.store(if on { ON } else { OFF }, Ordering::Release);
}

thread_local! {
    /// The next thread that the caller makes is to be a goroutine.
    static NEXT: Cell<bool> = const { Cell::new(false) };
}

/// While it lives, the first thread that the caller makes is to be a goroutine, also where the setting is off: for who wants a
/// goroutine with all that a thread of std's has. Where no hook asks, it is a thread. The runtime has started.
#[must_use = "it counts while it lives"]
pub struct NextIsGoroutine(());

impl NextIsGoroutine {
    /// From now on.
    pub fn begin() -> NextIsGoroutine {
        NEXT.set(true);
        NextIsGoroutine(())
    }
}

impl Drop for NextIsGoroutine {
    fn drop(&mut self) {
        NEXT.set(false);
    }
}

/// Whether a thread that the caller is about to make should be a goroutine.
///
/// No: where the setting is off and there is no [`NextIsGoroutine`], inside the runtime and on the system stack, for the runtime's
/// own threads, and in a forked child. The first call of a process may start the runtime, if `GORT_THREADS` asks for goroutines.
#[inline]
pub fn takes_over() -> bool {
    let wanted = NEXT.take();
    match MODE.load(Ordering::Acquire) {
        OFF if !wanted => false,
        mode => !os::wants_real_thread() && (wanted || mode == ON || ask()) && is_outside(),
    }
}

/// Starts the runtime with the default settings, if it does not run.
///
/// # Errors
/// It cannot start, or was shut down.
pub fn start_runtime() -> Result<(), Error> {
    start::runtime().map(drop)
}

/// Before the runtime has started: the environment decides whether it starts now.
#[cold]
fn ask() -> bool {
    if std::env::var_os("GORT_THREADS").is_none_or(|value| value.is_empty() || value == "0") {
        // Not over what a start of the runtime has decided meanwhile.
        let _ = MODE.compare_exchange(UNASKED, OFF, Ordering::AcqRel, Ordering::Acquire);
    } else if let Err(e) = start::runtime() {
        os::write_stderr(format!("gort: threads stay threads, because the runtime cannot start: {e}\n").as_bytes());
        let _ = MODE.compare_exchange(UNASKED, OFF, Ordering::AcqRel, Ordering::Acquire);
    }
    MODE.load(Ordering::Acquire) == ON
}

/// Whether the caller is code of the program's: not the runtime's own, nor on the system stack.
fn is_outside() -> bool {
    // SAFETY: the current G lives.
    let g = unsafe { tls::getg().as_ref() };
    !fork::is_child()
        && g.is_none_or(|g| g.kind != Kind::G0 && (g.kind != Kind::Goroutine || sched::parkable().is_some()))
}

/// Whether the process has goroutines that a number could belong to.
#[inline]
fn has_goroutines() -> bool {
    try_sched().is_some()
}

/// `pthread_create` with a goroutine: writes its number to `number` before it can run. Returns 0 or `EAGAIN`; None: the runtime
/// has been shut down, so it is to be a thread.
///
/// # Safety
/// [`takes_over`] has said yes; `number` is writable; `start` may be called with `arg` on a thread of its own.
pub unsafe fn create(number: *mut libc::pthread_t, wanted: Wanted, start: Start, arg: *mut c_void) -> Option<c_int> {
    let main = move || {
        // SAFETY: a goroutine runs this.
        let g = unsafe { &*tls::current_goroutine() };
        // SAFETY: the caller's promise.
        let value = unsafe { exit::call(&g.pthread, start, arg) };
        // The upper half of what a function that returns an int leaves in the register means nothing.
        g.pthread.leave_result(if wanted.returns_int { value as c_int as isize as *mut c_void } else { value });
        move || g.pthread.end()
    };
    let introduce = |g: &G| {
        g.numbered.set(true);
        g.pthread.open(wanted.detached);
        // SAFETY: the caller's promise.
        unsafe { number.write(identity::number_of(g.tp.get()) as libc::pthread_t) };
    };
    // SAFETY: `main` borrows nothing but its goroutine, and `call` does not unwind.
    match unsafe { spawn::spawn_embodied(wanted.stack, introduce, main) } {
        Ok(()) => Some(0),
        Err(e) => (!e.is_shut()).then_some(libc::EAGAIN),
    }
}
