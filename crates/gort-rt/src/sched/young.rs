//! The goroutines that were spawned on a P and have not begun.
//!
//! Only the holder of the P touches this list; it begins the youngest first. So a tree of goroutines is walked depth first,
//! with as many stacks alive as the tree is deep, not as it is wide; and what is begun is warm in the cache. Every 256th
//! beginning takes the oldest instead, and once a time slice sysmon grants some of the oldest their turn, so that none waits
//! for long.
//!
//! Thieves cannot reach the list. When somebody is idle or looking for work, the holder *shows* the oldest ones, which stand
//! for the most work, by moving them to its ring. It does so where it spawns and where it chooses the next goroutine; if it
//! comes to neither for a whole time slice, sysmon takes the P from it, and the list with it.

use crate::atomic::{AtomicUsize, Ordering};
use crate::sched::task::Task;
use core::ptr;

/// Tasks that are shown at a time.
const SHOW: usize = 16;
/// See [`enough`]: the most, and the least where stacks are few.
const ENOUGH: [usize; 2] = [16384, 64];
/// Every so many beginnings the oldest is next.
const OLDEST_EVERY: u32 = 256;

static ENOUGH_NOW: AtomicUsize = AtomicUsize::new(ENOUGH[0]);

/// A goroutine that spawns while so many have not begun on its P lets some of them begin first: memory for a goroutine that
/// has not begun is small, but not nothing, and each has been promised a stack.
pub(crate) fn enough() -> usize {
    ENOUGH_NOW.load(Ordering::Relaxed)
}

/// There are `ps` Ps from now on, and there can be `stacks` stacks in all, if their number has a limit: no more than a quarter
/// of them goes to goroutines that have not begun. Otherwise a few that spawn without waiting would use up, on a kernel whose
/// guards take mappings, what the goroutines that have begun are too few to use.
pub(crate) fn share(stacks: Option<usize>, ps: usize) {
    let [most, least] = ENOUGH;
    ENOUGH_NOW.store(stacks.map_or(most, |n| (n / 4 / ps).clamp(least, most)), Ordering::Relaxed);
}

/// See the module's head. Linked through `Task::next` (to the older) and `Task::prev` (to the younger).
pub(crate) struct Young {
    youngest: *const Task,
    oldest: *const Task,
    len: usize,
    begun: u32,
}

// SAFETY: the tasks belong to the list.
unsafe impl Send for Young {}

impl Young {
    pub(crate) const fn new() -> Young {
        Young { youngest: ptr::null(), oldest: ptr::null(), len: 0, begun: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Adds a task that was spawned just now.
    ///
    /// # Safety
    /// It is the caller's.
    pub(crate) unsafe fn push(&mut self, task: *const Task) {
        // SAFETY: the task is ours from here on, and those in the list are.
        unsafe {
            (*task).next.set(self.youngest);
            (*task).prev.set(ptr::null());
            match self.youngest.as_ref() {
                Some(youngest) => youngest.prev.set(task),
                None => self.oldest = task,
            }
        }
        self.youngest = task;
        self.len += 1;
    }

    /// The next to begin.
    pub(crate) fn pop(&mut self) -> Option<*const Task> {
        self.begun = self.begun.wrapping_add(1);
        if self.begun.is_multiple_of(OLDEST_EVERY) {
            return self.pop_oldest();
        }
        let task = self.youngest;
        // SAFETY: tasks in the list are ours.
        self.youngest = unsafe { task.as_ref() }?.next.get();
        // SAFETY: as above.
        match unsafe { self.youngest.as_ref() } {
            Some(youngest) => youngest.prev.set(ptr::null()),
            None => self.oldest = ptr::null(),
        }
        self.len -= 1;
        Some(task)
    }

    /// The one that has waited longest.
    pub(crate) fn pop_oldest(&mut self) -> Option<*const Task> {
        let task = self.oldest;
        // SAFETY: tasks in the list are ours.
        self.oldest = unsafe { task.as_ref() }?.prev.get();
        // SAFETY: as above.
        match unsafe { self.oldest.as_ref() } {
            Some(oldest) => oldest.next.set(ptr::null()),
            None => self.youngest = ptr::null(),
        }
        self.len -= 1;
        Some(task)
    }

    /// Takes the oldest half, but not many, for others.
    pub(crate) fn show(&mut self, mut to: impl FnMut(*const Task)) {
        for _ in 0..self.len.div_ceil(2).min(SHOW) {
            let Some(task) = self.pop_oldest() else { return };
            to(task);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tasks(n: usize) -> Vec<Task> {
        (0..n).map(|_| Task::of_goroutine()).collect()
    }

    #[test]
    fn the_youngest_begins_first_and_now_and_then_the_oldest() {
        let all = tasks(300);
        let mut young = Young::new();
        // SAFETY: the tasks outlive the list.
        all.iter().for_each(|t| unsafe { young.push(t) });
        let mut order = Vec::new();
        while let Some(task) = young.pop() {
            order.push(all.iter().position(|t| ptr::eq(t, task)).unwrap());
        }
        assert_eq!(order[..3], [299, 298, 297]);
        assert_eq!(order[OLDEST_EVERY as usize - 1], 0, "now and then the oldest");
        order.sort_unstable();
        assert_eq!(order, (0..300).collect::<Vec<_>>(), "each once");
        assert_eq!(young.len(), 0);
    }

    #[test]
    fn few_wait_to_begin_where_stacks_are_few() {
        let enough = |stacks, ps| {
            share(stacks, ps);
            enough()
        };
        assert_eq!(enough(Some(24_573), 2), 3071);
        assert_eq!(enough(Some(24_573), 1024), 64);
        assert_eq!(enough(Some(1 << 20), 2), 16384);
        assert_eq!(enough(None, 1024), 16384);
    }

    #[test]
    fn the_oldest_are_shown() {
        let all = tasks(10);
        let mut young = Young::new();
        // SAFETY: as above.
        all.iter().for_each(|t| unsafe { young.push(t) });
        let mut shown = Vec::new();
        young.show(|t| shown.push(t));
        assert!(shown.iter().zip(&all).all(|(a, b)| ptr::eq(*a, b)));
        assert_eq!((shown.len(), young.len()), (5, 5));
    }
}
