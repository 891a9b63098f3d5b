//! Mutexes that are released where no hook sees it.
//!
//! glibc's `pthread_cond_wait` releases the mutex inside libc. Kernel threads call it (goroutines have their own way to wait
//! for a condition), and no hook runs between that release and their sleep. A goroutine that is parked for the mutex would
//! sleep on, although the mutex is free. Someone has to wait where libc's release is felt: in the kernel. One goroutine does,
//! by libc's own lock function within a hand-off, in the place of all that are parked: the *sentry*. When it has had the
//! mutex it releases it by a hook, which wakes the next.
//!
//! # Protocol
//! Both parties write notes into the mutex's bucket, under its lock:
//!
//! ```text
//!   kernel thread that holds the mutex    goroutine that wants it
//!   lock the bucket                       lock the bucket
//!   note: a silent release is to come     try to get the mutex: done
//!   no sentry? wake one of the parked     open note, and no sentry? note: sentry here
//!   unlock                                else queue a node
//!   pthread_cond_wait                     unlock
//!   lock; take the note out; unlock       sentry: libc's lock;   others: park, then try again
//! ```
//!
//! Claim: while goroutines are parked for a mutex, then a goroutine stands sentry, or one was woken and has not tried again
//! yet, or the next release of the mutex is one that a hook sees. Of the two critical sections one is first:
//!
//! * The goroutine's. It is parked, or somebody else was before it. The thread finds a sentry or wakes one of the parked,
//!   who tries again: it gets the mutex, or sees the note and becomes the sentry. A sentry that is found has not had the
//!   mutex yet, for the thread has it, and the note of a sentry is taken out before its mutex can be released.
//! * The thread's. The goroutine sees the note, and either becomes the sentry or finds one.
//!
//! A note is *settled*, and of no concern any more, as soon as a goroutine has had the mutex while the note was there: its
//! author held the mutex when it wrote the note, so the release it tells of has been made. So a thread that sits in
//! `pthread_cond_wait` for long costs one hand-off, not one at each contention. A sentry that gives up (its lock function has
//! a deadline, or fails) wakes one of the parked, which may take its place.
//!
//! Sentries serve another purpose as well: for a lock by whose rules a waiter keeps others out (a readers-writer lock that
//! prefers writers), one of the waiting goroutines must be a waiter by that lock's own rules. There is always one then.

use super::{bucket, run, wait_or, Bucket, Queue, Wait};
use crate::debug::why::Why;
use crate::sched::g::G;
use crate::sched::global::Batch;
use crate::sync::list::{Links, List, Listed};
use core::cell::Cell;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Says {
    /// The author will release the mutex unseen.
    Silent,
    /// It has.
    Settled,
    /// The author waits in the kernel.
    Sentry,
}

/// See the module's head. Lies on its author's stack.
pub(super) struct Note {
    links: Links<Note>,
    key: usize,
    says: Cell<Says>,
}

impl Note {
    const fn new(key: usize, says: Says) -> Note {
        Note { links: Links::new(), key, says: Cell::new(says) }
    }
}

impl Listed for Note {
    fn links(&self) -> &Links<Note> {
        &self.links
    }
}

impl Queue {
    /// The notes about the mutex `key`.
    fn notes_on(&self, key: usize) -> impl Iterator<Item = &Note> {
        // SAFETY: linked notes live, and stay linked while the lock is held, that is, while `self` is borrowed.
        let first = unsafe { self.notes.first().as_ref() };
        // SAFETY: as above.
        core::iter::successors(first, |&note| unsafe { List::after(note).as_ref() }).filter(move |note| note.key == key)
    }

    fn has_sentry(&self, key: usize) -> bool {
        self.notes_on(key).any(|note| note.says.get() == Says::Sentry)
    }

    fn wants_sentry(&self, key: usize, always: bool) -> bool {
        (always || self.notes_on(key).any(|note| note.says.get() == Says::Silent)) && !self.has_sentry(key)
    }

    /// The caller has the mutex: those who announced a release have made it.
    fn settle(&mut self, key: usize) {
        for note in self.notes_on(key) {
            if note.says.get() == Says::Silent {
                note.says.set(Says::Settled);
            }
        }
    }
}

/// How a step towards a lock ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// A lock function gave this result; 0 means that the caller has the lock.
    Result(i32),
    /// A wake came: try again.
    Woken,
    /// The deadline passed.
    TimedOut,
}

/// A try of the running goroutine `g` to have the lock `key`, then a wait for it, as one of the waiters `bits`.
///
/// `try_lock` returns None if the lock is taken; it runs as the question of [`super::wait_unless`]. `lock` waits in the
/// kernel, in a hand-off; it is called if the goroutine is to be the sentry: if somebody announced a silent release, or
/// `always`, so that kernel threads, too, find that somebody waits.
pub(crate) fn lock_or_wait(
    g: &G,
    key: usize,
    bits: u32,
    always: bool,
    deadline: Option<u64>,
    try_lock: impl FnOnce() -> Option<i32>,
    lock: impl FnOnce() -> i32,
) -> Step {
    let sentry = Note::new(key, Says::Sentry);
    let instead = |queue: &mut Queue| {
        if let Some(result) = try_lock() {
            if result == 0 {
                queue.settle(key);
            }
            return Some(Some(result));
        }
        if queue.wants_sentry(key, always) {
            // SAFETY: it is in no list, and lies still until `relieve` takes it out.
            unsafe { queue.notes.push(&sentry) };
            return Some(None);
        }
        None
    };
    match wait_or(g, Why::lock(key), key, bits, deadline, instead, || true) {
        Ok(Wait::TimedOut) => Step::TimedOut,
        Ok(_) => Step::Woken,
        Err(Some(result)) => Step::Result(result),
        Err(None) => {
            let result = lock();
            relieve(bucket(key), &sentry, result == 0);
            Step::Result(result)
        }
    }
}

/// The sentry's lock function has returned.
fn relieve(bucket: &Bucket, sentry: &Note, has_mutex: bool) {
    let mut next = Batch::new();
    let mut queue = bucket.lock();
    // SAFETY: it was put into this bucket's list when the goroutine became the sentry.
    unsafe { queue.notes.remove(sentry) };
    if has_mutex {
        queue.settle(sentry.key);
    } else {
        bucket.take(&mut queue, 1, |node| node.word == sentry.key, &mut next);
    }
    drop(queue);
    run(next);
}

/// The announcement that a mutex will be released unseen.
pub struct Silent(Note);

impl Silent {
    /// An announcement, not made yet, about the mutex at this address.
    pub const fn new(mutex: usize) -> Silent {
        Silent(Note::new(mutex, Says::Silent))
    }

    /// Makes it. The caller holds the mutex.
    ///
    /// # Safety
    /// The announcement stays where it is until [`Silent::done`].
    pub(crate) unsafe fn announce(&self) {
        let key = self.0.key;
        let bucket = bucket(key);
        let mut sentry = Batch::new();
        let mut queue = bucket.lock();
        // SAFETY: the caller keeps it still, and it is in no list before.
        unsafe { queue.notes.push(&self.0) };
        if !queue.has_sentry(key) {
            bucket.take(&mut queue, 1, |node| node.word == key, &mut sentry);
        }
        drop(queue);
        run(sentry);
    }

    /// The release was made, or will be one that hooks see. Once after each `announce`.
    pub(crate) fn done(&self) {
        // SAFETY: `announce` has put it into this bucket's list.
        unsafe { bucket(self.0.key).lock().notes.remove(&self.0) };
    }
}
