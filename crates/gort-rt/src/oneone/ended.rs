//! Joining threads that nobody waits for, so that the end of the runtime leaves none behind.
//!
//! A thread that ends cannot join itself, and should not stay unjoined until the runtime ends. So each, when nothing of the
//! user's runs on it any more, puts itself at the end of a list, and joins some of those at its beginning: more than one, so
//! that the list shrinks, and only those that the kernel has ended already. It must not wait for another one. While
//! there is more to do than processors, a thread that ends may stand behind hundreds of others before it is run for the last
//! time; were the next to wait for that and then for its own turn, and so on, threads would end one after the other, each
//! a round of the kernel's scheduler later, while others are made all the time, and the process would run out of them.

use crate::fork;
use crate::os::Thread;
use crate::sync::rawmutex::RawMutex;
use std::collections::VecDeque;

/// How many each thread that ends tries to join.
const JOINS: usize = 2;

/// Threads that have ended, or are just about to, and are not joined; the earliest first.
pub(super) struct Ended(RawMutex<VecDeque<Thread>>);

impl Ended {
    pub(super) const fn none() -> Ended {
        Ended(RawMutex::new(VecDeque::new()))
    }

    /// The calling thread ends, whose maker has given its handle up. In a forked child there is nobody to join, or to be
    /// joined by.
    pub(super) fn this(&self) {
        if fork::is_child() {
            return;
        }
        for _ in 0..JOINS {
            let Some(earliest) = self.0.lock().pop_front() else { break };
            if let Err(alive) = earliest.try_join() {
                self.0.lock().push_back(alive);
            }
        }
        self.0.lock().push_back(Thread::this());
    }

    /// Joins all. When nobody comes any more.
    pub(super) fn join(&self) {
        loop {
            let Some(earliest) = self.0.lock().pop_front() else { break };
            earliest.join();
        }
        *self.0.lock() = VecDeque::new(); // which has no memory
    }
}
