//! A dump when the user asks for one: by Ctrl-\\ on the terminal, or `kill -QUIT`. For applications that want it.
//!
//! The process goes on afterwards, as Java's does. What SIGQUIT would have done without us stays within reach: a handler that
//! was there is called after the dump, and where there was none, a second SIGQUIT, within [`AGAIN`] of the first dump or
//! while that is still being written, ends the process with a core dump.

use crate::chain::{Chain, Former};
use crate::debug::dump::dump;
use crate::os;
use core::ffi::{c_int, c_void};
use core::sync::atomic::{AtomicU64, Ordering};

/// How soon after a dump a second SIGQUIT is meant for the process, in nanoseconds.
const AGAIN: u64 = 1_000_000_000;

static CHAIN: Chain = Chain::new(libc::SIGQUIT);

/// Until when a SIGQUIT is a second one, by the monotonic clock; 0: none has come.
static SECOND_UNTIL: AtomicU64 = AtomicU64::new(0);

/// Installs the handler. Does nothing if it is installed. Not to be called from two threads at a time.
pub(crate) fn install() -> Result<(), i32> {
    CHAIN.install(on_quit, libc::SA_RESTART)
}

/// Puts back what there was, if the handler is installed, and says whether that was possible: it is not when somebody has
/// installed a handler since and may call ours. Not to be called from two threads at a time.
pub(crate) fn uninstall() -> bool {
    CHAIN.uninstall(on_quit)
}

extern "C" fn on_quit(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    let _inside = CHAIN.enter();
    let former = CHAIN.former();
    // For ever: until the dump is written.
    let second = os::now() < SECOND_UNTIL.swap(u64::MAX, Ordering::Relaxed);
    if second && former == Former::Default {
        CHAIN.step_aside();
        // SAFETY: raise is async-signal-safe; the signal is delivered when this handler returns.
        unsafe { libc::raise(signal) };
        return;
    }
    let _ = dump(2); // as far as it goes
    SECOND_UNTIL.store(os::now().saturating_add(AGAIN), Ordering::Relaxed);
    if former == Former::Handler {
        // SAFETY: there is one, and it gets what the kernel gave us.
        unsafe { CHAIN.call(info, context) };
    }
}
