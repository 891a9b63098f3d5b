//! What can go wrong when the runtime starts or a goroutine is made.

use crate::identity;
use crate::os::code;
use crate::stack;
use std::fmt;
use std::io;

/// What to do when there are no more kernel threads to be had.
pub(crate) const MORE_THREADS: &str =
    "raise the limit on processes (ulimit -u), on the control group's (pids.max), or on memory, or free some";

/// Why the runtime could not be started or configured, or a goroutine not be made. The text says what to do.
#[derive(Debug, Clone)]
pub struct Error {
    text: String,
    errno: Option<i32>,
}

impl Error {
    /// The number of the error, as `errno` has it, that comes nearest.
    pub(crate) fn errno(&self) -> Option<i32> {
        self.errno
    }

    /// An environment variable with a value that means nothing.
    pub(crate) fn variable(name: &str, value: &std::ffi::OsStr, wanted: &str) -> Error {
        Error { text: format!("{name} is {value:?}; it must be {wanted}"), errno: Some(code::INVALID) }
    }

    /// A wrong argument or the wrong moment.
    pub(crate) fn invalid(text: String) -> Error {
        Error { text, errno: Some(code::INVALID) }
    }

    /// There is no runtime to do it.
    pub(crate) fn shut(text: String) -> Error {
        Error { text, errno: Some(code::SHUT) }
    }

    /// Whether that is why.
    pub(crate) fn is_shut(&self) -> bool {
        self.errno == Some(code::SHUT)
    }

    /// Somebody has to go first.
    pub(crate) fn busy(text: String) -> Error {
        Error { text, errno: Some(code::BUSY) }
    }

    /// The system refused a kernel thread.
    pub(crate) fn no_thread(what: &str, errno: i32) -> Error {
        let Error { text, errno } = Error::os(what, errno);
        Error { text: format!("{text}; {MORE_THREADS}"), errno }
    }

    /// The system refused something.
    pub(crate) fn os(what: &str, errno: i32) -> Error {
        Error { text: format!("{what}: {}", io::Error::from_raw_os_error(errno)), errno: Some(errno) }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Error {}

impl From<stack::AllocError> for Error {
    fn from(e: stack::AllocError) -> Error {
        Error { text: e.to_string(), errno: Some(e.errno()) }
    }
}

impl From<identity::Error> for Error {
    fn from(e: identity::Error) -> Error {
        let errno = e.is_setting().then_some(code::INVALID);
        let way_out = if e.leaves_threads() {
            "; with GORT_BACKEND=threads a goroutine is a kernel thread, which needs nothing of that"
        } else {
            ""
        };
        Error { text: format!("{e}{way_out}"), errno }
    }
}

impl From<Error> for io::Error {
    fn from(e: Error) -> io::Error {
        let kind = e.errno.map_or(io::ErrorKind::Unsupported, |code| io::Error::from_raw_os_error(code).kind());
        io::Error::new(kind, e)
    }
}
