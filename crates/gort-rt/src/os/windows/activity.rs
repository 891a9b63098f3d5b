//! What a kernel thread does: Windows does not say.

/// What a thread of this process does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(dead_code, reason = "systems that tell have these answers")]
pub(crate) enum Activity {
    /// It runs, or waits for a processor only.
    Runs,
    /// It is in the system call with this number.
    Call(u32),
    /// It stands still elsewhere: stopped, or in a page fault.
    Stands,
}

/// What the thread with this number does; None: there is no telling.
pub(crate) fn activity(_tid: i32) -> Option<Activity> {
    None
}
