//! A dump when the user asks for one: by Ctrl+Break on the console, which is to Windows what SIGQUIT is to others. For applications
//! that want it.
//!
//! The process goes on afterwards. A second Ctrl+Break, within [`AGAIN`] of the dump, does what it would have done without us.

use crate::debug::dump::dump;
use crate::os;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::io;
use windows_sys::core::BOOL;
use windows_sys::Win32::Foundation::{FALSE, TRUE};
use windows_sys::Win32::System::Console::{SetConsoleCtrlHandler, CTRL_BREAK_EVENT};

/// How soon after a dump a second Ctrl+Break is meant for the process, in nanoseconds.
const AGAIN: u64 = 1_000_000_000;

/// Until when an event is a second one, by the monotonic clock; 0: none has come.
static SECOND_UNTIL: AtomicU64 = AtomicU64::new(0);
static INSTALLED: AtomicBool = AtomicBool::new(false);

/// Installs the handler. Does nothing if it is installed. Not to be called from two threads at a time.
pub(crate) fn install() -> Result<(), i32> {
    if INSTALLED.load(Ordering::Relaxed) {
        return Ok(());
    }
    // SAFETY: the handler is a function of this library's, which `uninstall` takes out before that goes.
    if unsafe { SetConsoleCtrlHandler(Some(on_event), TRUE) } == 0 {
        return Err(io::Error::last_os_error().raw_os_error().unwrap_or(os::code::INVALID));
    }
    INSTALLED.store(true, Ordering::Relaxed);
    Ok(())
}

/// Takes the handler out, if it is installed.
pub(crate) fn uninstall() -> bool {
    if INSTALLED.swap(false, Ordering::Relaxed) {
        // SAFETY: as in `install`.
        unsafe { SetConsoleCtrlHandler(Some(on_event), FALSE) };
    }
    true
}

/// On a thread that the system makes for it. The result says whether the event is settled.
unsafe extern "system" fn on_event(event: u32) -> BOOL {
    // For ever: until the dump is written.
    if event != CTRL_BREAK_EVENT || os::now() < SECOND_UNTIL.swap(u64::MAX, Ordering::Relaxed) {
        return FALSE;
    }
    let _ = dump(2); // as far as it goes
    SECOND_UNTIL.store(os::now().saturating_add(AGAIN), Ordering::Relaxed);
    TRUE
}
