//! What a kernel thread does, as the kernel sees it.

use super::file::read_file;
use core::ffi::CStr;
use core::str;
use std::io::Write;

/// What a thread of this process does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Activity {
    /// It runs, or waits for a processor only.
    Runs,
    /// It is in the system call with this number.
    Call(u32),
    /// It stands still elsewhere: stopped, or in a page fault.
    Stands,
}

/// What the thread with the kernel's number `tid` does; None: there is no such thread, or no telling (no `/proc`, a kernel
/// that was built without it, no descriptor left). Async-signal-safe.
pub(crate) fn activity(tid: i32) -> Option<Activity> {
    let mut path = [0; 40];
    write!(&mut path[..], "/proc/self/task/{tid}/syscall\0").ok()?;
    let mut buffer = [0; 160];
    parse(read_file(CStr::from_bytes_until_nul(&path).ok()?, &mut buffer).ok()?)
}

/// The contents of `/proc/self/task/N/syscall`: `running`, or the call's number and arguments; -1 for none.
fn parse(text: &[u8]) -> Option<Activity> {
    let word = str::from_utf8(text.split(u8::is_ascii_whitespace).next()?).ok()?;
    match word {
        "running" => Some(Activity::Runs),
        "-1" => Some(Activity::Stands),
        number => number.parse().ok().map(Activity::Call),
    }
}

#[cfg(test)]
mod tests {
    use super::super::gettid;
    use super::*;

    #[test]
    fn contents() {
        assert_eq!(parse(b"running\n"), Some(Activity::Runs));
        assert_eq!(parse(b"-1 0x7ffd 0x7f00\n"), Some(Activity::Stands));
        assert_eq!(parse(b"202 0x1 0x2 0x3\n"), Some(Activity::Call(202)));
        assert_eq!(parse(b""), None);
        assert_eq!(parse(b"what 1\n"), None);
    }

    #[test]
    fn the_calling_thread_and_nobody() {
        let me = activity(gettid());
        // It asks by a read. (Some kernels and sandboxes do not tell.)
        assert!(matches!(me, None | Some(Activity::Runs) | Some(Activity::Call(_))), "{me:?}");
        assert_eq!(activity(0), None);
        assert_eq!(activity(-1), None);
        assert_eq!(activity(i32::MAX), None);
    }
}
