//! Being told that a thread ends: a callback of the module's, which the loader calls on each thread that ends.
//!
//! The loader calls those callbacks in the order of their sections' names. std's, which runs the destructors of Rust's
//! thread-local variables, is in `.CRT$XLB`, and those of mingw's C runtime follow; ours is one of the last. So a value's
//! destructor runs when thread-local variables have gone, as a pthread key's does; and on the thread itself, whichever fibers
//! it had. Nothing of it is registered with the system: a library that goes is called no more.
//!
//! The loader's lock is held meanwhile, as it is for destructors of thread-local variables: who waits there for another thread's
//! end, or its beginning, waits for ever. A thread that is ended by `TerminateThread` is not told.

use super::slot::Slot;
use crate::arch;
use core::ffi::c_void;
use core::mem;
use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};
use windows_sys::Win32::System::SystemServices::DLL_THREAD_DETACH;

/// How often destructors are called again that have set values, as POSIX has it at least.
const ROUNDS: usize = 4;

type Destructor = unsafe extern "C" fn(*mut c_void);

struct Key {
    /// A [`Destructor`]; null: the key is free.
    destructor: AtomicPtr<()>,
    slot: Slot,
}

/// The callbacks want one, and goroutines that are threads another.
static KEYS: [Key; 2] = [const { Key { destructor: AtomicPtr::new(ptr::null_mut()), slot: Slot::new() } }; 2];

/// One of the keys. Given back by [`forget_exit_keys`] only.
pub(crate) struct ExitKey(&'static Key);

impl ExitKey {
    /// Makes the key: `destructor` is called with the value of each thread that ends and has set one.
    pub(crate) fn new(destructor: Destructor) -> Option<ExitKey> {
        // SAFETY: a static may be read. So the linker keeps it.
        unsafe { ptr::read_volatile(&raw const CALLBACK) };
        let destructor = destructor as *mut ();
        let free = |key: &&Key| {
            let before = ptr::null_mut();
            key.destructor.compare_exchange(before, destructor, Ordering::Release, Ordering::Relaxed).is_ok()
        };
        Some(ExitKey(KEYS.iter().find(free).expect("two keys are all that is wanted")))
    }

    /// Gives the calling thread a value. False: there is no memory for it.
    pub(crate) fn set(&self, value: *const c_void) -> bool {
        self.0.slot.set(value.expose_provenance())
    }
}

/// No thread that ends calls the destructor of an [`ExitKey`] any more.
///
/// # Safety
/// No key is used any more.
pub(crate) unsafe fn forget_exit_keys() {
    KEYS.iter().for_each(|key| key.destructor.store(ptr::null_mut(), Ordering::Release));
}

type Callback = unsafe extern "system" fn(*mut c_void, u32, *mut c_void);

#[used]
#[link_section = ".CRT$XLY"]
static CALLBACK: Callback = on_event;

/// Whether a callback of this module's is the one by which the loader tells of a kernel thread's end.
pub(crate) fn is_for_kernel_threads(callback: Callback) -> bool {
    ptr::fn_addr_eq(callback, on_event as Callback)
}

/// The loader tells that a thread or the process begins or ends.
unsafe extern "system" fn on_event(_library: *mut c_void, reason: u32, _: *mut c_void) {
    if reason != DLL_THREAD_DETACH {
        return;
    }
    if arch::goroutine() != 0 {
        super::write_stderr(
            b"gort: a goroutine has ended the kernel thread that it ran on (ExitThread), which others share\n",
        );
        std::process::abort();
    }
    thread_ends();
}

fn thread_ends() {
    for _ in 0..ROUNDS {
        let mut any = false;
        for key in &KEYS {
            let destructor = key.destructor.load(Ordering::Acquire);
            if destructor.is_null() {
                continue;
            }
            let value = key.slot.get();
            if value == 0 {
                continue;
            }
            any = true;
            key.slot.set(0);
            // SAFETY: what is stored there other than null is a function of this type.
            let destructor = unsafe { mem::transmute::<*mut (), Destructor>(destructor) };
            // SAFETY: what the value means is between who set it and the destructor.
            unsafe { destructor(ptr::with_exposed_provenance_mut(value)) };
        }
        if !any {
            return;
        }
    }
}
