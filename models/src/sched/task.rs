//! A place in queues.

use crate::sched::g::G;
use crate::sched::pool::Link;
use core::cell::Cell;
use core::ptr;

pub(crate) struct Task {
    pub(crate) next: Cell<*const Task>,
    pub(crate) prev: Cell<*const Task>,
    g: Cell<*const G>,
}

impl Task {
    pub(crate) const fn of_goroutine() -> Task {
        Task { next: Cell::new(ptr::null()), prev: Cell::new(ptr::null()), g: Cell::new(ptr::null()) }
    }

    pub(crate) fn set_g(&self, g: *const G) {
        self.g.set(g);
    }

    pub(crate) fn g(&self) -> Option<*const G> {
        Some(self.g.get()).filter(|g| !g.is_null())
    }
}

pub(crate) fn trim() {}

impl Link for Task {
    fn next(&self) -> &Cell<*const Task> {
        &self.next
    }

    fn next_batch(&self) -> &Cell<*const Task> {
        &self.prev
    }
}
