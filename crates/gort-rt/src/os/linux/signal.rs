//! The signal masks of kernel threads.
//!
//! A new thread of the runtime starts with all signals blocked, so that no handler of the host's finds it half made. Those
//! that run goroutines then take the mask that the starter of the runtime had, and block everything again at their end. So
//! what the host had blocked before the start no thread of the runtime ever takes; and which thread, with which mask of its
//! own, happens to make the next one does not matter.
//!
//! Never blocked are the signals by which the kernel tells of a fault, since a blocked one ends the process past every
//! handler, and the two that glibc keeps to itself: whoever changes credentials waits for every thread to answer.

use core::ptr;
use core::sync::atomic::{AtomicU64, Ordering};

use super::syscall::syscall;

/// A set of signals as the kernel has it: signal `n` is bit `n - 1`.
type Set = u64;

/// glibc's own: cancellation, credentials.
const INTERNAL: [i32; 2] = [32, 33];
/// What comes of an instruction, at that instruction.
const FAULTS: [i32; 6] = [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL, libc::SIGTRAP, libc::SIGSYS];

/// All signals that may be blocked.
const ALL: Set = !(set_of(&INTERNAL) | set_of(&FAULTS));

/// The mask of whoever started the runtime.
static STARTERS: AtomicU64 = AtomicU64::new(0);

const fn set_of(signals: &[i32]) -> Set {
    let mut set = 0;
    let mut i = 0;
    while i < signals.len() {
        set |= 1 << (signals[i] - 1);
        i += 1;
    }
    set
}

/// The calling thread's mask from before, which comes back when this is dropped.
#[must_use = "the mask comes back when this is dropped"]
pub(crate) struct Blocked(Set);

impl Blocked {
    /// Blocks all signals that may be blocked, on the calling thread, until the value is dropped.
    pub(crate) fn all() -> Blocked {
        Blocked(change(libc::SIG_BLOCK, Some(ALL)))
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        change(libc::SIG_SETMASK, Some(self.0));
    }
}

/// The runtime starts: from now on [`take_signals`] gives threads the mask of the caller.
pub(crate) fn remember_mask() {
    STARTERS.store(change(libc::SIG_BLOCK, None), Ordering::Relaxed);
}

/// The calling thread, one of the runtime's, is ready for handlers: takes the signals that the starter of the runtime took.
pub(crate) fn take_signals() {
    change(libc::SIG_SETMASK, Some(STARTERS.load(Ordering::Relaxed)));
}

/// The calling thread, one of the runtime's, is about to end: no more handlers on it.
pub(crate) fn refuse_signals() {
    change(libc::SIG_BLOCK, Some(ALL));
}

/// Whether the caller runs on its kernel thread's signal stack. Async-signal-safe.
pub(crate) fn on_signal_stack() -> bool {
    let mut stack = core::mem::MaybeUninit::<libc::stack_t>::zeroed();
    // SAFETY: asks only, and the kernel writes one record.
    let asked = unsafe { syscall(libc::SYS_sigaltstack, [0, stack.as_mut_ptr().expose_provenance(), 0, 0, 0, 0]) };
    // SAFETY: zeroes are a valid record.
    asked.is_ok() && unsafe { stack.assume_init() }.ss_flags & libc::SS_ONSTACK != 0
}

/// `rt_sigprocmask`: returns the mask from before.
fn change(how: i32, set: Option<Set>) -> Set {
    let set = set.as_ref().map_or(ptr::null(), ptr::from_ref);
    let mut old: Set = 0;
    let args = [how as usize, set.expose_provenance(), (&raw mut old).expose_provenance(), size_of::<Set>(), 0, 0];
    // SAFETY: the kernel reads one set, if there is one, and writes one. Nothing in this crate takes a signal's not coming for
    // granted, or its coming.
    let result = unsafe { syscall(libc::SYS_rt_sigprocmask, args) };
    debug_assert!(result.is_ok(), "{result:?}");
    old
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mask() -> Set {
        change(libc::SIG_BLOCK, None)
    }

    #[test]
    fn all_are_blocked_for_a_while() {
        let before = mask();
        {
            let _blocked = Blocked::all();
            assert_eq!(mask() | set_of(&[libc::SIGKILL, libc::SIGSTOP]), before | ALL);
            assert_eq!(mask() & set_of(&[32, 33, libc::SIGSEGV]), 0);
        }
        assert_eq!(mask(), before);
    }
}
