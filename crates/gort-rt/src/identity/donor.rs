//! Threads that glibc makes on memory of ours.
//!
//! A *model* is an ordinary thread on a stack of ours that holds still while its block is copied, then ends and is joined.
//! Nothing of it remains. Models show how glibc fills a block in.
//!
//! A *donor* is a thread that leaves its block behind: its start routine goes by the raw `exit` system call, so that none
//! of glibc's exit code runs. For glibc the thread lives on, chained in its list of threads with a stack of the user's;
//! to the kernel it is gone. When the kernel has finished with it, it clears the word given to `set_tid_address` and wakes
//! whoever waits there: from then on the stack is ours alone.
//!
//! All signals are blocked while either is created, and it inherits the mask, so no handler of the program runs on it.
//! The start routines use no libc function and no thread-local variable: what they leave in the block is glibc's own.

use core::ffi::c_void;
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use rustix::thread::futex;

use super::glibc::Glibc;
use super::recipe::Snapshot;
use super::Error;
use crate::arch;

/// What creator and thread tell each other. Lives on the creator's stack until the thread is done with it.
struct Meeting {
    stage: AtomicU32,
    tid: AtomicU32,
    tp: AtomicUsize,
}

/// The thread runs; a donor keeps this until the kernel zeroes the word.
const RUNNING: u32 = 1;
/// A model has stored what it knows and waits.
const READY: u32 = 2;
/// A model may end.
const LEAVE: u32 = 3;
/// What the kernel leaves in the word when a donor is gone.
const GONE: u32 = 0;

impl Meeting {
    fn new() -> Meeting {
        Meeting { stage: AtomicU32::new(RUNNING), tid: AtomicU32::new(0), tp: AtomicUsize::new(0) }
    }

    /// Waits until the stage is `wanted`. Not a private futex: the kernel's wake at a thread's end is not one either.
    fn wait_for(&self, wanted: u32) {
        loop {
            let now = self.stage.load(Ordering::Acquire);
            if now == wanted {
                return;
            }
            let _ = futex::wait(&self.stage, futex::Flags::empty(), now, None);
        }
    }

    fn advance(&self, stage: u32) {
        self.stage.store(stage, Ordering::Release);
        let _ = futex::wake(&self.stage, futex::Flags::empty(), 1);
    }

    fn introduce(&self) {
        self.tid.store(rustix::thread::gettid().as_raw_nonzero().get().cast_unsigned(), Ordering::Relaxed);
        self.tp.store(arch::thread_pointer(), Ordering::Relaxed);
    }
}

/// A running model thread; [`Model::finish`] must be called.
pub(super) struct Model {
    thread: libc::pthread_t,
    meeting: Box<Meeting>,
    lo: usize,
    hi: usize,
}

impl Model {
    /// Starts a thread on the stack `[lo, hi)` and waits until it holds still.
    ///
    /// # Safety
    /// The memory is readable, writable, zero and unused, and stays so until `finish`.
    pub(super) unsafe fn start(lo: *mut u8, hi: *mut u8) -> Result<Model, Error> {
        let meeting = Box::new(Meeting::new());
        let arg = (&raw const *meeting).cast_mut().cast();
        // SAFETY: the caller lends the stack; `meeting` lives until the thread is joined.
        let thread = unsafe { create(lo, hi, model_main, arg)? };
        meeting.wait_for(READY);
        Ok(Model { thread, meeting, lo: lo as usize, hi: hi as usize })
    }

    /// Copies the thread's block. Words that lead back to this file are known to the snapshot.
    pub(super) fn snapshot(&self, glibc: &Glibc) -> Snapshot {
        let tp = self.meeting.tp.load(Ordering::Relaxed);
        let tid = self.meeting.tid.load(Ordering::Relaxed);
        // SAFETY: the thread waits in a system call and `tp` is its own thread pointer, so the block is complete; only
        // the kernel may write a word of it meanwhile, and the copy is volatile.
        let mut snapshot = unsafe { Snapshot::take(glibc, tp, self.lo, self.hi, tid) };
        snapshot.start_words = [model_main as *const () as u64, (&raw const *self.meeting) as u64];
        snapshot
    }

    /// Lets the thread end and waits for it.
    pub(super) fn finish(self) {
        self.meeting.advance(LEAVE);
        // SAFETY: the thread was created joinable and nobody else has joined it.
        unsafe { libc::pthread_join(self.thread, core::ptr::null_mut()) };
    }
}

/// Has glibc build a block at the top of `[lo, hi)` and sends the kernel thread away. Returns the thread pointer.
///
/// # Safety
/// The memory is readable, writable and unused. glibc keeps a link to the block for ever: it must never be unmapped or
/// cleared afterwards.
pub(super) unsafe fn donate(lo: *mut u8, hi: *mut u8) -> Result<(usize, u32), Error> {
    let meeting = Meeting::new();
    let arg = (&raw const meeting).cast_mut().cast();
    // SAFETY: the caller lends the stack; we stay here until the thread is gone, so `meeting` outlives it. The kernel's
    // wake-up may come after the store that releases us, but it only uses the address as a key.
    unsafe { create(lo, hi, donor_main, arg)? };
    meeting.wait_for(GONE);
    Ok((meeting.tp.load(Ordering::Relaxed), meeting.tid.load(Ordering::Relaxed)))
}

extern "C" fn model_main(arg: *mut c_void) -> *mut c_void {
    // SAFETY: the creator passed a meeting and waits for our end before it frees it.
    let meeting = unsafe { &*arg.cast::<Meeting>() };
    meeting.introduce();
    meeting.advance(READY);
    meeting.wait_for(LEAVE);
    core::ptr::null_mut()
}

extern "C" fn donor_main(arg: *mut c_void) -> *mut c_void {
    // SAFETY: the creator passed a meeting and stays until the kernel says that we are gone.
    let meeting = unsafe { &*arg.cast::<Meeting>() };
    meeting.introduce();
    // SAFETY: the thread owns nothing, and the meeting's word is alive until it is cleared.
    unsafe { vanish(meeting.stage.as_ptr()) }
}

/// Ends the kernel thread without any code of libc; the kernel then zeroes `word` and wakes a waiter on it.
///
/// # Safety
/// Nothing may depend on the thread's normal end. `word` stays valid until it is zero.
unsafe fn vanish(word: *mut u32) -> ! {
    // SAFETY: set_tid_address has no other effect than to choose the word, and exit (of this thread only) does not
    // return; nothing on the stack needs dropping, and the stack is left alone once the word is zero.
    unsafe {
        arch::system_call(libc::SYS_set_tid_address, [word as usize, 0, 0, 0, 0, 0]);
        arch::system_call(libc::SYS_exit, [0; 6]);
    }
    unreachable!("a thread that has left goes on")
}

/// `pthread_create` on a given stack, with all signals blocked.
///
/// # Safety
/// The stack is unused and `arg` is what `main` expects.
unsafe fn create(
    lo: *mut u8,
    hi: *mut u8,
    main: extern "C" fn(*mut c_void) -> *mut c_void,
    arg: *mut c_void,
) -> Result<libc::pthread_t, Error> {
    let mut attr = MaybeUninit::<libc::pthread_attr_t>::uninit();
    let mut all = MaybeUninit::<libc::sigset_t>::uninit();
    let mut old = MaybeUninit::<libc::sigset_t>::uninit();
    let mut thread = 0;
    // SAFETY: each object is initialised by the call that takes it first; the stack is the caller's to lend.
    let code = unsafe {
        libc::pthread_attr_init(attr.as_mut_ptr());
        let mut code = libc::pthread_attr_setstack(attr.as_mut_ptr(), lo.cast(), hi as usize - lo as usize);
        if code == 0 {
            libc::sigfillset(all.as_mut_ptr());
            libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), old.as_mut_ptr());
            code = crate::os::create_thread(&mut thread, attr.as_ptr(), main, arg);
            libc::pthread_sigmask(libc::SIG_SETMASK, old.as_ptr(), core::ptr::null_mut());
        }
        libc::pthread_attr_destroy(attr.as_mut_ptr());
        code
    };
    if code == 0 {
        Ok(thread)
    } else {
        Err(Error::Os("pthread_create", code))
    }
}
