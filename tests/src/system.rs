//! What the helpers ask of the kernel by its own names.

use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus};
use std::sync::mpsc;
use std::time::Duration;

/// What C knows a thread by: a `ct_thread`.
pub type Handle = libc::pthread_t;

/// The number of the kernel thread underneath.
pub fn tid() -> i32 {
    // SAFETY: no preconditions.
    unsafe { libc::gettid() }
}

/// Whether a kernel thread of this process has that number.
pub fn thread_exists(tid: i32) -> bool {
    std::path::Path::new(&format!("/proc/self/task/{tid}")).exists()
}

/// Has a child begin a group of its own, for [`end_within`].
pub fn in_a_group(command: &mut Command) {
    command.process_group(0);
}

/// Waits for the end of a child with a group of its own, and ends the group after `limit`: then there is no status.
pub fn end_within(mut child: Child, limit: Duration) -> Option<ExitStatus> {
    let (ended, end) = mpsc::channel();
    let pid = child.id() as libc::pid_t;
    let waiter =
        std::thread::spawn(move || ended.send(child.wait().expect("a child that was started can be waited for")));
    let status = end.recv_timeout(limit);
    if status.is_err() {
        // SAFETY: the group is the child's, which is ours, and is not waited for before it has ended.
        unsafe { libc::kill(-pid, libc::SIGKILL) };
    }
    waiter.join().expect("waits only").ok();
    status.ok()
}

/// Whether a process died of that signal.
pub fn died_of(status: ExitStatus, signal: i32) -> bool {
    status.signal() == Some(signal)
}

/// Has the calling goroutine stay on its kernel thread if fibers are tied to that: they are not.
pub fn stay_for_fibers() {}
