//! Signals as a host program uses them: handlers of its own, on stacks of its own.

use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::OnceLock;

/// How often [`counts`] and [`notes_where`] ran.
static HANDLED: AtomicUsize = AtomicUsize::new(0);
/// Who is woken by [`counts`].
static LISTENER: OnceLock<gort::thread::Thread> = OnceLock::new();
/// Where [`notes_where`] ran last.
static WHERE: AtomicUsize = AtomicUsize::new(0);

/// How many signals have been handled in this process.
pub fn handled() -> usize {
    HANDLED.load(SeqCst)
}

/// From now on [`counts`] wakes that goroutine.
///
/// # Panics
/// There is one already.
pub fn listen(listener: gort::thread::Thread) {
    LISTENER.set(listener).expect("one listener a process");
}

/// Runs `f` in a handler, and leaves errno as it was.
pub fn keeping_errno(f: impl FnOnce()) {
    let errno = errno();
    f();
    set_errno(errno);
}

/// The calling thread's or goroutine's errno.
pub fn errno() -> i32 {
    // SAFETY: errno's address is the caller's own.
    unsafe { *libc::__errno_location() }
}

/// Sets errno.
pub fn set_errno(errno: i32) {
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = errno }
}

/// A handler: counts, and wakes the listener.
pub extern "C" fn counts(_signal: i32) {
    keeping_errno(|| {
        HANDLED.fetch_add(1, SeqCst);
        if let Some(listener) = LISTENER.get() {
            listener.unpark();
        }
    });
}

/// A handler: counts, and notes on which stack it is.
pub extern "C" fn notes_where(_signal: i32) {
    let local = 0u8;
    WHERE.store(std::hint::black_box(&raw const local) as usize, SeqCst);
    HANDLED.fetch_add(1, SeqCst);
}

/// Has `signal` handled by `handler`, with those flags (`SA_ONSTACK` and the like).
///
/// # Panics
/// There is no such signal.
pub fn install(signal: i32, handler: extern "C" fn(i32), flags: i32) {
    // SAFETY: the handlers of tests make calls that are safe in handlers; zero is a valid action but for them.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as *const () as usize;
        action.sa_flags = flags;
        assert_eq!(libc::sigaction(signal, &raw const action, ptr::null_mut()), 0);
    }
}

/// Sends a signal to a kernel thread of this process; false if it is gone.
pub fn send(tid: i32, signal: i32) -> bool {
    // SAFETY: no memory is involved.
    unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), tid, signal) == 0 }
}

/// Sends a signal to the calling kernel thread; it has been handled when this returns.
///
/// # Panics
/// There is no such signal.
pub fn raise(signal: i32) {
    // SAFETY: no memory is involved.
    let tid = unsafe { libc::gettid() };
    assert!(send(tid, signal));
}

/// The calling kernel thread's alternate signal stack: where it begins, its size, its flags.
///
/// # Panics
/// The kernel does not tell.
pub fn alternate_stack() -> (usize, usize, i32) {
    // SAFETY: zero is a valid record, which the call fills in; nothing is changed.
    unsafe {
        let mut stack: libc::stack_t = std::mem::zeroed();
        assert_eq!(libc::sigaltstack(ptr::null(), &raw mut stack), 0);
        // Where it is disabled the other fields mean nothing.
        let on = stack.ss_flags & libc::SS_DISABLE == 0;
        if on {
            (stack.ss_sp as usize, stack.ss_size, stack.ss_flags)
        } else {
            (0, 0, stack.ss_flags)
        }
    }
}

/// Memory for an alternate signal stack. It is never given back.
#[derive(Clone, Copy)]
pub struct Alternate(usize);

impl Alternate {
    const SIZE: usize = 64 << 10;

    /// A new one, which no thread uses.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Alternate {
        let rights = libc::PROT_READ | libc::PROT_WRITE;
        let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: new memory, of no concern to anybody.
        let memory = unsafe { libc::mmap(ptr::null_mut(), Self::SIZE, rights, kind, -1, 0) };
        assert_ne!(memory, libc::MAP_FAILED);
        Alternate(memory as usize)
    }

    /// The calling kernel thread takes its signals there from now on. Returns what [`alternate_stack`] said before, for
    /// [`put_back`].
    pub fn take(self) -> (usize, usize, i32) {
        let before = alternate_stack();
        put_back((self.0, Self::SIZE, 0));
        before
    }

    /// Whether [`notes_where`] ran there last.
    pub fn was_used(self) -> bool {
        (self.0..self.0 + Self::SIZE).contains(&WHERE.load(SeqCst))
    }

    /// The memory can be neither read nor written from now on.
    pub fn forbid(self) {
        // SAFETY: the memory is ours, and no thread uses it any more.
        assert_eq!(unsafe { libc::mprotect(self.0 as *mut _, Self::SIZE, libc::PROT_NONE) }, 0);
    }
}

/// Sets the calling kernel thread's alternate signal stack: a value of [`alternate_stack`].
///
/// # Panics
/// The thread is on it.
pub fn put_back((begin, size, flags): (usize, usize, i32)) {
    let stack = libc::stack_t { ss_sp: begin as *mut _, ss_size: size, ss_flags: flags };
    // SAFETY: memory for signals, of a test's or of the runtime's, that lives as long as the thread.
    assert_eq!(unsafe { libc::sigaltstack(&raw const stack, ptr::null_mut()) }, 0);
}
