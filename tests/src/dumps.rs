//! What `gort::dump` writes, in pieces.

use std::fs::File;
use std::io::{Read, Seek};
use std::os::fd::{AsRawFd, FromRawFd};
use std::time::{Duration, Instant};

/// A file without a name, to dump into.
///
/// # Panics
/// The system has none.
pub fn memory_file() -> File {
    // SAFETY: the name is a terminated string; the descriptor is new.
    unsafe {
        let fd = libc::memfd_create(c"dump".as_ptr(), libc::MFD_CLOEXEC);
        assert!(fd >= 0, "memfd_create");
        File::from_raw_fd(fd)
    }
}

/// A dump of this moment.
///
/// # Panics
/// It cannot be written.
pub fn dumped() -> String {
    let mut file = memory_file();
    gort::dump(file.as_raw_fd()).expect("there is room for a dump");
    file.rewind().expect("a file");
    let mut text = String::new();
    file.read_to_string(&mut text).expect("text");
    text
}

/// The line of the goroutine with this name, and what it does: what stands in brackets.
pub fn state<'a>(dump: &'a str, name: &str) -> Option<(&'a str, &'a str)> {
    let line = dump.lines().find(|line| line.starts_with("goroutine ") && line.contains(&format!(" '{name}' ")))?;
    let (_, rest) = line.split_once('[')?;
    Some((line, rest.split_once(']')?.0))
}

/// Waits until the goroutine with this name is in a state that `wanted` knows, and returns its line.
///
/// # Panics
/// It does not come to that within a minute.
pub fn await_state(name: &str, wanted: impl Fn(&str) -> bool) -> String {
    let begin = Instant::now();
    loop {
        let dump = dumped();
        match state(&dump, name) {
            Some((line, state)) if wanted(state) => return line.to_owned(),
            _ => assert!(begin.elapsed() < Duration::from_secs(60), "{name} is not as it should be in:\n{dump}"),
        }
        gort::thread::yield_now();
    }
}
