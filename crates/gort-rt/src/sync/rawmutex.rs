//! The runtime's mutex.
//!
//! std's would do if its waiting did not go through libc's `syscall`, which gort hooks. This one waits by a system call
//! of our own, uses no thread-local storage, does not allocate and does not poison. It is unfair: whoever comes first
//! gets it, so sections must be short.
//!
//! # Protocol
//!
//! One word: `FREE`, `HELD`, or `CONTENDED` = held, and somebody may be asleep.
//!
//! * `lock`: FREE → HELD by one compare-and-swap. Otherwise look a few times whether it becomes free, then swap in
//!   CONTENDED until the value swapped out is FREE, and sleep on CONTENDED between two swaps.
//! * `unlock`: swap in FREE; if CONTENDED came out, wake one sleeper.
//!
//! A thread that has slept takes the mutex as CONTENDED, since it cannot know whether others still sleep; the price is a
//! wake in vain. No wake-up is lost: a thread sleeps only while the word is CONTENDED, the kernel compares and queues
//! atomically, and every way out of CONTENDED is an unlock that wakes.

use crate::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use crate::atomic::{bound, spin_loop, AtomicU32, UnsafeCell};
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};

use crate::os;

const FREE: u32 = 0;
const HELD: u32 = 1;
const CONTENDED: u32 = 2;

/// Looks at the word before going to sleep: about as long as the sections of this runtime take.
const SPINS: usize = bound(60, 1);

/// A value that one thread at a time may reach. `RawMutex<()>` is a mutex alone.
pub(crate) struct RawMutex<T> {
    word: AtomicU32,
    value: UnsafeCell<T>,
}

// SAFETY: the value is reached only through the guard, one thread at a time, so it moves between threads but is never
// shared; T: Send is what that takes.
unsafe impl<T: Send> Sync for RawMutex<T> {}

impl<T> RawMutex<T> {
    /// A free mutex around `value`.
    pub(crate) const fn new(value: T) -> Self {
        Self { word: AtomicU32::new(FREE), value: UnsafeCell::new(value) }
    }

    /// Takes the mutex, blocking the kernel thread until it is free. A thread that already holds it waits forever.
    ///
    /// Taking it is a SeqCst operation: what the holder then reads is ordered against what others did before a fence and
    /// [`RawMutex::is_held`].
    #[inline]
    pub(crate) fn lock(&self) -> RawMutexGuard<'_, T> {
        if self.word.compare_exchange(FREE, HELD, SeqCst, Relaxed).is_err() {
            lock_slow(&self.word);
        }
        RawMutexGuard { mutex: self, not_send: PhantomData }
    }

    /// Whether somebody holds the mutex at this moment. If nobody does, what the last holder did is visible.
    #[inline]
    pub(crate) fn is_held(&self) -> bool {
        self.word.load(Acquire) != FREE
    }

    /// In the child of a fork: whoever held the mutex is not there. Async-signal-safe.
    pub(crate) fn abandoned(&self) {
        self.word.store(FREE, SeqCst);
    }

    /// Takes the mutex if that needs no waiting.
    #[inline]
    pub(crate) fn try_lock(&self) -> Option<RawMutexGuard<'_, T>> {
        let taken = self.word.compare_exchange(FREE, HELD, Acquire, Relaxed).is_ok();
        taken.then(|| RawMutexGuard { mutex: self, not_send: PhantomData })
    }
}

/// Waits until the mutex with this word is ours.
#[cold]
fn lock_slow(word: &AtomicU32) {
    for _ in 0..SPINS {
        match word.load(Relaxed) {
            FREE if word.compare_exchange(FREE, HELD, SeqCst, Relaxed).is_ok() => return,
            // Others sleep already, so the holder's unlock will be slow anyway.
            CONTENDED => break,
            _ => spin_loop(),
        }
    }
    while word.swap(CONTENDED, SeqCst) != FREE {
        os::futex_wait(word, CONTENDED, None);
    }
}

/// Access to the value of a [`RawMutex`], which is released when this is dropped.
#[must_use = "the mutex is released when the guard is dropped"]
pub(crate) struct RawMutexGuard<'a, T> {
    mutex: &'a RawMutex<T>,
    /// A mutex belongs to the kernel thread, or the goroutine, that took it.
    not_send: PhantomData<*const ()>,
}

impl<T> Deref for RawMutexGuard<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: this guard holds the mutex, so no other guard exists; a shared borrow of it excludes `deref_mut`.
        unsafe { &*self.mutex.value.get() }
    }
}

impl<T> DerefMut for RawMutexGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: this guard holds the mutex, so no other guard exists, and it is borrowed exclusively.
        unsafe { &mut *self.mutex.value.get() }
    }
}

impl<T> Drop for RawMutexGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        // Once the word is FREE another thread may take the mutex, release it, and free the memory it lies in. The wake
        // needs only the address.
        let word: *const AtomicU32 = &self.mutex.word;
        if self.mutex.word.swap(FREE, Release) == CONTENDED {
            os::futex_wake(word, 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;

    #[test]
    fn try_lock_respects_a_holder() {
        let mutex = RawMutex::new(());
        let guard = mutex.lock();
        assert!(mutex.try_lock().is_none());
        drop(guard);
        assert!(mutex.try_lock().is_some());
    }

    #[test]
    fn no_increment_is_lost() {
        const THREADS: usize = 8;
        const ROUNDS: usize = 20_000;
        let lock = RawMutex::new((0usize, 0usize));
        let start = Barrier::new(THREADS);
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    start.wait();
                    for _ in 0..ROUNDS {
                        let mut pair = lock.lock();
                        pair.0 += 1;
                        pair.1 += 1;
                        assert_eq!(pair.0, pair.1);
                    }
                });
            }
        });
        assert_eq!(*lock.lock(), (THREADS * ROUNDS, THREADS * ROUNDS));
        assert_eq!(lock.word.load(Relaxed), FREE);
    }

    #[test]
    fn sleepers_are_woken_one_by_one() {
        let mutex = RawMutex::new(());
        let guard = mutex.lock();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| drop(mutex.lock()));
            }
            // Until somebody is at least about to sleep.
            while mutex.word.load(Relaxed) != CONTENDED {
                os::sched_yield();
            }
            drop(guard);
        });
        assert_eq!(mutex.word.load(Relaxed), FREE);
    }
}
