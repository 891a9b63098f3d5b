//! The report of dead-locks; the checker finds them itself.

pub struct Blocked;

impl Blocked {
    pub fn here() -> Blocked {
        Blocked
    }
}

pub(crate) fn report_no_thread(_: &crate::sched::global::Sched) {}

pub(crate) fn check(_: &crate::sched::global::Sched) {}
