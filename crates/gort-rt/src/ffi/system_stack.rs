//! Calls on the kernel thread's own stack: Go's `asmcgocall`.

use crate::arch;
use crate::sched;
use core::any::Any;
use core::mem::ManuallyDrop;
use core::panic::AssertUnwindSafe;
use std::panic::{catch_unwind, resume_unwind};

/// What passes between the goroutine and the function on the system stack.
struct Job<F, T> {
    f: ManuallyDrop<F>,
    result: Option<Result<T, Box<dyn Any + Send>>>,
}

/// Runs `f` on the stack (2 MiB) and thread-local storage of the kernel thread underneath, and returns what it returns. For
/// C code that needs a deep stack or that keys its state on the thread's own storage. On other threads: a plain call.
///
/// The goroutine is pinned meanwhile: `f` cannot park, std's blocking calls in it block the kernel thread (sysmon gives the
/// P to others), and it sees the thread-local variables of the kernel thread. A panic in `f` continues in the caller.
///
/// C's `longjmp` must not leave `f`: the goroutine would go on with the thread-local storage of the kernel thread, on which nothing
/// parks. It is found out when the goroutine's closure returns, and the process aborts.
///
/// `f` must be Send because it runs on what is, to Rust, another thread.
pub fn on_system_stack<F, T>(f: F) -> T
where
    F: FnOnce() -> T + Send,
    T: Send,
{
    let Some(g) = sched::parkable() else { return f() };
    // SAFETY: the M of a running goroutine is set; it cannot change before we come back, since nothing on g0 switches.
    let m = unsafe { &*g.m.get() };
    let mut job = Job { f: ManuallyDrop::new(f), result: None };
    // g0 is suspended just below its saved stack pointer, so all that lies below is free. The ABI's red zone is not in use,
    // because g0 was left by a call.
    let sp = (m.g0.sp.get() as usize & !15) as *mut u8;
    // SAFETY: see above for the stack; the base is the thread's own, and only this M runs on it; `run` catches panics.
    unsafe { arch::call_on_stack(run::<F, T>, (&raw mut job).cast(), sp, m.g0.tp.get()) };
    match job.result.expect("the job has run") {
        Ok(value) => value,
        Err(payload) => resume_unwind(payload),
    }
}

/// On the system stack.
unsafe extern "C" fn run<F, T>(job: *mut u8)
where
    F: FnOnce() -> T,
{
    // SAFETY: `on_system_stack` passes a Job of these types, which outlives the call, and `f` is taken once.
    unsafe {
        let job = &mut *job.cast::<Job<F, T>>();
        let f = ManuallyDrop::take(&mut job.f);
        job.result = Some(catch_unwind(AssertUnwindSafe(f)));
    }
}
