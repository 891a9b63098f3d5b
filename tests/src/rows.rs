//! Safe covers of `c/rows.h`: what C does in scenarios about callbacks and threads.

use crate::cthreads::{through_c, CThread, Fn1};
use gort::ffi::{self, unlock_os_thread};
use gort::thread;
use std::ffi::{c_char, c_int, c_long, c_uint, c_void};
use std::panic::catch_unwind;

/// A C function that is handed a text.
pub type TextFn = unsafe extern "C" fn(*mut c_void, *const c_char) -> c_long;
type StartFn = unsafe extern "C" fn(*mut c_void, c_uint);

unsafe extern "C" {
    fn rw_plain(f: unsafe extern "C" fn());
    fn rw_after(f: Fn1, arg: *mut c_void, value: c_long) -> c_long;
    fn rw_texts(f: TextFn, arg: *mut c_void) -> c_long;
    safe fn rw_set(value: c_int);
    safe fn rw_get() -> c_int;
    fn rw_glider(life: *mut Life);
    fn rw_row(life: *mut Life, y: c_uint);
    fn rw_generation(life: *mut Life, start: StartFn, wait: Fn1, arg: *mut c_void);
    fn rw_print(life: *const Life, text: *mut c_char);
    fn rw_cancelled(f: Fn1, arg: *mut c_void) -> c_int;
    fn rw_pattern(f: Fn1, arg: *mut c_void) -> c_int;
}

/// Runs the closure behind a pointer to an `Option` of it, which it takes.
unsafe extern "C" fn take_and_run<F: FnOnce()>(arg: *mut c_void) {
    // SAFETY: the functions below pass their own closure, which lives until C returns.
    let f = unsafe { &mut *arg.cast::<Option<F>>() };
    f.take().expect("C calls once")();
}

/// Hands `f` over to `via` as a C function with its argument.
fn as_c<F: FnOnce(), T>(f: F, via: impl FnOnce(Fn1, *mut c_void) -> T) -> T {
    let mut f = Some(f);
    via(take_and_run::<F>, (&raw mut f).cast())
}

/// Has C call a function without arguments and result.
pub fn plain(f: extern "C" fn()) {
    // SAFETY: `f` may be called anywhere.
    unsafe { rw_plain(f) }
}

/// C calls `f`, which must not panic, and returns `value` afterwards.
pub fn after(value: i64, f: impl FnOnce()) -> i64 {
    // SAFETY: a function and its argument.
    as_c(f, |f, arg| unsafe { rw_after(f, arg, value) })
}

/// C hands three texts to `f`: an empty one, "word", and 9,999 times the letter x. The sum of what it returned.
pub fn texts<A>(f: TextFn, arg: &A) -> i64 {
    // SAFETY: the callers' `f` takes an `A` and a text.
    unsafe { rw_texts(f, std::ptr::from_ref(arg).cast_mut().cast()) }
}

/// Sets a thread-local variable of C's.
pub fn set_local(value: i32) {
    rw_set(value);
}

/// The variable of [`set_local`]; 0 at first.
pub fn local() -> i32 {
    rw_get()
}

/// Makes a thread that calls `f`, which must not panic, and then waits in C; cancels it there. True if it ended of that.
pub fn cancelled(f: impl FnOnce() + Send) -> bool {
    // SAFETY: a function and its argument; the thread is joined before this returns.
    as_c(f, |f, arg| unsafe { rw_cancelled(f, arg) }) == 1
}

/// Calls `f`, which must not panic, from a frame that holds 1024 words of a pattern. How many of them were right afterwards.
pub fn words_kept_over(f: impl FnOnce()) -> i32 {
    // SAFETY: a function and its argument.
    as_c(f, |f, arg| unsafe { rw_pattern(f, arg) })
}

/// The side of the board, as in `rows.h`.
pub const SIDE: usize = 16;

/// A board of the game of life, without an edge.
#[repr(C)]
pub struct Life {
    now: [[u8; SIDE]; SIDE],
    next: [[u8; SIDE]; SIDE],
}

impl Life {
    /// A board with one glider.
    pub fn glider() -> Box<Life> {
        let mut life = Box::new(Life { now: [[0; SIDE]; SIDE], next: [[0; SIDE]; SIDE] });
        // SAFETY: C writes the board.
        unsafe { rw_glider(&raw mut *life) };
        life
    }

    /// One generation, which C makes: it calls `start(arg, y)` for each row, which has [`Row::make`] called, by whomever, and then
    /// `wait(arg)`, which returns when all rows are made.
    pub fn generation<A>(&mut self, start: StartFn, wait: Fn1, arg: &A) {
        // SAFETY: the callers' functions take an `A`.
        unsafe { rw_generation(self, start, wait, std::ptr::from_ref(arg).cast_mut().cast()) };
    }

    /// The rows of a board, which may be made by anyone while [`Life::generation`] runs.
    pub fn rows(&mut self) -> Row {
        Row(std::ptr::from_mut(self) as usize)
    }

    /// The board as lines of dots and crosses.
    pub fn text(&self) -> String {
        let mut text = vec![0u8; SIDE * (SIDE + 1) + 1];
        // SAFETY: there is room for the lines and a zero.
        unsafe { rw_print(self, text.as_mut_ptr().cast()) };
        text.pop();
        String::from_utf8(text).expect("dots, crosses, ends of lines")
    }
}

/// A board whose rows are to be made.
#[derive(Clone, Copy)]
pub struct Row(usize);

impl Row {
    /// Makes row `y` of the next generation.
    ///
    /// # Safety
    /// The board lives; it is in [`Life::generation`], and nobody else makes this row.
    pub unsafe fn make(self, y: u32) {
        assert!((y as usize) < SIDE);
        // SAFETY: the caller's promise. Rows are made from the present generation, which nobody writes meanwhile.
        unsafe { rw_row(self.0 as *mut Life, y) };
    }
}

/// Runs `f` on a goroutine, on a C thread, and in a callback on one.
pub fn everywhere(f: fn()) {
    thread::spawn(f).join().unwrap();
    CThread::spawn(f).join();
    CThread::spawn(move || ffi::callback(|| through_c(f))).join();
}

/// Whether the calling goroutine has no lock on its kernel thread. If it has one, it has one less then.
pub fn unlocked() -> bool {
    // The hook of panics writes to standard error, which is captured.
    catch_unwind(unlock_os_thread).is_err()
}
