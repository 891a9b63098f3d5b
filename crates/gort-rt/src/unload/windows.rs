//! Unloading the library that this runtime is part of: a plug-in of a program that is not ours.
//!
//! As on other systems (the head of `unload.rs` has the picture): a start takes a reference to the library, a [`Pin`], and shutdown
//! gives it back, so that a `FreeLibrary` before takes the host's reference only. When the library goes, [`leave`] gives back what
//! the runtime keeps for late looks. It is a callback of the module's, which the loader calls with the library's end, and with
//! the process's end too, when nothing is to be given back: other threads were ended wherever they were.
//!
//! Threads that have called in and live on have an M bound to them. What leads there is a word in a slot of `TlsAlloc`'s, which is
//! given back; when such a thread ends, nothing of ours is called.

use crate::debug::room;
use crate::gate;
use crate::oneone::seat;
use crate::os;
use crate::phase;
use crate::poll;
use crate::sched::{m, procs};
use crate::stack;
use core::ffi::c_void;
use core::mem;
use core::ptr;
use windows_sys::Win32::Foundation::{FreeLibrary, HMODULE};
use windows_sys::Win32::System::LibraryLoader::{
    GetModuleHandleExW, GetModuleHandleW, GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS,
};
use windows_sys::Win32::System::SystemServices::DLL_PROCESS_DETACH;

type Callback = unsafe extern "system" fn(*mut c_void, u32, *mut c_void);

/// Behind std's, so that the destructors of the calling thread have run.
#[used]
#[link_section = ".CRT$XLX"]
static LEAVE: Callback = on_event;

#[link(name = "ntdll")]
extern "system" {
    /// Whether the process ends, from when on no other thread runs.
    fn RtlDllShutdownInProgress() -> u8;
}

/// The loader tells that a thread or the process begins or ends. (Which of the two goes, the process or the library, it tells
/// `DllMain` by the last argument, and callbacks not.)
unsafe extern "system" fn on_event(_library: *mut c_void, reason: u32, _: *mut c_void) {
    // SAFETY: no preconditions.
    if reason == DLL_PROCESS_DETACH && unsafe { RtlDllShutdownInProgress() } == 0 {
        leave();
    }
}

/// From when on there may be something to give back.
#[derive(Clone, Copy)]
pub(crate) enum Since {
    /// A first callback, or a start.
    Used,
    /// A shutdown: the library is not pinned any more.
    Ended,
}

/// An exit of the process from now on is known as one: the loader tells.
pub(crate) fn watch(_since: Since) {}

/// The library goes.
fn leave() {
    if !phase::is_off() || gate::callbacks() != 0 {
        os::write_stderr(
            b"gort: a library is unloaded whose runtime runs, or which a thread has called that is not back\n",
        );
        std::process::abort();
    }
    // SAFETY: the runtime does not run, none of its threads are left, and no other thread runs code of this library from now on.
    unsafe {
        os::forget_exit_keys();
        poll::unload();
        procs::unload();
        m::unload();
        room::unload();
        seat::unload();
        stack::unload();
        os::forget_thread_words();
    }
}

/// Keeps the library loaded until it is dropped.
pub(crate) struct Pin(HMODULE);

// SAFETY: a reference to a library is the process's, not a thread's.
unsafe impl Send for Pin {}

impl Pin {
    /// From now on. Takes the loader's lock.
    pub(crate) fn new() -> Pin {
        // SAFETY: a static may be read. So the linker keeps it.
        unsafe { ptr::read_volatile(&raw const LEAVE) };
        let mut library = ptr::null_mut();
        // SAFETY: the address is one of this library's; the handle is ours to write.
        unsafe {
            GetModuleHandleExW(GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS, (&raw const LEAVE).cast(), &raw mut library);
        }
        Pin(library)
    }

    /// Whether there is something to hold: not the program itself, which cannot go.
    pub(crate) fn is_of_a_library(&self) -> bool {
        // SAFETY: no preconditions.
        let program = unsafe { GetModuleHandleW(ptr::null()) };
        !self.0.is_null() && self.0 != program
    }

    /// Lets the library go; unless something of it is left that may be called, `clean` says: then it stays for ever.
    pub(crate) fn release(self, clean: bool) {
        if !clean {
            mem::forget(self);
        }
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        if self.is_of_a_library() {
            // SAFETY: `new` took the reference.
            unsafe { FreeLibrary(self.0) };
        }
    }
}
