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
    let file = memory_file();
    gort::dump(file.as_raw_fd()).expect("there is room for a dump");
    contents(file)
}

/// What was written to a file.
///
/// # Panics
/// It is no text.
pub fn contents(mut file: File) -> String {
    file.rewind().expect("a file");
    let mut text = String::new();
    file.read_to_string(&mut text).expect("text");
    text
}

/// Waits until a dump is as it should be.
///
/// # Panics
/// It does not come to that within a minute.
pub fn await_dump(what: &str, wanted: impl Fn(&str) -> bool) {
    let begin = Instant::now();
    loop {
        let dump = dumped();
        if wanted(&dump) {
            return;
        }
        assert!(begin.elapsed() < Duration::from_secs(60), "{what}: not in\n{dump}");
        gort::thread::yield_now();
    }
}

/// Checks that a dump of a runtime that runs is whole: each line is of a kind that there is, no goroutine is there twice, and
/// the numbers at the end are those of the lines.
///
/// # Panics
/// It is not.
pub fn check(dump: &str) {
    const KINDS: [&str; 10] = [
        "gort ",
        "P ",
        "global queue: ",
        "M ",
        "extra Ms: ",
        "extra M ",
        "sysmon: ",
        "goroutine ",
        "goroutines: ",
        "goroutines are kernel threads, ",
    ];
    let mut ids: Vec<&str> = Vec::new();
    for line in dump.lines() {
        assert!(KINDS.iter().any(|kind| line.starts_with(kind)), "{line:?} in\n{dump}");
        if let Some(rest) = line.strip_prefix("goroutine ") {
            ids.push(rest.split(' ').next().expect("a number"));
            assert!(rest.contains('[') && rest.contains(']'), "{line:?}");
        }
    }
    let lines = ids.len();
    if let Some(numbers) = dump.lines().last().and_then(|last| last.strip_prefix("goroutines: ")) {
        let begun = numbers.split(", ").take(3).map(|n| n.split(' ').next().and_then(|n| n.parse::<usize>().ok()));
        assert_eq!(begun.sum::<Option<usize>>(), Some(lines), "{dump}");
    } else {
        assert!(dump.contains("goroutines are kernel threads"), "it has no end:\n{dump}");
    }
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), lines, "one is there twice:\n{dump}");
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
