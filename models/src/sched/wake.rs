//! Making goroutines runnable. The runtime's file is the module `real`; but a goroutine whose wait is over goes on at once, on its own thread.

#[path = "../../../crates/gort-rt/src/sched/wake.rs"]
mod real;

pub(crate) use real::{
    hand_off, hand_off_locked, hand_to_locked, new_m, rouse_sysmon, start_m, wake_idle_p, wake_if_waiting,
    wake_timekeeper,
};

use crate::sched::g::{Claim, Ticket};
use crate::sched::task::Task;

pub(crate) fn wake(ticket: &Ticket) -> bool {
    match ticket.claim(false) {
        Claim::Lost => false,
        Claim::Running => true,
        Claim::Owned(g) => {
            // SAFETY: the claim made it ours.
            ready(unsafe { &raw const (*g).task }, true);
            true
        }
    }
}

pub(crate) fn ready(task: *const Task, _next: bool) {
    // SAFETY: the task is the caller's, and models' goroutines live as long as the execution.
    unsafe { (*(*task).g().expect("tasks are in goroutines")).resume() };
}
