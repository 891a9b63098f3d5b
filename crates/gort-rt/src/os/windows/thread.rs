//! Kernel threads.

use super::clock::sleep_ns;
use super::code;
use super::error;
use super::real::real;
use core::ffi::{c_void, CStr};
use core::mem::{self, size_of};
use core::ptr;
use std::alloc::{GlobalAlloc, Layout, System};
use windows_sys::core::BOOL;
use windows_sys::Win32::Foundation::{
    CloseHandle, DuplicateHandle, DUPLICATE_SAME_ACCESS, ERROR_MAX_THRDS_REACHED, ERROR_NOT_ENOUGH_MEMORY,
    ERROR_NO_SYSTEM_RESOURCES, HANDLE, INVALID_HANDLE_VALUE, WAIT_TIMEOUT,
};
use windows_sys::Win32::System::Diagnostics::ToolHelp::{
    CreateToolhelp32Snapshot, Thread32First, Thread32Next, TH32CS_SNAPTHREAD, THREADENTRY32,
};
use windows_sys::Win32::System::Threading::{
    CreateThread, GetCurrentProcess, GetCurrentProcessId, GetCurrentThread, GetCurrentThreadId, SetThreadDescription,
    INFINITE, STACK_SIZE_PARAM_IS_A_RESERVATION,
};

real! {
    fn SwitchToThread() -> BOOL;
    fn WaitForSingleObject(handle: HANDLE, milliseconds: u32) -> u32;
}

/// How often thread creation is tried while the system says that it is short of something, and by how much each pause grows.
const ATTEMPTS: u64 = 20;
const PAUSE_NS: u64 = 1_000_000;

/// Longest thread name, in 16-bit units, its zero included.
const NAME_UNITS: usize = 32;

/// What a new thread runs.
pub(crate) type Entry = extern "C" fn(*mut c_void) -> *mut c_void;

/// Passed to the new thread, which frees it.
struct Start {
    name: [u16; NAME_UNITS],
    entry: Entry,
    arg: *mut c_void,
}

/// A kernel thread that was made by [`spawn_thread`], or calls. If nobody joins it, it is left to itself when this is dropped.
#[must_use = "the thread is left to itself when this is dropped"]
pub(crate) struct Thread(HANDLE);

// SAFETY: a handle is the process's, not a thread's.
unsafe impl Send for Thread {}

impl Thread {
    /// The calling thread.
    pub(crate) fn this() -> Thread {
        let mut handle = ptr::null_mut();
        // SAFETY: both pseudo handles are valid; the new handle is ours to write, and to close. It stays null where the process
        // has no handle left: then nobody waits for the thread.
        unsafe {
            let process = GetCurrentProcess();
            DuplicateHandle(process, GetCurrentThread(), process, &raw mut handle, 0, 0, DUPLICATE_SAME_ACCESS);
        }
        Thread(handle)
    }

    /// Leaves joining to the thread itself, by [`Thread::this`].
    pub(crate) fn forget(self) {}

    /// Waits until the thread has ended, destructors of its thread-local variables included.
    pub(crate) fn join(self) {
        // SAFETY: the handle is ours; a null one is refused.
        unsafe { WaitForSingleObject(self.0, INFINITE) };
    }

    /// Joins the thread if it has ended.
    pub(crate) fn try_join(self) -> Result<(), Thread> {
        // SAFETY: as in `join`.
        if unsafe { WaitForSingleObject(self.0, 0) } == WAIT_TIMEOUT {
            return Err(self);
        }
        Ok(())
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        if !self.0.is_null() {
            // SAFETY: the handle is ours alone, and closed once.
            unsafe { CloseHandle(self.0) };
        }
    }
}

/// A thread of std's that nobody will join by its handle sees to that itself, by [`Thread::this`].
pub(crate) fn leave_to_itself(thread: std::thread::JoinHandle<()>) {
    drop(thread);
}

/// Starts a thread with a stack of at least `stack` bytes that runs `entry(arg)`. Of the name, 31 bytes count.
///
/// When the system is short of threads or memory this tries again for about a fifth of a second; the error is returned after
/// that, and any other at once. Allocates.
pub(crate) fn spawn_thread(name: &CStr, stack: usize, entry: Entry, arg: *mut c_void) -> Result<Thread, i32> {
    if stack > isize::MAX as usize {
        return Err(code::INVALID);
    }
    let mut record = Start { name: [0; NAME_UNITS], entry, arg };
    record.name.iter_mut().zip(name.to_bytes()).take(NAME_UNITS - 1).for_each(|(unit, &byte)| *unit = byte.into());
    // Not by the program's global allocator, which may be one that waits for a goroutine.
    // SAFETY: the layout is not empty.
    let start = unsafe { System.alloc(Layout::new::<Start>()) }.cast::<Start>();
    if start.is_null() {
        return Err(code::NO_MEMORY);
    }
    // SAFETY: just allocated with this layout.
    unsafe { start.write(record) };

    let result = create(stack, start);
    if result.is_err() {
        // SAFETY: no thread was made, so the record is still ours alone.
        unsafe { System.dealloc(start.cast(), Layout::new::<Start>()) };
    }
    result
}

/// `CreateThread`, repeated while the system is short of something.
fn create(stack: usize, start: *mut Start) -> Result<Thread, i32> {
    let mut attempt = 1;
    loop {
        // SAFETY: the entry point takes over `start`, which is not touched here after a success.
        let handle = unsafe {
            CreateThread(
                ptr::null(),
                stack,
                Some(run),
                start.cast(),
                STACK_SIZE_PARAM_IS_A_RESERVATION,
                ptr::null_mut(),
            )
        };
        if !handle.is_null() {
            return Ok(Thread(handle));
        }
        match error::last() as u32 {
            ERROR_MAX_THRDS_REACHED | ERROR_NOT_ENOUGH_MEMORY | ERROR_NO_SYSTEM_RESOURCES if attempt < ATTEMPTS => {
                sleep_ns(attempt * PAUSE_NS);
                attempt += 1;
            }
            other => return Err(other as i32),
        }
    }
}

/// First function of a new thread. It names itself, before it does anything else.
unsafe extern "system" fn run(start: *mut c_void) -> u32 {
    // SAFETY: `start` is what spawn_thread allocated for this thread and nobody else. It is freed by the end of the statement,
    // before `entry`, which may never return.
    let Start { name, entry, arg } = unsafe {
        let record = start.cast::<Start>().read();
        System.dealloc(start.cast(), Layout::new::<Start>());
        record
    };
    // SAFETY: the system reads units up to a zero, which the last of `name` always is.
    unsafe { SetThreadDescription(GetCurrentThread(), name.as_ptr()) };
    entry(arg);
    0
}

/// While it lives, threads that the caller makes are kernel threads; there are no hooks that make others of them.
pub(crate) struct RealThreads(());

impl RealThreads {
    /// From now on.
    pub(crate) fn begin() -> RealThreads {
        RealThreads(())
    }
}

/// Has `in_child` called in the child of each fork: Windows has no forks.
pub(crate) fn at_fork(_in_child: extern "C" fn()) {}

/// What others name the calling thread by.
pub(crate) fn thread_number() -> usize {
    // SAFETY: no preconditions.
    unsafe { GetCurrentThreadId() as usize }
}

/// The system's number of this process.
pub(crate) fn getpid() -> i32 {
    // SAFETY: no preconditions.
    unsafe { GetCurrentProcessId() as i32 }
}

/// The system's number of the calling thread.
pub(crate) fn gettid() -> i32 {
    // SAFETY: no preconditions.
    unsafe { GetCurrentThreadId() as i32 }
}

/// Lets another kernel thread run on this processor, if one is ready.
pub(crate) fn sched_yield() {
    // SAFETY: no preconditions.
    unsafe { SwitchToThread() };
}

/// How many kernel threads this process has; `None` if the system does not tell.
pub(crate) fn thread_count() -> Option<usize> {
    // SAFETY: no preconditions.
    let all = unsafe { CreateToolhelp32Snapshot(TH32CS_SNAPTHREAD, 0) };
    if all == INVALID_HANDLE_VALUE {
        return None;
    }
    let process = getpid() as u32;
    // SAFETY: zeroes are a valid record.
    let mut entry: THREADENTRY32 = unsafe { mem::zeroed() };
    entry.dwSize = size_of::<THREADENTRY32>() as u32;
    let mut count = 0;
    // SAFETY: the snapshot is open; the record is ours, and says how large it is.
    let mut more = unsafe { Thread32First(all, &raw mut entry) } != 0;
    while more {
        count += usize::from(entry.th32OwnerProcessID == process);
        // SAFETY: as above.
        more = unsafe { Thread32Next(all, &raw mut entry) } != 0;
    }
    // SAFETY: opened above, closed once.
    unsafe { CloseHandle(all) };
    Some(count)
}

#[cfg(test)]
mod tests {
    use super::super::futex::{futex_wait, futex_wake};
    use super::*;
    use core::sync::atomic::{AtomicU32, Ordering};
    use windows_sys::Win32::Foundation::LocalFree;
    use windows_sys::Win32::System::Threading::GetThreadDescription;

    struct Seen {
        go: AtomicU32,
        name: std::sync::Mutex<String>,
        threads: AtomicU32,
    }

    extern "C" fn look(arg: *mut c_void) -> *mut c_void {
        // SAFETY: the test waits for this thread before it lets the record go.
        let seen = unsafe { &*arg.cast::<Seen>() };
        let mut text = ptr::null_mut();
        // SAFETY: the system allocates a text that ends with a zero, for us to free.
        let name = unsafe {
            assert!(GetThreadDescription(GetCurrentThread(), &raw mut text) >= 0);
            let units: Vec<u16> = (0..).map(|i| *text.add(i)).take_while(|&unit| unit != 0).collect();
            LocalFree(text.cast());
            String::from_utf16(&units).unwrap()
        };
        *seen.name.lock().unwrap() = name;
        seen.threads.store(thread_count().unwrap() as u32, Ordering::Relaxed);
        while seen.go.load(Ordering::Acquire) == 0 {
            futex_wait(&seen.go, 0, None);
        }
        ptr::null_mut()
    }

    #[test]
    fn a_thread_runs_under_its_name_and_is_joined() {
        let seen = Seen { go: AtomicU32::new(0), name: std::sync::Mutex::default(), threads: AtomicU32::new(0) };
        let arg = (&raw const seen).cast_mut().cast();
        let thread = spawn_thread(c"a name of more than thirty-one bytes", 1, look, arg).unwrap();
        let thread = thread.try_join().unwrap_err();
        seen.go.store(1, Ordering::Release);
        futex_wake(&seen.go, 1);
        thread.join();
        assert_eq!(*seen.name.lock().unwrap(), "a name of more than thirty-one ");
        assert!(seen.threads.load(Ordering::Relaxed) >= 2, "this thread and that one");
    }

    #[test]
    fn an_impossible_stack_is_an_error() {
        assert_eq!(spawn_thread(c"x", usize::MAX, look, ptr::null_mut()).err(), Some(code::INVALID));
        assert!(spawn_thread(c"x", 1 << 60, look, ptr::null_mut()).is_err());
    }

    #[test]
    fn a_thread_knows_itself() {
        let other = std::thread::spawn(Thread::this);
        other.join().unwrap().join();
        assert!(Thread::this().try_join().is_err());
    }
}
