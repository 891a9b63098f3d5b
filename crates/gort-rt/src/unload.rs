//! Unloading the library that this runtime is part of: a plug-in of a program that is not ours.
//!
//! ```text
//!   dlopen ─▶ [enter] ─▶ … start: pinned … shutdown: free to go … ─▶ dlclose ─▶ [leave] ─▶ unmapped
//!                                                                     exit   ─▶ [exits] … [leave]: nothing
//! ```
//!
//! **While the runtime runs the library stays.** Its kernel threads run the library's code, and goroutines have frames of
//! it. So a start takes a reference to the library, a [`Pin`], as `dlopen` does, and shutdown gives it back when it has joined all
//! threads: a `dlclose` before takes the host's reference only. If shutdown cannot take everything of ours out of the process
//! (a signal handler, since somebody has put his own before it and will call ours), the pin stays for ever. The pin is taken
//! before the start becomes known as one: it takes the loader's lock, whose holder, a constructor, may wait for a start that is
//! under way.
//!
//! **When the library goes, [`leave`] gives back what the runtime keeps for late looks** and for the next start: Ms, Ps,
//! address space of stacks, side records, tables, copies of modules' images, the process's keys. It may, since nobody looks
//! any more: who would have to run the library's code. Threads that have called in and live on have an M bound to them; what
//! leads there is a thread-local word of the library's, which goes with it, and the value of a key, which is deleted with its
//! value. The destructors of all keys of the library's go, also those of std, which deletes none of its own. What libc
//! knows the library by (handlers for fork, thread-local variables with destructors) it sorts out itself: the former it forgets,
//! and with the latter it keeps the library until their threads have ended.
//!
//! **What stays** is what glibc frees at the end of a real thread only: of each goroutine with a block of its own that has
//! allocated, as many as there were at a time, `malloc`'s cache with the chunks in it, about 0.7 KiB and what was kept for the
//! next allocations; see `identity::estate`. Where goroutines are threads nothing stays.
//!
//! What remains for the host is what it has to see to with any library: no thread is on its way through the library's code,
//! be it in the destructors at its end. A thread that has called in either lives on, or has been joined.
//!
//! **An exit of the process is no unloading**, though the loader calls the same functions for both: other threads go on meanwhile.
//! At an exit functions registered by `__cxa_atexit` run first, those that were registered last before others, and one of them
//! runs the `.fini_array` of each library. At an unloading the library's own run as the last part of its `.fini_array`. So `leave`,
//! which is in the array, knows an exit by [`exits`] having run, and then does nothing. If a linker has put the array into
//! another order, `leave` does nothing either, and what it would have given back is lost.
//!
//! The one that runs the arrays is registered when the program begins, after the constructors of the libraries that it is linked
//! with. What such a library's constructor registers comes too late, hence [`watch`]: `exits` is registered again when there
//! begins to be something to give back, which is in `main` or later; or else in a constructor, and then the runtime runs, as a
//! rule. While it does the library is pinned, so that `leave` can only be about an exit.

use crate::debug::room;
use crate::gate;
use crate::identity;
use crate::oneone::seat;
use crate::os;
use crate::phase;
use crate::poll;
use crate::sched::{m, procs};
use crate::stack;
use crate::tls;
use core::ffi::{c_char, c_int, c_void, CStr};
use core::mem::{self, MaybeUninit};
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Whether [`exits`] is known to libc and has not run.
static WATCHING: AtomicBool = AtomicBool::new(false);
/// The [`Pin`]s that hold the library. More than one while threads compete for a start.
static PINS: AtomicUsize = AtomicUsize::new(0);

extern "C" {
    /// The number of this library, or program, for `__cxa_atexit`.
    static __dso_handle: u8;
    fn __cxa_atexit(f: unsafe extern "C" fn(*mut c_void), arg: *mut c_void, dso: *const u8) -> c_int;
    /// As `dladdr`, with more to tell.
    fn dladdr1(address: *const c_void, info: *mut libc::Dl_info, extra: *mut *mut c_void, flags: c_int) -> c_int;
}

/// Early among the library's constructors, since the user's may start the runtime.
#[used]
#[link_section = ".init_array.00101"]
static ENTER: extern "C" fn() = enter;

#[used]
#[link_section = ".fini_array"]
static LEAVE: extern "C" fn() = leave;

/// The library has been loaded, or the program begins.
extern "C" fn enter() {
    // Before glibc 2.34 the first use of a library's thread-local variables takes the loader's lock. It is held now, by us; other
    // threads would wait for the end of a constructor that waits for them.
    tls::getg();
    WATCHING.store(register(), Ordering::SeqCst);
}

/// Has libc call [`exits`].
fn register() -> bool {
    // SAFETY: it is a plain function of the library that the handle is of.
    unsafe { __cxa_atexit(exits, ptr::null_mut(), &raw const __dso_handle) == 0 }
}

/// From when on there may be something to give back.
#[derive(Clone, Copy)]
pub(crate) enum Since {
    /// A first callback, or a start.
    Used,
    /// A shutdown: the library is not pinned any more.
    Ended,
}

/// An exit of the process from now on is known as one, wherever the library comes from. Does something at the first call for each
/// moment only; may allocate then.
pub(crate) fn watch(since: Since) {
    static WATCHED: [AtomicBool; 2] = [const { AtomicBool::new(false) }; 2];
    let watched = &WATCHED[since as usize];
    if !watched.load(Ordering::Relaxed) && !watched.swap(true, Ordering::Relaxed) {
        register(); // without memory it is as if the program had begun with it
    }
}

/// The process ends; or the library goes, and [`leave`] has been called.
unsafe extern "C" fn exits(_: *mut c_void) {
    WATCHING.store(false, Ordering::SeqCst);
}

/// The library goes, or the process has ended but for this.
extern "C" fn leave() {
    if !WATCHING.load(Ordering::SeqCst) || PINS.load(Ordering::SeqCst) != 0 {
        return;
    }
    if !phase::is_off() || gate::callbacks() != 0 {
        os::write_stderr(
            b"gort: a library is unloaded whose runtime runs, or which a thread has called that is not back\n",
        );
        std::process::abort();
    }
    // SAFETY: the runtime does not run, none of its threads are left, and no other thread runs code of this library from now
    // on, except by a key's destructor, and keys go first.
    unsafe {
        os::forget_exit_keys();
        identity::forget_keys(is_ours);
        poll::unload();
        procs::unload();
        m::unload();
        room::unload();
        seat::unload();
        if identity::unload() {
            stack::unload();
        }
    }
}

/// The library that an address lies in, by where it begins.
fn library_of(address: *const c_void) -> *mut c_void {
    let mut info = MaybeUninit::<libc::Dl_info>::zeroed();
    // SAFETY: the record is ours to write; zeroes are a valid one.
    unsafe {
        libc::dladdr(address, info.as_mut_ptr());
        info.assume_init().dli_fbase
    }
}

/// Whether an address is in the library that goes.
fn is_ours(address: *const c_void) -> bool {
    library_of(address) == library_of((&raw const LEAVE).cast())
}

/// Keeps the library loaded until it is dropped.
pub(crate) struct Pin(Option<NonNull<c_void>>);

// SAFETY: a reference to a library is the process's, not a thread's.
unsafe impl Send for Pin {}

impl Pin {
    /// From now on. Takes the loader's lock.
    pub(crate) fn new() -> Pin {
        watch(Since::Used);
        let handle = name().map_or(ptr::null_mut(), |name| {
            // SAFETY: the name is the loader's own. No constructor runs, since the library is there.
            unsafe { libc::dlopen(name, libc::RTLD_LAZY | libc::RTLD_NOLOAD) }
        });
        let pin = Pin(NonNull::new(handle));
        PINS.fetch_add(pin.0.is_some().into(), Ordering::SeqCst);
        pin
    }

    /// Whether this code is in a library, which may go; not in the program itself.
    pub(crate) fn is_of_a_library(&self) -> bool {
        self.0.is_some()
    }

    /// Lets the library go; unless something of it is left that may be called, `clean` says: then it stays for ever.
    pub(crate) fn release(self, clean: bool) {
        watch(Since::Ended);
        if !clean {
            mem::forget(self);
        }
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        if let Some(handle) = self.0 {
            PINS.fetch_sub(1, Ordering::SeqCst);
            // SAFETY: `new` took the reference.
            unsafe { libc::dlclose(handle.as_ptr()) };
        }
    }
}

/// What the loader calls the library that this code is in; None for the program itself, which cannot go.
fn name() -> Option<*const c_char> {
    /// `RTLD_DL_LINKMAP`.
    const LINK_MAP: c_int = 2;
    /// The beginning of the public `struct link_map`.
    #[repr(C)]
    struct LinkMap {
        base: usize,
        name: *const c_char,
    }
    let mut info = MaybeUninit::uninit();
    let mut map = ptr::null_mut();
    // SAFETY: both are ours to write. The loader's record of a loaded library stays as it is.
    unsafe {
        if dladdr1((&raw const LEAVE).cast(), info.as_mut_ptr(), &raw mut map, LINK_MAP) == 0 || map.is_null() {
            return None;
        }
        let name = (*map.cast::<LinkMap>()).name;
        (!name.is_null() && !CStr::from_ptr(name).is_empty()).then_some(name)
    }
}
