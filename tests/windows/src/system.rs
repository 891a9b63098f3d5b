//! What the helpers ask of the system by its own names.

use std::os::windows::io::AsRawHandle;
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;
use windows_sys::Win32::Foundation::{
    CloseHandle, STATUS_ACCESS_VIOLATION, STATUS_STACK_BUFFER_OVERRUN, WAIT_OBJECT_0,
};
use windows_sys::Win32::System::Threading::{GetCurrentThreadId, OpenThread, WaitForSingleObject, THREAD_SYNCHRONIZE};

/// What C knows a thread by: a `ct_thread`.
pub type Handle = usize;

/// The number of the kernel thread underneath.
pub fn tid() -> i32 {
    // SAFETY: no preconditions.
    unsafe { GetCurrentThreadId() as i32 }
}

/// Whether a kernel thread of this process has that number.
pub fn thread_exists(tid: i32) -> bool {
    // SAFETY: the handle is ours, and closed once.
    unsafe {
        let thread = OpenThread(THREAD_SYNCHRONIZE, 0, tid as u32);
        let alive = !thread.is_null() && WaitForSingleObject(thread, 0) != WAIT_OBJECT_0;
        if !thread.is_null() {
            CloseHandle(thread);
        }
        alive
    }
}

/// Has the calling goroutine stay on its kernel thread, which the system's fibers are tied to.
pub fn stay_for_fibers() {
    gort::ffi::lock_os_thread();
}

/// Has a child begin a group of its own, where groups of processes can be ended: not on Windows.
pub fn in_a_group(_command: &mut Command) {}

/// Waits for the child's end, and ends it after `limit`: then there is no status.
pub fn end_within(mut child: Child, limit: Duration) -> Option<ExitStatus> {
    // SAFETY: the handle lives as long as the child's record.
    let waited = unsafe { WaitForSingleObject(child.as_raw_handle(), limit.as_millis() as u32) };
    if waited != WAIT_OBJECT_0 {
        child.kill().expect("a child that was started can be ended");
    }
    let status = child.wait().expect("a child that was started can be waited for");
    (waited == WAIT_OBJECT_0).then_some(status)
}

/// Whether a process died of what that signal stands for.
pub fn died_of(status: ExitStatus, signal: i32) -> bool {
    let code = match signal {
        libc::SIGABRT => STATUS_STACK_BUFFER_OVERRUN, // by a "fast fail", as std ends the process
        libc::SIGSEGV => STATUS_ACCESS_VIOLATION,
        other => panic!("signal {other} stands for nothing here"),
    };
    status.code() == Some(code)
}
