//! Kernel threads.

use core::cell::Cell;
use core::ffi::{c_void, CStr};
use core::mem::{self, MaybeUninit};
use core::ptr;
use std::alloc::{GlobalAlloc, Layout, System};
use std::os::unix::thread::JoinHandleExt;

use super::clock::sleep_ns;
use super::file::read_file;
use super::signal::Blocked;
use super::syscall::syscall;
use crate::arch;

/// How often thread creation is tried while the kernel says `EAGAIN`, and by how much each pause grows.
const ATTEMPTS: u64 = 20;
const PAUSE_NS: u64 = 1_000_000;

/// Longest thread name that the kernel keeps, and the zero byte.
const NAME_BYTES: usize = 16;

/// What a new thread runs.
pub(crate) type Entry = extern "C" fn(*mut c_void) -> *mut c_void;

/// Passed to the new thread, which frees it.
struct Start {
    name: [u8; NAME_BYTES],
    entry: Entry,
    arg: *mut c_void,
}

/// A kernel thread that was made by [`spawn_thread`]. If nobody joins it, it is detached when this is dropped.
#[must_use = "the thread is detached when this is dropped"]
pub(crate) struct Thread(libc::pthread_t);

impl Thread {
    /// The calling thread, which was made by [`spawn_thread`] and whose maker has [`forgotten`](Thread::forget) it.
    pub(crate) fn this() -> Thread {
        // SAFETY: may be called anywhere.
        Thread(unsafe { libc::pthread_self() })
    }

    /// Leaves joining or detaching to the thread itself, by [`Thread::this`].
    pub(crate) fn forget(self) {
        mem::forget(self);
    }

    /// Waits until the thread has ended, destructors of its thread-local variables included.
    pub(crate) fn join(self) {
        // SAFETY: the thread is joinable, and joined once: there is one `Thread` of it, which is not dropped any more.
        unsafe { libc::pthread_join(self.0, ptr::null_mut()) };
        mem::forget(self);
    }

    /// Joins the thread if it has ended.
    pub(crate) fn try_join(self) -> Result<(), Thread> {
        // SAFETY: as in `join`.
        if unsafe { libc::pthread_tryjoin_np(self.0, ptr::null_mut()) } != 0 {
            return Err(self);
        }
        mem::forget(self);
        Ok(())
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        // SAFETY: the thread is joinable, and there is no other `Thread` of it.
        unsafe { libc::pthread_detach(self.0) };
    }
}

/// A thread of std's that nobody will join by its handle is neither joined nor detached: it sees to that itself, by
/// [`Thread::this`], or has done so already.
pub(crate) fn leave_to_itself(thread: std::thread::JoinHandle<()>) {
    let _ = thread.into_pthread_t();
}

/// Starts a thread with a stack of at least `stack` bytes that runs `entry(arg)`. All signals that may be blocked are blocked
/// on it; see [`super::signal`]. Of the name, 15 bytes count.
///
/// When the system is short of threads (`EAGAIN`) this tries again for about a fifth of a second, since short bursts are
/// common where processes start; the error is returned after that, and any other at once. Allocates.
pub(crate) fn spawn_thread(name: &CStr, stack: usize, entry: Entry, arg: *mut c_void) -> Result<Thread, i32> {
    let mut record = Start { name: [0; NAME_BYTES], entry, arg };
    let length = name.to_bytes().len().min(NAME_BYTES - 1);
    record.name[..length].copy_from_slice(&name.to_bytes()[..length]);
    // Not by the program's global allocator, which may be one that waits for a goroutine.
    // SAFETY: the layout is not empty.
    let start = unsafe { System.alloc(Layout::new::<Start>()) }.cast::<Start>();
    if start.is_null() {
        return Err(libc::ENOMEM);
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

/// `pthread_create`, repeated while it says `EAGAIN`.
fn create(stack: usize, start: *mut Start) -> Result<Thread, i32> {
    let page = super::mem::page_size();
    let stack = stack.max(libc::PTHREAD_STACK_MIN).checked_next_multiple_of(page).ok_or(libc::EINVAL)?;
    let mut attributes = MaybeUninit::<libc::pthread_attr_t>::uninit();
    let attributes = attributes.as_mut_ptr();
    // SAFETY: init is given memory for one attribute object; the setters get an initialised one and values in range.
    let prepared = unsafe {
        check(libc::pthread_attr_init(attributes))?;
        check(libc::pthread_attr_setstacksize(attributes, stack))
    };
    let result = prepared.and_then(|()| {
        let mut attempt = 1;
        loop {
            let mut thread = MaybeUninit::uninit();
            let blocked = Blocked::all(); // the new thread inherits the mask
                                          // SAFETY: initialised attributes, room for a thread handle, and an entry point that takes over `start`,
                                          // which is not touched here after a success.
            let result = check(unsafe { create_thread(thread.as_mut_ptr(), attributes, run, start.cast()) });
            drop(blocked);
            match result {
                Err(libc::EAGAIN) if attempt < ATTEMPTS => {
                    sleep_ns(attempt * PAUSE_NS);
                    attempt += 1;
                }
                // SAFETY: pthread_create has filled it in.
                result => return result.map(|()| Thread(unsafe { thread.assume_init() })),
            }
        }
    });
    // SAFETY: initialised above, destroyed once.
    unsafe { libc::pthread_attr_destroy(attributes) };
    result
}

thread_local! {
    /// A [`RealThreads`] of the caller's lives.
    static REAL: Cell<bool> = const { Cell::new(false) };
}

/// While it lives, threads that the caller makes are kernel threads, also where a hook makes goroutines of others' threads:
/// it asks [`wants_real_thread`].
pub(crate) struct RealThreads(bool);

impl RealThreads {
    /// From now on.
    pub(crate) fn begin() -> RealThreads {
        RealThreads(REAL.replace(true))
    }
}

impl Drop for RealThreads {
    fn drop(&mut self) {
        REAL.set(self.0);
    }
}

/// Whether a thread that the caller makes must be a kernel thread, by [`RealThreads`].
pub(crate) fn wants_real_thread() -> bool {
    REAL.get()
}

/// `pthread_create` of a kernel thread.
///
/// # Safety
/// As for `pthread_create`.
pub(crate) unsafe fn create_thread(
    thread: *mut libc::pthread_t,
    attributes: *const libc::pthread_attr_t,
    entry: Entry,
    arg: *mut c_void,
) -> i32 {
    let _real = RealThreads::begin();
    // SAFETY: the caller's promise.
    unsafe { libc::pthread_create(thread, attributes, entry, arg) }
}

/// First function of a new thread. It names itself, before it does anything else.
extern "C" fn run(start: *mut c_void) -> *mut c_void {
    // SAFETY: `start` is the box that spawn_thread leaked for this thread and nobody else. It is freed by the end of the
    // statement, before `entry`, which may never return.
    let Start { name, entry, arg } = unsafe {
        let record = start.cast::<Start>().read();
        System.dealloc(start.cast(), Layout::new::<Start>());
        record
    };
    // SAFETY: the kernel reads at most 16 bytes up to a zero, which the last byte of `name` always is.
    let _ = unsafe { syscall(libc::SYS_prctl, [libc::PR_SET_NAME as usize, name.as_ptr() as usize, 0, 0, 0, 0]) };
    entry(arg)
}

/// The pthread functions return their errno.
fn check(errno: i32) -> Result<(), i32> {
    if errno == 0 {
        Ok(())
    } else {
        Err(errno)
    }
}

/// Ends the registration of the calling thread's area for restartable sequences, of `len` bytes at `area`. Nothing happens if
/// that is not what is registered. Async-signal-safe.
pub(crate) fn forget_rseq(area: usize, len: usize) {
    const RSEQ_FLAG_UNREGISTER: usize = 1;
    let args = [area, len, RSEQ_FLAG_UNREGISTER, arch::RSEQ_SIGNATURE as usize, 0, 0];
    // SAFETY: the kernel changes the area only if it is the one that it writes to already.
    let _ = unsafe { syscall(libc::SYS_rseq, args) };
}

/// Has `in_child`, which must be async-signal-safe, called in the child of each fork from now on.
pub(crate) fn at_fork(in_child: extern "C" fn()) {
    // SAFETY: a function of this library's; libc forgets it when the library goes.
    unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
}

/// What others name the calling thread by: its `pthread_t`.
pub(crate) fn thread_number() -> usize {
    // SAFETY: no preconditions.
    unsafe { libc::pthread_self() as usize }
}

/// The kernel's number of this process.
pub(crate) fn getpid() -> i32 {
    // SAFETY: no arguments; cannot fail.
    unsafe { syscall(libc::SYS_getpid, [0; 6]) }.unwrap_or(0) as i32
}

/// The kernel's number of the calling thread.
pub(crate) fn gettid() -> i32 {
    // SAFETY: no arguments; cannot fail.
    unsafe { syscall(libc::SYS_gettid, [0; 6]) }.unwrap_or(0) as i32
}

/// Lets another kernel thread run on this processor, if one is ready.
pub(crate) fn sched_yield() {
    // SAFETY: no arguments; cannot fail.
    let _ = unsafe { syscall(libc::SYS_sched_yield, [0; 6]) };
}

/// How many kernel threads this process has; `None` where `/proc` is not mounted. Async-signal-safe.
pub(crate) fn thread_count() -> Option<usize> {
    let mut buffer = [0; 1024];
    parse_thread_count(read_file(c"/proc/self/stat", &mut buffer).ok()?)
}

/// Field 20 of `/proc/pid/stat`. Field 2, the program's name in parentheses, may itself hold spaces and parentheses, so
/// the fields are counted from the last closing one.
fn parse_thread_count(stat: &[u8]) -> Option<usize> {
    let name_end = stat.iter().rposition(|&b| b == b')')?;
    let field = stat[name_end + 1..].split(|&b| b == b' ').filter(|f| !f.is_empty()).nth(20 - 3)?;
    core::str::from_utf8(field).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::super::futex::{futex_wait, futex_wake};
    use super::*;
    use core::sync::atomic::{AtomicU32, Ordering};

    struct Seen {
        done: AtomicU32,
        name: std::sync::Mutex<String>,
        threads: AtomicU32,
    }

    extern "C" fn look(arg: *mut c_void) -> *mut c_void {
        // SAFETY: the test leaked the record, so it outlives this thread.
        let seen = unsafe { &*arg.cast::<Seen>() };
        let tid = gettid();
        let name = std::fs::read_to_string(format!("/proc/self/task/{tid}/comm")).unwrap();
        *seen.name.lock().unwrap() = name;
        seen.threads.store(thread_count().unwrap() as u32, Ordering::Relaxed);
        seen.done.store(1, Ordering::Release);
        futex_wake(&seen.done, 1);
        core::ptr::null_mut()
    }

    #[test]
    fn a_thread_runs_under_its_name() {
        let seen: &'static Seen = Box::leak(Box::new(Seen {
            done: AtomicU32::new(0),
            name: std::sync::Mutex::default(),
            threads: AtomicU32::new(0),
        }));
        let thread = spawn_thread(c"a name of more than 15", 1, look, seen as *const Seen as *mut c_void).unwrap();
        while seen.done.load(Ordering::Acquire) == 0 {
            futex_wait(&seen.done, 0, None);
        }
        assert_eq!(*seen.name.lock().unwrap(), "a name of more \n");
        assert!(seen.threads.load(Ordering::Relaxed) >= 2, "this thread and that one");
        thread.join();
    }

    #[test]
    fn an_impossible_stack_is_an_error() {
        assert_eq!(spawn_thread(c"x", usize::MAX, look, core::ptr::null_mut()).err(), Some(libc::EINVAL));
        assert!(spawn_thread(c"x", 1 << 60, look, core::ptr::null_mut()).is_err());
    }

    #[test]
    fn thread_count_survives_odd_names() {
        let stat = b"7 (a) b (c d)) S 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 33 0 100 1 2 3";
        assert_eq!(parse_thread_count(stat), Some(33));
        assert_eq!(parse_thread_count(b"7 (x) S 1 7"), None);
        assert_eq!(parse_thread_count(b""), None);
    }
}
