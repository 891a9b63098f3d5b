//! The global queue and the injection stack.
//!
//! * The **global queue** holds what overflowed a ring, whose time slice was used up, and chaos' choice. A lock and a list.
//! * The **injection stack** takes goroutines from anybody without a P: foreign threads, plain threads, detached
//!   goroutines, signal handlers. Pushing is one compare-and-swap loop that never waits; whoever polls the global queue
//!   takes the whole stack and puts it, oldest first, behind what is queued.
//!
//! # Why each goroutine is taken once, and none is forgotten
//! * The stack is only pushed to and taken whole. A push whose compare-and-swap succeeds has linked its task to the top that
//!   it replaces, so no member is lost; that the top may have been taken and pushed again meanwhile (ABA) is no harm, since
//!   the link names what is the top *now*. The taker owns all members, by an exchange that no two takers win; it acquires
//!   what the pushers released. Until the push succeeds nobody else looks at the task.
//! * [`Queue::has_any`] is what those who go to sleep look at. A push changes the stack, and a batch the length, by an
//!   operation that is sequentially consistent, before the pusher looks for somebody to wake: see the head of `find`.
//!   Moving the stack behind the queue happens under the queue's lock, and the mover does not sleep: it has taken one.

use crate::atomic::{AtomicPtr, AtomicUsize, Ordering};
use crate::sched::batch::Batch;
use crate::sched::task::Task;
use crate::sync::rawmutex::RawMutex;
use core::ptr;
use crossbeam_utils::CachePadded;

/// See the module's head.
pub(crate) struct Queue {
    listed: RawMutex<Batch>,
    /// Goroutines in `listed`, written under its lock.
    len: CachePadded<AtomicUsize>,
    injected: CachePadded<AtomicPtr<Task>>,
}

/// What [`Queue::take`] took.
pub(crate) struct Taken {
    /// One to run.
    pub(crate) first: Option<*const Task>,
    /// The injection stack held something.
    pub(crate) injected: bool,
}

impl Queue {
    pub(crate) const fn new() -> Queue {
        Queue {
            listed: RawMutex::new(Batch::new()),
            len: CachePadded::new(AtomicUsize::new(0)),
            injected: CachePadded::new(AtomicPtr::new(ptr::null_mut())),
        }
    }

    /// Appends a batch.
    pub(crate) fn put(&self, batch: Batch) {
        let mut listed = self.listed.lock();
        listed.append(batch);
        // SeqCst: as for `inject`, since some who call this hold no P.
        self.len.store(listed.len, Ordering::SeqCst);
    }

    /// Appends one goroutine. The caller holds a P, so he looks here himself before he sleeps.
    pub(crate) fn put_one(&self, task: *const Task) {
        let mut listed = self.listed.lock();
        listed.push(task);
        self.len.store(listed.len, Ordering::Relaxed);
    }

    /// Pushes a goroutine without waiting for anybody; async-signal-safe.
    #[inline]
    pub(crate) fn inject(&self, task: *const Task) {
        let mut top = self.injected.load(Ordering::Relaxed);
        loop {
            // SAFETY: the caller owns `task` until the push succeeds.
            unsafe { (*task).next.set(top) };
            // SeqCst: the push and the caller's later look at `npidle` are ordered against the idle path's converse.
            match self.injected.compare_exchange_weak(top, task.cast_mut(), Ordering::SeqCst, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => top = now,
            }
        }
    }

    /// Whether there is anything, listed or injected.
    #[inline]
    pub(crate) fn has_any(&self) -> bool {
        self.len.load(Ordering::SeqCst) != 0 || !self.injected.load(Ordering::SeqCst).is_null()
    }

    /// Takes the share of one of `sharers`: one to run, the others, at most `room`, to `rest`.
    pub(crate) fn take(&self, sharers: usize, room: usize, mut rest: impl FnMut(*const Task)) -> Taken {
        let mut listed = self.listed.lock();
        let injected = self.drain_injected(&mut listed);
        let share = (listed.len / sharers + 1).min(128).min(room + 1).min(listed.len);
        let first = listed.pop();
        for _ in 1..share {
            rest(listed.pop().expect("the share is at most the length"));
        }
        self.len.store(listed.len, Ordering::Relaxed);
        Taken { first, injected }
    }

    /// Moves the injection stack behind the queue. True: there was something in it.
    fn drain_injected(&self, listed: &mut Batch) -> bool {
        if self.injected.load(Ordering::Relaxed).is_null() {
            return false;
        }
        // Acquire: the pushers' writes to their goroutines. SeqCst as the pushes, for the idle path.
        let mut top = self.injected.swap(ptr::null_mut(), Ordering::SeqCst).cast_const();
        let mut oldest: *const Task = ptr::null();
        // SAFETY: the stack was taken whole, so its members are ours; reverse it, then append.
        unsafe {
            while !top.is_null() {
                let next = (*top).next.get();
                (*top).next.set(oldest);
                oldest = top;
                top = next;
            }
            while !oldest.is_null() {
                let next = (*oldest).next.get();
                listed.push(oldest);
                oldest = next;
            }
        }
        true
    }
}
