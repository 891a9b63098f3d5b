//! Ways by which C leaves frames without a return, for closures: covers of `c/jumps.h` and `c/throws.cpp`.

use crate::cthreads::Fn1;
use std::cell::Cell;
use std::ffi::c_void;

type LevelFn = unsafe extern "C" fn(*mut c_void, i32) -> i32;

extern "C" {
    fn jp_within(depth: i32, rounds: i32, f: Fn1, arg: *mut c_void) -> i32;
    fn jp_within_fortified(depth: i32, rounds: i32, f: Fn1, arg: *mut c_void) -> i32;
    fn jp_from_handler(rounds: i32, f: Fn1, arg: *mut c_void) -> i32;
    fn jp_over(times: i32, room: usize, f: Fn1, arg: *mut c_void) -> i32;
    fn jp_elsewhere(f: Fn1, arg: *mut c_void) -> i32;
    fn ex_cancel(requested: i32, at_once: i32, cleaned: *mut i32, f: Fn1, arg: *mut c_void) -> i32;
    fn ex_point(unused: *mut c_void);
    fn er_kept(number: i32, f: Fn1, arg: *mut c_void) -> i32;
    fn er_level(f: LevelFn, arg: *mut c_void, levels: i32) -> i32;
    fn th_rethrow(id: i64, f: Fn1, arg: *mut c_void) -> i64;
}

// These unwind, or jump, where `extern "C"` may not.
extern "C-unwind" {
    fn jp_over_now();
    fn jp_elsewhere_now();
    fn ex_after(depth: i32, cleaned: *mut i32, f: Fn1, arg: *mut c_void);
    fn ex_now(value: *mut c_void);
    fn th_throw(id: i64);
    fn th_catch(f: unsafe extern "C-unwind" fn(*mut c_void), arg: *mut c_void) -> i64;
}

/// Calls the closure at `arg`, which may be called any number of times.
unsafe extern "C" fn call<F: Fn()>(arg: *mut c_void) {
    // SAFETY: the covers below pass a closure of this type that outlives the call.
    unsafe { (*arg.cast::<F>())() }
}

/// As [`call`], for closures that let exceptions of C++ through.
unsafe extern "C-unwind" fn call_unwinding<F: Fn()>(arg: *mut c_void) {
    // SAFETY: as above.
    unsafe { (*arg.cast::<F>())() }
}

/// A pointer to a closure, for [`call`].
fn at<F>(f: &F) -> *mut c_void {
    std::ptr::from_ref(f).cast_mut().cast()
}

/// Has C go `depth` frames down, call `f` there and come back by `longjmp`, `rounds` times, and checks that the frame
/// it came back to was as before. `fortified`: as a compiler makes it that checks where it jumps to.
pub fn within<F: Fn()>(fortified: bool, depth: i32, rounds: i32, f: F) {
    let within = if fortified { jp_within_fortified } else { jp_within };
    // SAFETY: the function fits its argument, and nothing of Rust's lies between the frames that are jumped over.
    assert_eq!(unsafe { within(depth, rounds, call::<F>, at(&f)) }, rounds, "what C had before the jump");
}

/// Has C call `f`, then raise SIGUSR2 and come back from the handler by `siglongjmp`, `rounds` times.
pub fn from_handler<F: Fn()>(rounds: i32, f: F) {
    // SAFETY: as in `within`.
    assert_eq!(unsafe { jp_from_handler(rounds, call::<F>, at(&f)) }, rounds);
}

/// Has C call `f` so many times, `room` bytes further down the stack, from a frame that [`over_now`] jumps to.
pub fn over<F: Fn()>(times: i32, room: usize, f: F) -> i32 {
    // SAFETY: the function fits its argument.
    unsafe { jp_over(times, room, call::<F>, at(&f)) }
}

/// Has C jump to the innermost frame of [`over`].
///
/// # Safety
/// Undefined where frames of Rust lie between: for a process that is meant to die of that.
pub unsafe fn over_now() -> ! {
    // SAFETY: the caller's promise.
    unsafe { jp_over_now() };
    unreachable!("it does not return")
}

/// Has C call `f`. True: it came back by [`elsewhere_now`], which may be called under another identity. One at a time.
pub fn elsewhere<F: Fn()>(f: F) -> bool {
    // SAFETY: the function fits its argument.
    unsafe { jp_elsewhere(call::<F>, at(&f)) == 1 }
}

/// Has C jump to the frame of [`elsewhere`].
///
/// # Safety
/// As for [`over_now`].
pub unsafe fn elsewhere_now() -> ! {
    // SAFETY: the caller's promise.
    unsafe { jp_elsewhere_now() };
    unreachable!("it does not return")
}

/// Has C call `f` below so many frames, each with a cleanup handler that counts, and then end the thread by `pthread_exit`.
///
/// # Safety
/// The callers' frames have nothing to drop, and catch no panic: they are unwound.
pub unsafe fn exit_after<F: Fn()>(depth: i32, cleaned: *mut i32, f: &F) {
    // SAFETY: the function fits its argument; the rest is the caller's promise.
    unsafe { ex_after(depth, cleaned, call::<F>, at(f)) }
}

/// C's `pthread_exit`.
///
/// # Safety
/// As for [`exit_after`], or for a process that is meant to die of it.
pub unsafe fn exit_now() -> ! {
    // SAFETY: the caller's promise.
    unsafe { ex_now(std::ptr::null_mut()) };
    unreachable!("it does not return")
}

/// A thread that C makes calls `f`, and comes to cancellation points then, for ever; waits for its end. `requested`: it
/// has requested its own cancellation before it calls `f`; otherwise `f` sees to that. `at_once`: requests are acted on
/// at any instruction. Returns whether it was cancelled, and whether its cleanup handler has run.
pub fn cancelled<F: Fn()>(requested: bool, at_once: bool, f: F) -> (bool, bool) {
    let mut cleaned = 0;
    // SAFETY: the function fits its argument; both outlive the thread.
    let how = unsafe { ex_cancel(requested.into(), at_once.into(), &raw mut cleaned, call::<F>, at(&f)) };
    assert_ne!(how, -1, "pthread_create");
    (how == 1, cleaned == 1)
}

/// A cancellation point of C.
pub fn cancellation_point() {
    // SAFETY: it sleeps for a moment.
    unsafe { ex_point(std::ptr::null_mut()) }
}

/// Has C store numbers in its frame, in a thread-local variable and in errno, and call `f`; checks that they are as before.
pub fn kept<F: Fn()>(number: i32, f: F) {
    // SAFETY: the function fits its argument.
    let kept = unsafe { er_kept(number, call::<F>, at(&f)) };
    assert_eq!(kept, 0, "1: the frame, 2: the variable, 4: errno, 8: its address");
}

/// Goes `levels` times from C to a callback to C, calls `f` with the number of levels left in each, and returns how
/// many frames of C were as before on the way back.
pub fn levels<F: Fn(i32)>(levels: i32, f: F) -> i32 {
    unsafe extern "C" fn level<F: Fn(i32)>(arg: *mut c_void, left: i32) -> i32 {
        gort::ffi::callback(|| {
            // SAFETY: `levels` passes a closure of this type that outlives the call.
            unsafe { (*arg.cast::<F>())(left) };
            if left == 0 {
                return 0;
            }
            // SAFETY: the same function and argument.
            unsafe { er_level(level::<F>, arg, left - 1) }
        })
    }
    // SAFETY: the function fits its argument.
    unsafe { er_level(level::<F>, at(&f), levels - 1) }
}

/// Has C++ throw and catch, throw on and catch again, with calls of `f` while exceptions are being handled, and checks
/// what arrives.
pub fn rethrow<F: Fn()>(id: i64, f: F) {
    // SAFETY: the function fits its argument, and no exception leaves C++.
    assert_eq!(unsafe { th_rethrow(id, call::<F>, at(&f)) }, id);
}

/// Has C++ throw.
///
/// # Safety
/// The callers up to a handler let exceptions through, or the process is meant to die.
pub unsafe fn throw(id: i64) -> ! {
    // SAFETY: the caller's promise.
    unsafe { th_throw(id) };
    unreachable!("it does not return")
}

/// Has C++ call `f` with a handler ready. Returns the number of the exception that it caught, or 0.
///
/// # Safety
/// What lies between lets exceptions through, or the process is meant to die.
pub unsafe fn catch<F: Fn()>(f: F) -> i64 {
    // SAFETY: the function fits its argument; the rest is the caller's promise.
    unsafe { th_catch(call_unwinding::<F>, at(&f)) }
}

/// Counts calls.
#[derive(Default)]
pub struct Calls(Cell<u32>);

impl Calls {
    /// One more.
    pub fn count(&self) {
        self.0.set(self.0.get() + 1);
    }

    /// How many.
    pub fn get(&self) -> u32 {
        self.0.get()
    }
}
