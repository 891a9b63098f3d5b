//! Letting `setuid` and its kin pass threads that are running goroutines.
//!
//! The kernel keeps credentials per thread; POSIX has them per process. So glibc's `setuid`, `setgid`, `setgroups` … mark
//! every thread in its list, signal it, and signal again until a handler on each has taken its mark off. The handler takes it
//! off the block *at the thread pointer*. While a kernel thread runs a goroutine that is the goroutine's block, the mark on
//! its own stays, and the caller goes round for ever.
//!
//! The mend is to run glibc's handler on the kernel thread's own thread pointer. The signal is one that glibc keeps to itself
//! (its `sigaction` refuses it), so its action is read and replaced by system calls; mask, flags and restorer stay glibc's.
//!
//! Another library of the process may have a runtime of its own, and do the same. Then handlers are in a chain, each calling the
//! one that it found, and one thread's mark is taken off by whichever knows the thread. Only the first of the chain can be taken
//! out. If two put theirs in at the same moment, one may be left out of the chain for that moment; glibc, which signals again and
//! again, does not mind.

use core::ffi::{c_int, c_void};
use core::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

use super::Error;
use crate::arch;

/// `SIGSETXID`: glibc's second internal signal, the same on all its Linux ports.
const SIGNAL: c_int = 33;

/// No user id, but a wish to keep the one there is.
const KEEP: libc::uid_t = libc::uid_t::MAX;

/// The kernel's `struct sigaction`, not libc's, on architectures that let a restorer be named.
#[repr(C)]
struct Action {
    handler: *mut c_void,
    flags: u64,
    restorer: *mut c_void,
    mask: u64,
}

impl Action {
    const NONE: Action = Action { handler: core::ptr::null_mut(), flags: 0, restorer: core::ptr::null_mut(), mask: 0 };
}

type Handler = unsafe extern "C" fn(c_int, *mut c_void, *mut c_void);

/// The handler that glibc installed.
static THEIRS: AtomicPtr<c_void> = AtomicPtr::new(core::ptr::null_mut());
/// The function given to [`guard`].
static NATIVE: AtomicPtr<c_void> = AtomicPtr::new(core::ptr::null_mut());

/// Our handler is in the chain.
static GUARDED: AtomicBool = AtomicBool::new(false);

/// Installs our handler around the present one; while it is there, does nothing. One call at a time, of this or [`unguard`].
///
/// # Safety
/// As for [`super::guard_credentials`].
pub(super) unsafe fn guard(native: fn() -> usize) -> Result<(), Error> {
    if GUARDED.load(Ordering::Relaxed) {
        return Ok(());
    }
    let mut action = present()?;
    // glibc installs its handler before the first thread is made, and `init` makes threads.
    if action.handler.is_null() {
        return Err(Error::Layout("no handler for changes of credentials".into()));
    }
    THEIRS.store(action.handler, Ordering::Release);
    NATIVE.store(native as *mut c_void, Ordering::Release);
    action.handler = ours();
    let mut before = Action::NONE;
    // SAFETY: only the handler is another, and ours calls the one that was there.
    unsafe { sigaction(Some(&action), Some(&mut before))? };
    THEIRS.store(before.handler, Ordering::Release);
    GUARDED.store(true, Ordering::Relaxed);
    Ok(())
}

/// Takes our handler out, unless somebody has put one before it. True: it is out; and, if that is asked for, nobody runs it.
pub(super) fn unguard(and_wait: bool) -> bool {
    if !GUARDED.load(Ordering::Relaxed) {
        return true;
    }
    let Ok(mut action) = present() else { return false };
    if action.handler != ours() {
        return false;
    }
    action.handler = THEIRS.load(Ordering::Acquire);
    let mut before = Action::NONE;
    // SAFETY: the handler that was there before ours, and called by it.
    if unsafe { sigaction(Some(&action), Some(&mut before)) }.is_err() {
        return false;
    }
    if before.handler != ours() {
        // Somebody has come between, and calls ours: his is to stay.
        // SAFETY: it was there a moment ago.
        let _ = unsafe { sigaction(Some(&before), None) };
        return false;
    }
    GUARDED.store(false, Ordering::Relaxed);
    if !and_wait {
        return true;
    }
    // Others may be in our handler still. The signal is blocked in its own handler, so once every thread has answered
    // another, by the handler that was there before, none is. This is a change to the ids that are. It ends others' waits with
    // EINTR, so it is not made without need.
    // SAFETY: changes nothing, and may be called anywhere.
    unsafe { libc::setresuid(KEEP, KEEP, KEEP) };
    true
}

fn ours() -> *mut c_void {
    handle as *const () as *mut c_void
}

/// The action in force.
fn present() -> Result<Action, Error> {
    let mut action = Action::NONE;
    // SAFETY: asks for the present action only.
    unsafe { sigaction(None, Some(&mut action))? };
    Ok(action)
}

/// The system call, past libc, which hides this signal.
///
/// # Safety
/// A new action's handler must be fit to run in any thread at any time.
unsafe fn sigaction(new: Option<&Action>, old: Option<&mut Action>) -> Result<(), Error> {
    let new = new.map_or(core::ptr::null(), |new| new);
    let old = old.map_or(core::ptr::null_mut(), |old| old);
    // SAFETY: both are null or of the kernel's layout; the last argument is the size of its signal set.
    let result = unsafe { libc::syscall(libc::SYS_rt_sigaction, SIGNAL, new, old, size_of::<u64>()) };
    if result == 0 {
        Ok(())
    } else {
        // SAFETY: reads this thread's error number.
        Err(Error::Os("rt_sigaction", unsafe { *libc::__errno_location() }))
    }
}

/// A signal's arguments on their way to the other thread pointer.
struct Delivery {
    handler: Handler,
    info: *mut c_void,
    context: *mut c_void,
}

unsafe extern "C" fn handle(_: c_int, info: *mut c_void, context: *mut c_void) {
    // SAFETY: `guard` stored both before it installed this handler.
    let (handler, native) = unsafe {
        (
            core::mem::transmute::<*mut c_void, Handler>(THEIRS.load(Ordering::Acquire)),
            core::mem::transmute::<*mut c_void, fn() -> usize>(NATIVE.load(Ordering::Acquire))(),
        )
    };
    let mut delivery = Delivery { handler, info, context };
    if native == 0 || native == arch::thread_pointer() {
        // SAFETY: the thread pointer is right already.
        unsafe { deliver((&raw mut delivery).cast()) };
    } else {
        // Signal stacks are small, so the handler goes on below us instead of getting room of its own.
        // SAFETY: this kernel thread's own block is idle while we stand here; glibc's handler is C and does not unwind.
        unsafe { arch::call_on_stack(deliver, (&raw mut delivery).cast(), core::ptr::null_mut(), native) };
    }
}

unsafe extern "C" fn deliver(delivery: *mut u8) {
    // SAFETY: `handle` passed a delivery with the arguments that the kernel gave it.
    unsafe {
        let Delivery { handler, info, context } = delivery.cast::<Delivery>().read();
        handler(SIGNAL, info, context);
    }
}
