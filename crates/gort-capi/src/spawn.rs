//! Making goroutines, and what becomes of their results.
//!
//! An entry of the table stands for a goroutine until it is joined, or until it is detached and has ended. Two bits say which
//! of these have happened; whoever sets the second one removes the entry:
//!
//! ```text
//!   ENDED      the goroutine: its function has returned
//!   DETACHED   gort_detach: nobody will ask for the result
//!   JOINING    gort_join: somebody waits, and removes the entry when it has the result; or gives up and takes the bit away
//! ```
//! DETACHED and JOINING exclude each other, by compare-and-swap. So of two that join one waits, and the other gets a code. Who
//! gives up puts back what is needed to join before the bit goes, so that it is there for whoever claims the entry next.
//!
//! The entry is there before the goroutine, which may be quick, and its handle may go from hand to hand before `gort_spawn` has
//! returned: the spawner holds the entry's lock until what is needed to join is in it.

use crate::code::{
    failure, run, Failure, GORT_EBUSY, GORT_EDEADLOCK, GORT_EINVAL, GORT_ENOHANDLE, GORT_ENOMEM, GORT_ENOTJOINABLE,
    GORT_EPANIC, GORT_ETIMEDOUT,
};
use crate::current;
use crate::fork::{self, Process};
use crate::start::{self, duration};
use crate::table::{Ref, Table};
use core::ffi::{c_char, c_int, c_void, CStr};
use core::sync::atomic::{AtomicU8, Ordering};
use core::time::Duration;
use gort_rt::embed;
use gort_rt::thread::{self, Builder, JoinHandle};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// Names a goroutine, or a thread that has asked for its handle. Never used twice in a process; 0 names nobody.
pub type Thread = u64;

/// What a goroutine runs: takes the argument of gort_spawn() and returns what gort_join() gives. It ends by returning: neither by
/// pthread_exit() nor, in C++, by an exception, which ends the process as it does on a std::thread.
pub type Function = Option<unsafe extern "C-unwind" fn(argument: *mut c_void) -> *mut c_void>;

const ENDED: u8 = 1;
const DETACHED: u8 = 2;
const JOINING: u8 = 4;

/// A pointer of C's, which knows what it does with it.
struct Pointer(*mut c_void);

// SAFETY: it is not looked at here.
unsafe impl Send for Pointer {}

/// What a handle stands for.
pub(crate) struct Entry {
    process: Process,
    /// How to unpark it.
    pub(crate) thread: OnceLock<thread::Thread>,
    state: AtomicU8,
    /// Of a goroutine that [`gort_spawn`] has made, until it is joined or detached.
    join: Mutex<Option<JoinHandle<Pointer>>>,
    spawned: bool,
}

pub(crate) static THREADS: Table<Entry> = Table::new(1);

impl Entry {
    pub(crate) fn new(spawned: bool) -> Entry {
        Entry {
            process: Process::here(),
            thread: OnceLock::new(),
            state: AtomicU8::new(0),
            join: Mutex::new(None),
            spawned,
        }
    }

    fn handle(&self) -> MutexGuard<'_, Option<JoinHandle<Pointer>>> {
        self.join.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets a bit of those who take the right to join away; returns what was set before.
    fn claim(&self, bit: u8) -> Result<u8, Failure> {
        if !self.spawned {
            return Err(failure(GORT_ENOTJOINABLE));
        }
        let free = |state: u8| (state & (DETACHED | JOINING) == 0).then_some(state | bit);
        // AcqRel: what the goroutine did comes before its end.
        self.state
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, free)
            .map_err(|state| failure(if state & DETACHED != 0 { GORT_ENOTJOINABLE } else { GORT_EBUSY }))
    }

    /// Undoes a claim of JOINING.
    fn give_up(&self, join: JoinHandle<Pointer>) {
        *self.handle() = Some(join);
        // Release: the line above.
        self.state.fetch_and(!JOINING, Ordering::Release);
    }
}

/// The entry of a handle. Async-signal-safe.
pub(crate) fn entry(thread: Thread) -> Result<Ref<'static, Entry>, Failure> {
    fork::check()?;
    let entry = THREADS.get(thread).ok_or_else(|| failure(GORT_ENOHANDLE))?;
    match entry.process.check() {
        Ok(()) => Ok(entry),
        Err(e) => {
            entry.give_back_quietly();
            Err(e)
        }
    }
}

/// On a goroutine: marks its end, however it comes.
struct End(Thread);

impl Drop for End {
    fn drop(&mut self) {
        let Some(entry) = THREADS.get(self.0) else { return };
        if entry.state.fetch_or(ENDED, Ordering::AcqRel) & DETACHED != 0 {
            THREADS.remove(self.0);
        }
    }
}

/// Starts a goroutine that runs `function(argument)`. Any thread or goroutine may call it.
///
/// @param thread  where the handle goes (0 if it fails), for gort_join() or gort_detach(), one of which must follow; or NULL: the
///   goroutine is detached from the beginning.
/// @param function  what it runs.
/// @param argument  passed to it; gort never looks at what it points to.
/// @param name  for reports, copied; or NULL.
/// @param stack_size  bytes of stack at least; 0: as configured.
/// @return GORT_OK;
///   GORT_EINVAL: `function` is NULL;
///   GORT_ENOTSTARTED;
///   GORT_ESHUTDOWN;
///   GORT_ENOMEM: no stack, no memory or no kernel thread to be had, and gort_last_error() says what to do;
///   GORT_EFORKED.
///
/// # Safety
/// `thread` is null or writable, `name` null or a C string, and the function may be called with the argument.
#[no_mangle]
pub unsafe extern "C" fn gort_spawn(
    thread: *mut Thread,
    function: Function,
    argument: *mut c_void,
    name: *const c_char,
    stack_size: usize,
) -> c_int {
    run(|| {
        if !thread.is_null() {
            // SAFETY: the caller's promise.
            unsafe { *thread = 0 };
        }
        start::check()?;
        let function = function.ok_or_else(|| failure(GORT_EINVAL))?;
        let mut builder = Builder::new();
        if !name.is_null() {
            // SAFETY: the caller's promise.
            builder = builder.name(unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned());
        }
        if stack_size != 0 {
            builder = builder.stack_size(stack_size);
        }
        let handle = THREADS.insert(Entry::new(true)).ok_or_else(|| failure(GORT_ENOMEM))?;
        let entry = THREADS.get(handle).expect("it was made just now");
        let mut join = entry.handle();
        let argument = Pointer(argument);
        let spawned = builder.spawn(move || {
            let argument = argument; // all of it, not only the pointer in it, which is not Send
            let _end = End(handle);
            current::begin(handle);
            // SAFETY: the caller's promise.
            Pointer(unsafe { function(argument.0) })
        });
        let spawned = spawned.inspect_err(|_| {
            THREADS.remove(handle);
        })?;
        entry.thread.get_or_init(|| spawned.thread().clone());
        *join = Some(spawned);
        drop(join);
        if thread.is_null() {
            detach(handle, &entry)
        } else {
            // SAFETY: the caller's promise.
            unsafe { *thread = handle };
            Ok(())
        }
    })
}

/// Waits until a goroutine has ended, destructors of its thread-local variables included, and gives its result. The handle is over
/// then. On a goroutine it parks.
///
/// @param thread  of gort_spawn().
/// @param result  where what the function has returned goes; or NULL.
/// @return GORT_OK;
///   GORT_ENOHANDLE: it has been joined already, or there was no such goroutine;
///   GORT_EBUSY: somebody else waits for it already;
///   GORT_ENOTJOINABLE: it is detached, or is a thread that gort_spawn() did not make;
///   GORT_EDEADLOCK: it is the caller;
///   GORT_EPANIC: Rust code in it panicked; gort_last_panic() has the text, and the handle is over;
///   GORT_EFORKED.
///
/// # Safety
/// `result` is null or writable.
#[no_mangle]
pub unsafe extern "C" fn gort_join(thread: Thread, result: *mut *mut c_void) -> c_int {
    // SAFETY: the caller's promise.
    run(|| unsafe { join(thread, result, None) })
}

/// As gort_join(), waiting for at most so many nanoseconds. If the time is over first nothing has changed: the handle is as good as
/// before, for another gort_timed_join(), gort_join() or gort_detach().
///
/// @param thread  of gort_spawn().
/// @param result  where what the function has returned goes, untouched if the time is over; or NULL.
/// @param timeout  nanoseconds to wait at most; 0: only look; or GORT_FOREVER.
/// @return as gort_join(); GORT_ETIMEDOUT: it had not ended in time.
///
/// # Safety
/// As for gort_join().
#[no_mangle]
pub unsafe extern "C" fn gort_timed_join(thread: Thread, result: *mut *mut c_void, timeout: u64) -> c_int {
    // SAFETY: the caller's promise.
    run(|| unsafe { join(thread, result, duration(timeout)) })
}

/// Joins; with `patience` for at most that long.
///
/// # Safety
/// `result` is null or writable.
unsafe fn join(thread: Thread, result: *mut *mut c_void, patience: Option<Duration>) -> Result<(), Failure> {
    let entry = entry(thread)?;
    if current::spawned() == Some(thread) {
        return Err(failure(GORT_EDEADLOCK));
    }
    entry.claim(JOINING)?;
    let mut handle = entry.handle().take().expect("it is taken by whoever has claimed the entry");
    if patience.is_some_and(|patience| !embed::wait_for_end(&mut handle, patience)) {
        entry.give_up(handle);
        return Err(failure(GORT_ETIMEDOUT));
    }
    let ended = handle.join();
    THREADS.remove(thread);
    let value = ended.map_err(|payload| {
        embed::keep_panic(payload);
        failure(GORT_EPANIC)
    })?;
    if !result.is_null() {
        // SAFETY: the caller's promise.
        unsafe { *result = value.0 };
    }
    Ok(())
}

/// Lets a goroutine go on without anybody who waits for it. Its handle is good until it ends.
///
/// @param thread  of gort_spawn().
/// @return GORT_OK;
///   GORT_ENOHANDLE: it has been joined already, or there was no such goroutine;
///   GORT_EBUSY: somebody waits for it;
///   GORT_ENOTJOINABLE: it is detached already, or is a thread that gort_spawn() did not make;
///   GORT_EFORKED.
#[no_mangle]
pub extern "C" fn gort_detach(thread: Thread) -> c_int {
    run(|| detach(thread, &*entry(thread)?))
}

fn detach(thread: Thread, entry: &Entry) -> Result<(), Failure> {
    let before = entry.claim(DETACHED)?;
    drop(entry.handle().take());
    if before & ENDED != 0 {
        THREADS.remove(thread);
    }
    Ok(())
}

/// The number of a goroutine or thread, as reports show it. Never used twice in a process.
///
/// @param thread  a handle.
/// @param id  where the number goes.
/// @return GORT_OK; GORT_EINVAL: `id` is NULL; GORT_ENOHANDLE; GORT_EFORKED.
///
/// # Safety
/// `id` is null or writable.
#[no_mangle]
pub unsafe extern "C" fn gort_id(thread: Thread, id: *mut u64) -> c_int {
    run(|| {
        if id.is_null() {
            return Err(failure(GORT_EINVAL));
        }
        let entry = entry(thread)?;
        let thread = entry.thread.get().ok_or_else(|| failure(GORT_ENOHANDLE))?;
        // SAFETY: the caller's promise.
        unsafe { *id = embed::id(thread) };
        Ok(())
    })
}
