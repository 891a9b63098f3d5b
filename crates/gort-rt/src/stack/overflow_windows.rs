//! The report when a goroutine overflows its stack.
//!
//! The system says that a stack may not grow any more by an exception (`STATUS_STACK_OVERFLOW`), which it raises on that very
//! stack, in the memory that it has kept for that (`os::mem`). A vectored handler, called before any other, finds the slot by the
//! stack pointer, writes two lines and aborts, as std does for threads. All other exceptions are somebody else's, and so is an access
//! to memory that is not there: a wild pointer into a guard is an ordinary access violation.
//!
//! The handler allocates nothing and takes no lock: it may have interrupted anything. It decides by the stack pointer alone; whose
//! stack it is the report asks the thread-local word, as elsewhere.

use super::report::report;
use super::{find, Slot};
use crate::os;
use core::ffi::c_void;
use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};
use std::io;
use windows_sys::Win32::Foundation::STATUS_STACK_OVERFLOW;
use windows_sys::Win32::System::Diagnostics::Debug::{
    AddVectoredExceptionHandler, RemoveVectoredExceptionHandler, EXCEPTION_CONTINUE_SEARCH, EXCEPTION_POINTERS,
};

pub(crate) use super::report::set_describe;

/// What names the handler to the system; null while it is not installed.
static HANDLER: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());

/// Installs the handler. Does nothing if it is installed. Not to be called from two threads at a time.
pub(crate) fn install() -> Result<(), i32> {
    if !HANDLER.load(Ordering::Relaxed).is_null() {
        return Ok(());
    }
    // SAFETY: the handler is a function of this library's, which `uninstall` takes out before that goes.
    let handler = unsafe { AddVectoredExceptionHandler(1, Some(on_exception)) };
    if handler.is_null() {
        return Err(io::Error::last_os_error().raw_os_error().unwrap_or(os::code::NO_MEMORY));
    }
    HANDLER.store(handler, Ordering::Relaxed);
    Ok(())
}

/// Takes it out again, and says whether that was possible. Not to be called from two threads at a time.
pub(crate) fn uninstall() -> bool {
    let handler = HANDLER.swap(ptr::null_mut(), Ordering::Relaxed);
    // SAFETY: `install` has got it, and it is taken out once.
    handler.is_null() || unsafe { RemoveVectoredExceptionHandler(handler) } != 0
}

/// The handler.
unsafe extern "system" fn on_exception(pointers: *mut EXCEPTION_POINTERS) -> i32 {
    // SAFETY: the system passes valid records.
    let (code, sp) = unsafe { ((*(*pointers).ExceptionRecord).ExceptionCode, (*(*pointers).ContextRecord).Rsp) };
    if code == STATUS_STACK_OVERFLOW {
        if let Some(slot) = overflowed(sp as usize) {
            report(&slot);
            std::process::abort();
        }
    }
    EXCEPTION_CONTINUE_SEARCH
}

/// The slot that code with this stack pointer runs on; it may point into the guard already.
fn overflowed(sp: usize) -> Option<Slot> {
    find(sp).map(|(slot, _)| slot)
}

/// Where handlers run: on the stack that they have interrupted.
pub(crate) struct AltStack(());

impl AltStack {
    /// Its addresses: none.
    pub(crate) fn range(&self) -> (usize, usize) {
        (0, 0)
    }
}

/// Prepares the calling kernel thread for handlers.
pub(crate) fn thread_altstack() -> Result<AltStack, i32> {
    Ok(AltStack(()))
}
