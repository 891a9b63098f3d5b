//! What functions return, and the one way out of each: a code, whatever happened.

use core::ffi::{c_char, c_int, CStr};
use gort_rt::embed::{self, Cause};
use std::cell::RefCell;
use std::io;
use std::panic::{catch_unwind, AssertUnwindSafe};

/// It is done.
pub const GORT_OK: c_int = 0;
/// An argument has no meaning: null where there must be something, a number out of its range, an unknown setting.
pub const GORT_EINVAL: c_int = 1;
/// The runtime has not been started: call gort_start() first.
pub const GORT_ENOTSTARTED: c_int = 2;
/// The runtime runs already.
pub const GORT_ESTARTED: c_int = 3;
/// The runtime has been shut down, or is being shut down, and the caller is not inside. gort_start() starts it again.
pub const GORT_ESHUTDOWN: c_int = 4;
/// The process is a fork of one in which the runtime ran, or the handle comes from before the fork. Such a process can exec
/// or exit, no more.
pub const GORT_EFORKED: c_int = 5;
/// No such goroutine, thread or channel: the handle was never given out, or has been joined, detached and ended, or freed.
pub const GORT_ENOHANDLE: c_int = 6;
/// Somebody else has to finish first; see the function that returns it.
pub const GORT_EBUSY: c_int = 7;
/// The caller would wait for itself.
pub const GORT_EDEADLOCK: c_int = 8;
/// A detached goroutine, or a thread that gort_spawn() did not make, cannot be joined or detached.
pub const GORT_ENOTJOINABLE: c_int = 9;
/// A leave, end or unlock without its enter, begin or lock on this thread or goroutine.
pub const GORT_EUNBALANCED: c_int = 10;
/// It would have to wait.
pub const GORT_EAGAIN: c_int = 11;
/// The time is over.
pub const GORT_ETIMEDOUT: c_int = 12;
/// The channel is closed.
pub const GORT_ECLOSED: c_int = 13;
/// Memory, stacks, kernel threads or handles are used up; gort_last_error() says which and what to do.
pub const GORT_ENOMEM: c_int = 14;
/// Rust code panicked. It was stopped before it reached C; gort_last_panic() has its text.
pub const GORT_EPANIC: c_int = 15;
/// The buffer is too small.
pub const GORT_ERANGE: c_int = 16;
/// There is nothing to give.
pub const GORT_ENONE: c_int = 17;
/// The system, or the C library, refused something; gort_last_error() says what.
pub const GORT_ESYSTEM: c_int = 18;

/// A time that never comes: wait for ever.
pub const GORT_FOREVER: u64 = u64::MAX;

/// Texts of the codes, in order.
const TEXTS: [&CStr; 19] = [
    c"it is done",
    c"an argument has no meaning",
    c"the runtime has not been started",
    c"the runtime runs already",
    c"the runtime has been shut down",
    c"the process is a fork of one in which the runtime ran",
    c"no such goroutine, thread or channel",
    c"somebody else has to finish first",
    c"the caller would wait for itself",
    c"it cannot be joined or detached",
    c"without its counterpart on this thread or goroutine",
    c"it would have to wait",
    c"the time is over",
    c"the channel is closed",
    c"memory, stacks, threads or handles are used up",
    c"Rust code panicked",
    c"the buffer is too small",
    c"there is nothing to give",
    c"the system refused",
];

/// The meaning of a code, in English. Never null; the text is constant and is not to be freed.
///
/// Any thread may call it at any time; async-signal-safe.
#[no_mangle]
pub extern "C" fn gort_strerror(code: c_int) -> *const c_char {
    usize::try_from(code).ok().and_then(|i| TEXTS.get(i)).unwrap_or(&c"not a code of gort's").as_ptr()
}

/// Why a function fails.
pub(crate) struct Failure {
    code: c_int,
    /// What the code does not say.
    text: Option<String>,
}

impl Failure {
    /// What C gets.
    pub(crate) fn code(&self) -> c_int {
        self.code
    }
}

/// A failure that its code explains.
pub(crate) fn failure(code: c_int) -> Failure {
    Failure { code, text: None }
}

/// One that takes words.
pub(crate) fn explained(code: c_int, text: impl Into<String>) -> Failure {
    Failure { code, text: Some(text.into()) }
}

impl From<gort_rt::Error> for Failure {
    fn from(e: gort_rt::Error) -> Failure {
        let code = match embed::cause(&e) {
            _ if embed::is_child() => GORT_EFORKED,
            Cause::Invalid => GORT_EINVAL,
            Cause::Shut => GORT_ESHUTDOWN,
            Cause::Busy => GORT_EBUSY,
            Cause::Exhausted => GORT_ENOMEM,
            Cause::System => GORT_ESYSTEM,
        };
        explained(code, e.to_string())
    }
}

impl From<io::Error> for Failure {
    fn from(e: io::Error) -> Failure {
        match e.downcast::<gort_rt::Error>() {
            Ok(e) => e.into(),
            Err(e) => explained(GORT_ESYSTEM, e.to_string()),
        }
    }
}

thread_local! {
    static LAST_ERROR: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Takes the text of the last failure of the calling thread or goroutine that had one.
pub(crate) fn take_last_error() -> Option<String> {
    LAST_ERROR.try_with(RefCell::take).ok().flatten()
}

/// Keeps such a text.
pub(crate) fn keep_error(text: String) {
    // A thread that is ending may have no place for it any more.
    let _ = LAST_ERROR.try_with(|last| last.replace(Some(text)));
}

/// Runs the body of a function for C. A panic ends here: none unwinds into C.
pub(crate) fn run(body: impl FnOnce() -> Result<(), Failure>) -> c_int {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => GORT_OK,
        Ok(Err(Failure { code, text })) => {
            if let Some(text) = text {
                keep_error(text);
            }
            code
        }
        Err(payload) => {
            // Dropping a payload may panic too; the second one's is not looked at.
            if let Err(second) = catch_unwind(AssertUnwindSafe(|| embed::keep_panic(payload))) {
                core::mem::forget(second);
            }
            GORT_EPANIC
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(code: c_int) -> &'static str {
        // SAFETY: the texts are constants.
        unsafe { CStr::from_ptr(gort_strerror(code)) }.to_str().unwrap()
    }

    #[test]
    fn every_number_has_a_text() {
        assert_eq!(text(GORT_OK), "it is done");
        assert_eq!(text(GORT_ESYSTEM), "the system refused");
        for code in [-1, TEXTS.len() as c_int, c_int::MAX, c_int::MIN] {
            assert_eq!(text(code), "not a code of gort's");
        }
        assert_eq!(GORT_ESYSTEM as usize + 1, TEXTS.len());
    }

    #[test]
    fn a_panic_is_a_code_and_its_text_is_kept() {
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("dropping it panics too");
            }
        }
        assert_eq!(run(|| panic!("number {}", 7)), GORT_EPANIC);
        assert_eq!(gort_rt::ffi::take_last_panic().as_deref(), Some("number 7"));
        assert_eq!(run(|| std::panic::panic_any(Bomb)), GORT_EPANIC);
    }

    #[test]
    fn errors_become_codes_and_texts() {
        assert_eq!(run(|| Ok(gort_rt::Config::new().procs(0).start()?)), GORT_EINVAL);
        assert!(take_last_error().is_some_and(|text| text.contains("from 1 to 1024")));
        assert_eq!(take_last_error(), None);
        assert_eq!(run(|| Err(io::Error::from_raw_os_error(1).into())), GORT_ESYSTEM);
        assert_eq!(run(|| Err(failure(GORT_EAGAIN))), GORT_EAGAIN);
    }
}
