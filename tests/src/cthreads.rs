//! Threads, frames and fibers of a C program, for closures: safe covers of `c/cthreads.h`.
//!
//! Nothing here enters the runtime. A closure that runs on a [`CThread`] is on a thread without an M until it uses
//! `gort::ffi::callback` or a function with `#[gort::callback]`.

use crate::system::Handle;
pub use crate::system::{thread_exists, tid};
use std::ffi::c_void;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::panic::{catch_unwind, resume_unwind, AssertUnwindSafe};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A C function with one argument.
pub type Fn1 = unsafe extern "C" fn(*mut c_void);
/// A C function that is called with a context and a number.
pub type EachFn = unsafe extern "C" fn(*mut c_void, u64) -> i64;

extern "C" {
    fn ct_start(thread: *mut Handle, stack: usize, f: Fn1, arg: *mut c_void) -> i32;
    fn ct_join(thread: Handle) -> i32;
    fn ct_crowd(threads: u32, f: EachFn, arg: *mut c_void, calls: u64) -> i64;
    fn ct_each(f: EachFn, arg: *mut c_void, calls: u64) -> i64;
    fn ct_through(f: Fn1, arg: *mut c_void) -> i32;
    fn ct_at_depth(bytes: usize, f: Fn1, arg: *mut c_void);
    fn ct_rounding(mode: i32, f: Fn1, arg: *mut c_void) -> i32;
    static ct_rounding_modes: [i32; 4];
    fn ct_deep(bytes: usize) -> usize;
    fn ct_block_then(us: u32, f: Fn1, arg: *mut c_void);
    fn ct_fiber_new(stack: *mut c_void, size: usize, f: Fn1, arg: *mut c_void) -> *mut c_void;
    fn ct_fiber_run(fiber: *mut c_void) -> i32;
    fn ct_fiber_leave(fiber: *mut c_void);
    fn ct_fiber_free(fiber: *mut c_void);
    fn ct_at_exit(f: Option<unsafe extern "C" fn()>);
}

type Boxed = Box<dyn FnOnce() + Send>;

/// Runs a `Boxed` behind a thin pointer.
unsafe extern "C" fn run_boxed(arg: *mut c_void) {
    // SAFETY: `CThread::sized` leaked one and starts one thread with it.
    (*unsafe { Box::from_raw(arg.cast::<Boxed>()) })();
}

/// A thread made by C.
pub struct CThread<T> {
    thread: Handle,
    result: Arc<Mutex<Option<std::thread::Result<T>>>>,
}

impl<T: Send + 'static> CThread<T> {
    /// A thread that runs `f`.
    pub fn spawn(f: impl FnOnce() -> T + Send + 'static) -> CThread<T> {
        CThread::sized(0, f)
    }

    /// A thread with that many bytes of stack (0: the default) that runs `f`.
    pub fn sized(stack: usize, f: impl FnOnce() -> T + Send + 'static) -> CThread<T> {
        let result = Arc::new(Mutex::new(None));
        let theirs = result.clone();
        let body: Boxed = Box::new(move || {
            let value = catch_unwind(AssertUnwindSafe(f));
            *theirs.lock().expect("no panic holds it") = Some(value);
        });
        let mut thread = 0;
        let arg = Box::into_raw(Box::new(body));
        // SAFETY: `thread` is ours to write; `run_boxed` takes the box.
        let error = unsafe { ct_start(&raw mut thread, stack, run_boxed, arg.cast()) };
        assert_eq!(error, 0, "no thread");
        CThread { thread, result }
    }

    /// What C knows the thread by.
    pub fn number(&self) -> Handle {
        self.thread
    }

    /// Waits until the thread has ended, its key destructors included. A panic of its closure goes on here.
    pub fn join(self) -> T {
        // SAFETY: the thread was made joinable and is joined once.
        assert_eq!(unsafe { ct_join(self.thread) }, 0);
        let result = self.result.lock().expect("no panic holds it").take();
        result.expect("the thread ran to its end").unwrap_or_else(|payload| resume_unwind(payload))
    }
}

/// A closure on the way through C, and what became of it.
struct Passing<F, T> {
    f: ManuallyDrop<F>,
    result: Option<std::thread::Result<T>>,
}

unsafe extern "C" fn arrive<F: FnOnce() -> T, T>(arg: *mut c_void) {
    // SAFETY: `pass` hands over its own `Passing`, and C calls once.
    unsafe {
        let passing = &mut *arg.cast::<Passing<F, T>>();
        let f = ManuallyDrop::take(&mut passing.f);
        passing.result = Some(catch_unwind(AssertUnwindSafe(f)));
    }
}

/// Has `via` call `f` by a C function pointer; a panic of `f` goes around the C frames.
fn pass<F: FnOnce() -> T, T>(f: F, via: impl FnOnce(Fn1, *mut c_void)) -> T {
    let mut passing = Passing { f: ManuallyDrop::new(f), result: None };
    via(arrive::<F, T>, (&raw mut passing).cast());
    passing.result.expect("C has called").unwrap_or_else(|payload| resume_unwind(payload))
}

/// Calls `f` from a C frame, and checks that all the frame holds is as before: memory, registers, errno's address,
/// thread-local storage, the rounding mode.
pub fn through_c<T>(f: impl FnOnce() -> T) -> T {
    let mut wrong = -1;
    // SAFETY: `pass` gives a function and its argument.
    let value = pass(f, |f, arg| wrong = unsafe { ct_through(f, arg) });
    assert_eq!(wrong, 0, "the C frame was spoilt (bits as in cthreads.h)");
    value
}

/// Calls `f` from a C frame of that many bytes.
pub fn at_depth<T>(bytes: usize, f: impl FnOnce() -> T) -> T {
    // SAFETY: `pass` gives a function and its argument; the callers choose sizes that their stacks have.
    pass(f, |f, arg| unsafe { ct_at_depth(bytes, f, arg) })
}

/// The numbers of C's rounding modes: to nearest, down, up, towards zero.
pub fn rounding_modes() -> [i32; 4] {
    // SAFETY: a constant of that type.
    unsafe { ct_rounding_modes }
}

/// Calls `f` from C under that rounding mode (`FE_TONEAREST` and so on), and checks that it is in force afterwards.
pub fn with_rounding<T>(mode: i32, f: impl FnOnce() -> T) -> T {
    let mut same = 0;
    // SAFETY: `pass` gives a function and its argument.
    let value = pass(f, |f, arg| same = unsafe { ct_rounding(mode, f, arg) });
    assert_eq!(same, 1, "rounding mode {mode:#x} was lost");
    value
}

/// Blocks the kernel thread in C for that many microseconds, then calls `f` from there.
pub fn block_then<T>(us: u32, f: impl FnOnce() -> T) -> T {
    // SAFETY: `pass` gives a function and its argument.
    pass(f, |f, arg| unsafe { ct_block_then(us, f, arg) })
}

/// Uses that many bytes of stack in C. Returns how many of them, rounded up to frames of 64 KiB, held what was written.
pub fn use_stack(bytes: usize) -> usize {
    // SAFETY: the callers choose sizes that their stacks have, or mean to overflow.
    unsafe { ct_deep(bytes) }
}

/// Starts `threads` C threads at once, has each call `f(arg, 0)` to `f(arg, calls - 1)`, joins them, and adds up what
/// `f` returned.
pub fn crowd<A: Sync>(threads: u32, f: EachFn, arg: &A, calls: u64) -> i64 {
    // SAFETY: the callers' `f` takes an `A`, which outlives the threads.
    let sum = unsafe { ct_crowd(threads, f, std::ptr::from_ref(arg).cast_mut().cast(), calls) };
    assert_ne!(sum, -1, "the threads could not be made");
    sum
}

/// Calls `f(arg, 0)` to `f(arg, calls - 1)` from C on this thread, and adds up what it returned.
pub fn each<A>(f: EachFn, arg: &A, calls: u64) -> i64 {
    // SAFETY: the callers' `f` takes an `A`.
    unsafe { ct_each(f, std::ptr::from_ref(arg).cast_mut().cast(), calls) }
}

/// Has C call `f` when the process exits, from a destructor of the program.
pub fn at_exit(f: unsafe extern "C" fn()) {
    // SAFETY: `f` is a function of this program.
    unsafe { ct_at_exit(Some(f)) }
}

/// What a fiber's body uses to go back to whoever runs it.
#[derive(Clone, Copy)]
pub struct Leave(*mut c_void);

impl Leave {
    /// Goes back; returns when the fiber is run again.
    pub fn leave(self) {
        // SAFETY: a `Leave` is given to the fiber's own body only.
        unsafe { ct_fiber_leave(self.0) }
    }
}

struct FiberBody<'a> {
    f: Box<dyn FnMut(Leave) + 'a>,
    fiber: *mut c_void,
    panicked: Option<Box<dyn std::any::Any + Send>>,
}

unsafe extern "C" fn fiber_body(arg: *mut c_void) {
    // SAFETY: `Fiber::new` passes the body, which the fiber owns.
    let body = unsafe { &mut *arg.cast::<FiberBody<'_>>() };
    let leave = Leave(body.fiber);
    body.panicked = catch_unwind(AssertUnwindSafe(|| (body.f)(leave))).err();
}

/// A fiber of the host (`ucontext`, or one of Windows').
pub struct Fiber<'a> {
    body: Box<FiberBody<'a>>,
    stack: PhantomData<&'a mut [u8]>,
}

impl<'a> Fiber<'a> {
    /// A fiber that runs `f` on the `size` bytes at `stack`.
    ///
    /// # Safety
    /// Nobody else uses that memory while the fiber has begun and not ended.
    pub unsafe fn new(stack: *mut u8, size: usize, f: impl FnMut(Leave) + 'a) -> Fiber<'a> {
        let mut body = Box::new(FiberBody { f: Box::new(f), fiber: std::ptr::null_mut(), panicked: None });
        let arg = (&raw mut *body).cast();
        // SAFETY: the caller vouches for the stack; the body's address does not change.
        body.fiber = unsafe { ct_fiber_new(stack.cast(), size, fiber_body, arg) };
        assert!(!body.fiber.is_null());
        Fiber { body, stack: PhantomData }
    }

    /// Runs the fiber until it leaves (false) or ends (true). A panic that ended it goes on here.
    pub fn run(&mut self) -> bool {
        // SAFETY: the fiber lives; callers do not run it from within itself.
        let ended = unsafe { ct_fiber_run(self.body.fiber) } != 0;
        match self.body.panicked.take() {
            Some(payload) => resume_unwind(payload),
            None => ended,
        }
    }
}

impl Drop for Fiber<'_> {
    fn drop(&mut self) {
        // SAFETY: made by `new`, freed once.
        unsafe { ct_fiber_free(self.body.fiber) }
    }
}

/// Waits, giving the processor away, until `done` says true.
///
/// # Panics
/// That takes more than half a minute.
pub fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !done() {
        assert!(Instant::now() < end, "still not so: {what}");
        std::thread::yield_now();
    }
}
