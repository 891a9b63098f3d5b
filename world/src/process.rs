//! This process and others: limits, and tests that run again in a process of their own.
//!
//! A test that needs a second process, or one whose environment is set before it starts, runs its own binary again,
//! restricted to itself; [`role`] tells it there what to be.

use std::env;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::process::{Child, Command, Stdio};

const ROLE: &str = "GORT_WORLD_ROLE";

/// What this process is to be, if a test has made it.
pub fn role() -> Option<String> {
    env::var(ROLE).ok()
}

/// The command that runs this test binary again, restricted to the test `name`, as `role`. Its output is inherited.
pub fn again(name: &str, role: &str) -> Command {
    let mut command = Command::new(env::current_exe().expect("a test binary has a path"));
    command.args(["--exact", name, "--nocapture", "--test-threads=1"]).env(ROLE, role).stdin(Stdio::null());
    command
}

/// Runs `body` in a process of its own, in which the threads that std, crates and C libraries make are goroutines. `name` is
/// the name of the calling test, of which `body` is all.
///
/// # Panics
/// The process failed.
pub fn with_threads_as_goroutines(name: &str, body: impl FnOnce()) {
    if role().is_some() {
        body();
        return;
    }
    let status = again(name, "threads are goroutines").env("GORT_THREADS", "1").status().expect("it can be started");
    assert!(status.success(), "{name} with GORT_THREADS=1: {status}");
}

/// A child that is killed when the test ends before it.
pub struct Killed(pub Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // Both fail if it has been waited for, which is what one wants.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Raises the limit of open descriptors of this process and its children, as far as it goes, and makes room for `n`.
///
/// When the kernel's table of descriptors is full, it makes one of twice the size, and in a process with several threads
/// whoever opens something meanwhile waits in the kernel until that is done, for milliseconds. A hundred goroutines that do so
/// cost a hundred kernel threads for once. So the table is made large here.
///
/// # Panics
/// `n` are not allowed.
pub fn descriptors(n: usize) {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: it writes to a struct that is ours.
    assert_eq!(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) }, 0, "{}", io::Error::last_os_error());
    if limit.rlim_cur < limit.rlim_max {
        limit.rlim_cur = limit.rlim_max;
        // SAFETY: it reads from a struct that is ours.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) }, 0, "{}", io::Error::last_os_error());
    }
    assert!(limit.rlim_cur as usize >= n, "{n} descriptors are needed; `ulimit -Hn` is {}", limit.rlim_max);
    // SAFETY: it makes a descriptor that nobody has, as the kernel chooses the number.
    let last = unsafe { libc::fcntl(libc::STDERR_FILENO, libc::F_DUPFD_CLOEXEC, n as libc::c_int - 1) };
    assert!(last >= 0, "{}", io::Error::last_os_error());
    // SAFETY: it is ours.
    drop(unsafe { OwnedFd::from_raw_fd(last) });
}
