//! Waiting for descriptors, for code that does not go through libc's blocking calls: wrappers of foreign descriptors, crates
//! that make system calls of their own (rustix), libraries that lend their socket (libpq, libcurl).
//!
//! ```
//! use std::io::{Read, Write};
//! use std::os::unix::net::UnixStream;
//!
//! let (mut ours, mut theirs) = UnixStream::pair()?;
//! ours.set_nonblocking(true)?;
//! let reader = gort_rt::thread::spawn(move || {
//!     let mut byte = [0];
//!     while ours.read(&mut byte).is_err() {
//!         gort_rt::io::wait_readable(&ours, None).unwrap(); // parks the goroutine
//!     }
//!     byte[0]
//! });
//! theirs.write_all(b"x")?;
//! assert_eq!(reader.join().unwrap(), b'x');
//! # Ok::<(), std::io::Error>(())
//! ```

use crate::ffi;
use crate::os;
use crate::poll::{descriptor, Interest, Waited};
use crate::sched;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Instant;

/// Waits until reading from `fd` would not block: there is data, a connection to accept, the end, or an error. True: so it
/// is; false: `deadline` has passed.
///
/// A goroutine parks; other threads block in `poll`. Nothing is read, and the descriptor's mode is not changed, so it should
/// be non-blocking where others read from it too. Regular files are always ready.
///
/// # Errors
/// Those of `poll`; `EBADF` where the descriptor is closed meanwhile.
pub fn wait_readable(fd: impl AsFd, deadline: Option<Instant>) -> io::Result<bool> {
    wait(fd.as_fd().as_raw_fd(), Interest::Read, deadline)
}

/// As [`wait_readable`], until writing to `fd` would not block: there is room, a connection was made, or it failed.
///
/// # Errors
/// As for [`wait_readable`].
pub fn wait_writable(fd: impl AsFd, deadline: Option<Instant>) -> io::Result<bool> {
    wait(fd.as_fd().as_raw_fd(), Interest::Write, deadline)
}

fn wait(fd: i32, interest: Interest, deadline: Option<Instant>) -> io::Result<bool> {
    let until = deadline.map(|at| {
        let left = at.saturating_duration_since(Instant::now());
        os::now().saturating_add(u64::try_from(left.as_nanos()).unwrap_or(u64::MAX))
    });
    let probe =
        |until: Option<u64>| os::poll(fd, interest == Interest::Write, until).map_err(io::Error::from_raw_os_error);
    let parks = sched::parkable().is_some();
    let Some(mut attempt) = descriptor(fd).filter(|_| parks).map(|of| of.attempt(interest)) else {
        return ffi::blocking(|| probe(until));
    };
    loop {
        // After the sample: what came before it is seen here, what comes later ends the wait.
        if probe(Some(0))? {
            return Ok(true);
        }
        match attempt.wait_with_others(until) {
            Waited::Ready => {}
            Waited::TimedOut => return probe(Some(0)),
            Waited::Closed => return Err(io::Error::from_raw_os_error(libc::EBADF)),
            Waited::Unpollable => return ffi::blocking(|| probe(until)),
        }
    }
}
