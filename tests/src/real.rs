//! Kernel threads where threads are goroutines.

use std::ffi::c_void;
use std::mem::MaybeUninit;
use std::panic::{catch_unwind, resume_unwind, AssertUnwindSafe};
use std::ptr;

/// What passes to the thread and back.
struct Passing<F, T> {
    f: Option<F>,
    result: Option<std::thread::Result<T>>,
}

extern "C" fn arrive<F: FnOnce() -> T, T>(arg: *mut c_void) -> *mut c_void {
    // SAFETY: `on_real_thread` passes its own `Passing`, and waits for the end of this thread.
    let passing = unsafe { &mut *arg.cast::<Passing<F, T>>() };
    let f = passing.f.take().expect("called once");
    passing.result = Some(catch_unwind(AssertUnwindSafe(f)));
    arg
}

/// A thread that runs `start(arg)`: a kernel thread, because it asks for the CPUs that it may use anyway.
///
/// # Safety
/// `start` may be called with `arg` on another thread.
pub unsafe fn create(start: extern "C" fn(*mut c_void) -> *mut c_void, arg: *mut c_void) -> libc::pthread_t {
    let mut attr = MaybeUninit::<libc::pthread_attr_t>::uninit();
    let mut cpus = MaybeUninit::<libc::cpu_set_t>::zeroed();
    let mut thread = 0;
    let size = size_of_val(&cpus);
    // SAFETY: the objects live and are initialised before they are used; the caller vouches for the start routine.
    let code = unsafe {
        libc::pthread_attr_init(attr.as_mut_ptr());
        libc::sched_getaffinity(0, size, cpus.as_mut_ptr());
        libc::pthread_attr_setaffinity_np(attr.as_mut_ptr(), size, cpus.as_ptr());
        let code = libc::pthread_create(&raw mut thread, attr.as_ptr(), start, arg);
        libc::pthread_attr_destroy(attr.as_mut_ptr());
        code
    };
    assert_eq!(code, 0, "pthread_create");
    thread
}

/// Runs `f` on a kernel thread, and passes its result or its panic on.
pub fn on_real_thread<T: Send>(f: impl FnOnce() -> T + Send) -> T {
    fn run<F: FnOnce() -> T, T>(f: F) -> std::thread::Result<T> {
        let mut passing = Passing { f: Some(f), result: None };
        // SAFETY: `arrive` takes such an argument, which outlives the thread.
        unsafe {
            let thread = create(arrive::<F, T>, (&raw mut passing).cast());
            assert_eq!(libc::pthread_join(thread, ptr::null_mut()), 0);
        }
        passing.result.expect("the thread ran to its end")
    }
    run(f).unwrap_or_else(|payload| resume_unwind(payload))
}
