//! Rust functions that any C thread may call: Go's `cgocallback`.
//!
//! The life of a callback: is there a G in the TLS word? A goroutine (Rust called C, which calls back) or a thread with an M
//! runs the function in place. A thread without one gets an M first. The function runs on the caller's own stack and
//! thread-local storage, without a P: entering never waits, blocking blocks this kernel thread only, and making goroutines
//! runnable goes through the injection stack.
//!
//! Panics stop at the boundary, always. So do calls after the end of the runtime: see `gate`.

use super::boundary;
use super::cancel;
use super::extra_m::{self, dropm, needm, Bound};
use crate::atomic::Ordering;
use crate::gate;
use crate::os;
use crate::sched::g::{Kind, G};
use crate::sched::m::{callbacks, M};
use crate::tls;
use core::any::Any;
use core::cell::{Cell, RefCell};
use std::panic::{catch_unwind, AssertUnwindSafe};

/// Runs `f` inside the runtime, on whatever thread this is, and returns what it returns.
///
/// # Panics
/// Where `f` panics, and where the runtime has been [shut down](crate::shutdown), without a call of `f` (nor is it
/// called by a signal handler that has interrupted the beginning of its thread's first callback). At an `extern "C"`
/// boundary use [`callback_or`] or `#[gort::callback]`, which keep panics from C.
///
/// ```
/// assert_eq!(gort_rt::ffi::callback(|| 6 * 7), 42);
/// ```
#[inline]
pub fn callback<T>(f: impl FnOnce() -> T) -> T {
    enter(f).unwrap_or_else(|refused| panic!("{}", refused.text()))
}

/// Why a callback is not called.
#[derive(Debug)]
pub enum Refused {
    /// The runtime lets nobody in any more.
    Shut,
    /// A signal handler calls in on a thread that is about to get its M, or to lose it.
    Changing,
}

impl Refused {
    fn text(&self) -> &'static str {
        match self {
            Refused::Shut => "a callback was called after the runtime was shut down",
            Refused::Changing => {
                "a signal handler called in while its thread entered the runtime for the first time, or ended"
            }
        }
    }
}

/// Runs `f` inside the runtime, if it lets the caller in.
#[inline]
fn enter<T>(f: impl FnOnce() -> T) -> Result<T, Refused> {
    // SAFETY: the current G lives while its code or its thread does.
    match unsafe { tls::getg().as_ref() } {
        Some(g) => inside(g, f),
        None => first(f),
    }
}

/// A caller that has a G.
#[inline]
fn inside<T>(g: &G, f: impl FnOnce() -> T) -> Result<T, Refused> {
    if g.kind != Kind::Foreign {
        // Nested: Rust, C, Rust. Who has a G has a block.
        return Ok(match tls::block() {
            Some(block) => boundary::run(block, f),
            None => f(),
        });
    }
    // SAFETY: a foreign G's M is set for ever.
    let m = unsafe { &*g.m.get() };
    let _depth = Depth::enter(m)?;
    Ok(boundary::run(&m.tls, f))
}

/// The first callback of a thread.
#[cold]
fn first<T>(f: impl FnOnce() -> T) -> Result<T, Refused> {
    let (m, bound) = bind()?;
    let _drop = (bound == Bound::ToCall).then(|| Unbind(m));
    let _depth = Depth::enter(m)?;
    Ok(boundary::run(&m.tls, f))
}

/// Gives the calling thread, which has none, an M.
pub(super) fn bind() -> Result<(&'static M, Bound), Refused> {
    if gate::is_shut() {
        return Err(Refused::Shut); // without binding a thread for nothing
    }
    if extra_m::is_changing() {
        return Err(Refused::Changing);
    }
    Ok(needm(os::thread_number()))
}

/// Counts a callback on a foreign thread, also when it ends by a panic. See `cancel` too.
struct Depth {
    m: &'static M,
    /// It was let in, but is not the outermost: a signal handler's, amid the way in or out of one that is not in.
    amid: bool,
}

impl Depth {
    #[inline(always)]
    fn enter(m: &'static M) -> Result<Depth, Refused> {
        let depth = m.depth.load(Ordering::Relaxed);
        m.depth.store(depth + 1, Ordering::Relaxed);
        let mut counted = Depth { m, amid: false };
        // A nested one is within one that was let in; but not that of a signal handler that has interrupted us right here.
        if !m.admitted.get() {
            if !gate::admits() && m.guarded.get() == 0 {
                return Err(Refused::Shut);
            }
            m.admitted.set(true);
            counted.amid = callbacks(depth) > 0;
            cancel::entered(m);
        }
        Ok(counted)
    }
}

impl Drop for Depth {
    #[inline(always)]
    fn drop(&mut self) {
        let depth = self.m.depth.load(Ordering::Relaxed) - 1;
        let last = callbacks(depth) == 0;
        if last || self.amid {
            self.m.admitted.set(false);
        }
        // Release: what the callback did is done for whoever sees that it has left.
        self.m.depth.store(depth, Ordering::Release);
        if last {
            boundary::none_left(&self.m.tls);
            gate::left();
            cancel::left(self.m);
        }
    }
}

struct Unbind(&'static M);

impl Drop for Unbind {
    fn drop(&mut self) {
        dropm(self.0);
    }
}

/// As [`callback`]; a panic in `f` is caught and given back.
///
/// # Errors
/// `f` panicked, or was not called because the runtime has been [shut down](crate::shutdown). The text, of the panic or one
/// that says so, is kept for [`take_last_panic`] too.
#[inline]
pub fn try_callback<T>(f: impl FnOnce() -> T) -> Result<T, Box<dyn Any + Send>> {
    caught(f).map_err(|failed| match failed {
        Failed::Refused(refused) => Box::new(refused.text()),
        Failed::Panicked(payload) => payload,
    })
}

/// Why a callback has no result.
enum Failed {
    Refused(Refused),
    /// With this payload.
    Panicked(Box<dyn Any + Send>),
}

/// As [`try_callback`]. To be refused allocates nothing: a signal handler may have interrupted `malloc`, on its thread's way in.
#[inline]
fn caught<T>(f: impl FnOnce() -> T) -> Result<T, Failed> {
    match enter(|| catch_unwind(AssertUnwindSafe(f))) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(payload)) => {
            keep(text(payload.as_ref()));
            Err(Failed::Panicked(payload))
        }
        Err(refused) => {
            REFUSED.set(Some(refused.text()));
            Err(Failed::Refused(refused))
        }
    }
}

/// As [`callback`], for an `extern "C"` function: if `f` panics, or is not called because the runtime has been shut
/// down, the result is what `on_panic` returns, and the text is kept for [`take_last_panic`].
///
/// If `on_panic` panics too, the process aborts.
#[inline]
pub fn callback_or<T>(f: impl FnOnce() -> T, on_panic: impl FnOnce() -> T) -> T {
    match caught(f) {
        Ok(value) => value,
        Err(failed) => {
            // Dropping a payload may run anything, even another panic.
            let or = catch_unwind(AssertUnwindSafe(|| {
                drop(failed);
                on_panic()
            }));
            or.unwrap_or_else(|_| die("a callback", "its on_panic value, or dropping the panic's payload, panicked"))
        }
    }
}

/// As [`callback`], for an `extern "C"` function named `name`: if `f` panics, the process ends, saying so.
#[inline]
pub fn callback_or_abort<T>(name: &'static str, f: impl FnOnce() -> T) -> T {
    match caught(f) {
        Ok(value) => value,
        Err(Failed::Refused(refused)) => die(name, refused.text()),
        Err(Failed::Panicked(payload)) => die(name, text(payload.as_ref())),
    }
}

#[cold]
fn die(name: &str, text: &str) -> ! {
    let line = format!("gort: panic in {name}, which may not unwind into its C caller: {text}\n");
    os::write_stderr(line.as_bytes());
    std::process::abort();
}

thread_local! {
    static LAST: RefCell<Option<String>> = const { RefCell::new(None) };
    /// The last text, if it is a refusal's. Not in `LAST`, because libc keeps a library loaded while a thread lives that has used a
    /// variable with a destructor; and the refused are those who call a library that has been shut down, to be unloaded.
    static REFUSED: Cell<Option<&'static str>> = const { Cell::new(None) };
}

/// Keeps the text of a panic for [`take_last_panic`].
pub(crate) fn keep(text: &str) {
    REFUSED.set(None);
    // A thread that is ending may have no place for it any more.
    let _ = LAST.try_with(|last| last.replace(Some(text.to_owned())));
}

/// The text of the last panic that a callback caught on the calling thread or goroutine; the next call finds none.
pub fn take_last_panic() -> Option<String> {
    if let Some(refused) = REFUSED.take() {
        return Some(refused.to_owned());
    }
    LAST.try_with(RefCell::take).ok().flatten()
}

/// What a panic says.
pub(crate) fn text(payload: &(dyn Any + Send)) -> &str {
    payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("(a payload that is no text)")
}
