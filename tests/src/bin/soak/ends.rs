//! Ends: of goroutines by panics, of child processes, and of processes whose stack overflows.

use crate::toolbox::{spawn, Rng};
use gort::thread;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::panic::{catch_unwind, panic_any};
use std::process::{Command, Stdio};
use std::sync::Arc;

/// The payload of panics that are part of the program.
pub struct OnPurpose;

/// Panics that end a goroutine, drop what it holds on the way, and are caught.
pub fn panics(rng: &mut Rng) {
    let held = Arc::new(());
    for _ in 0..1 + rng.below(10) {
        let theirs = held.clone();
        let nested = rng.below(2) == 0;
        let g = spawn(move || {
            let _held = theirs;
            if nested {
                assert!(catch_unwind(|| panic_any(OnPurpose)).is_err());
                spawn(|| panic_any(OnPurpose)).join().map(|()| 0).unwrap_err();
            }
            thread::yield_now();
            panic_any(OnPurpose)
        });
        let payload = g.join().map(|()| 0).unwrap_err();
        assert!(payload.is::<OnPurpose>());
    }
    assert_eq!(Arc::strong_count(&held), 1);
}

/// A program that is fed, waited for and looked at.
pub fn processes(rng: &mut Rng) {
    let n = rng.below(50_000);
    let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut to = child.stdin.take().unwrap();
    let feeds = spawn(move || to.write_all(&vec![b'x'; n]).unwrap());
    let output = child.wait_with_output().unwrap();
    feeds.join().unwrap();
    assert!(output.status.success() && output.stdout == vec![b'x'; n]);
}

/// A fork, whose child can only go on as plain code, and says so where it cannot spawn.
pub fn forks(rng: &mut Rng) {
    let code = rng.below(100) as i32;
    // SAFETY: the child does what a child of a process with threads may do with glibc.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        let refused = thread::Builder::new().spawn(|| ()).is_err();
        // SAFETY: ends the child at once.
        unsafe { libc::_exit(if refused { code } else { 111 }) };
    }
    assert!(pid > 0, "fork: {}", std::io::Error::last_os_error());
    let mut status = -1;
    // SAFETY: the child is ours, and the status is ours to write.
    assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
    assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == code, "status {status}");
}

/// What makes this program overflow a stack.
pub const OVERFLOW: &str = "overflow";

/// A goroutine of a child process overflows its stack: the child says so and dies.
pub fn overflow(_: &mut Rng) {
    let mut child = Command::new(std::env::current_exe().unwrap());
    // Without failures, of which a few could come before the end.
    let output = child.arg(OVERFLOW).env_remove("GORT_CHAOS").output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.signal(), Some(libc::SIGABRT), "{text}");
    assert!(text.contains("goroutine 'diver'") && text.contains("overflowed its stack"), "{text}");
}

/// In that child.
pub fn overflow_now() {
    #[inline(never)]
    fn recurse(n: u64) -> u64 {
        let block = std::hint::black_box([n; 64]);
        if n == u64::MAX {
            return 0;
        }
        recurse(n + 1) + block[3]
    }
    // No file of its memory.
    let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: a valid record.
    unsafe { libc::setrlimit(libc::RLIMIT_CORE, &raw const none) };
    let g = thread::Builder::new().name("diver".into()).spawn(|| recurse(0));
    g.unwrap().join().unwrap();
}
