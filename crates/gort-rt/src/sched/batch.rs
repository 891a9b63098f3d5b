//! A list of tasks in order, owned by whoever holds it.

use crate::sched::task::Task;
use core::ptr;

/// See the module's head. Linked through `Task::next`.
pub(crate) struct Batch {
    first: *const Task,
    last: *const Task,
    pub(crate) len: usize,
}

// SAFETY: the goroutines in a batch are owned by it.
unsafe impl Send for Batch {}

impl Batch {
    /// An empty one.
    pub(crate) const fn new() -> Batch {
        Batch { first: ptr::null(), last: ptr::null(), len: 0 }
    }

    /// Appends a task, which the caller owns.
    pub(crate) fn push(&mut self, g: *const Task) {
        // SAFETY: `g` and `last` are owned by the batch; goroutines outlive their stay in a list.
        unsafe {
            (*g).next.set(ptr::null());
            if self.first.is_null() {
                self.first = g;
            } else {
                (*self.last).next.set(g);
            }
        }
        self.last = g;
        self.len += 1;
    }

    /// Takes the first.
    pub(crate) fn pop(&mut self) -> Option<*const Task> {
        let g = self.first;
        if g.is_null() {
            return None;
        }
        // SAFETY: as in `push`.
        self.first = unsafe { (*g).next.get() };
        self.len -= 1;
        Some(g)
    }

    /// Moves all of `other` behind what is here.
    pub(crate) fn append(&mut self, other: Batch) {
        if other.first.is_null() {
            return;
        }
        if self.first.is_null() {
            self.first = other.first;
        } else {
            // SAFETY: as in `push`.
            unsafe { (*self.last).next.set(other.first) };
        }
        self.last = other.last;
        self.len += other.len;
    }
}
