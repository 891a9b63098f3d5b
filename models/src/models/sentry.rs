//! Mutexes that are released where no hook sees it: `sync/futex/sentry.rs` over the real futex table.
//!
//! libc's mutex is a word and the kernel of `os`: 0 free, 1 held, 2 held and somebody may sleep in the kernel.
//!
//! Asserted: goroutines that want the mutex get it, one at a time, although a kernel thread's release of it wakes nobody in the
//! table.

use crate::atomic::{AtomicU32, Ordering};
use crate::engine::{keep, Tracked};
use crate::os;
use crate::sched::g::G;
use crate::sync::futex;
use crate::sync::futex::sentry::{lock_or_wait, Silent, Step};

/// libc's mutex.
struct Mutex {
    word: AtomicU32,
    guarded: Tracked<u32>,
}

impl Mutex {
    fn key(&self) -> usize {
        core::ptr::from_ref(self) as usize
    }

    fn try_lock(&self) -> bool {
        self.word.compare_exchange(0, 1, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// libc's own lock function.
    fn lock_in_kernel(&self) {
        while self.word.swap(2, Ordering::SeqCst) != 0 {
            os::futex_wait(&self.word, 2, None);
        }
    }

    /// libc's own release.
    fn unlock_silently(&self) {
        if self.word.swap(0, Ordering::SeqCst) == 2 {
            os::futex_wake(&self.word, 1);
        }
    }

    /// A release that a hook sees.
    fn unlock(&self) {
        self.unlock_silently();
        futex::wake(self.key(), 1, u32::MAX);
    }

    /// A goroutine locks, does its work, and unlocks.
    fn section(&self, g: &G) {
        loop {
            let try_lock = || self.try_lock().then_some(0);
            let lock = || {
                self.lock_in_kernel();
                0
            };
            if let Step::Result(0) = lock_or_wait(g, self.key(), u32::MAX, false, None, try_lock, lock) {
                break;
            }
        }
        self.guarded.write(|n| *n += 1);
        self.unlock();
    }
}

/// A kernel thread holds the mutex and gives it up in `pthread_cond_wait`, while goroutines want it.
fn run(goroutines: usize) {
    let mutex = keep(Mutex { word: AtomicU32::new(0), guarded: Tracked::new(0) });
    assert!(mutex.try_lock());
    let waiters: Vec<_> = (0..goroutines).map(|_| G::goroutine().go(move |g| mutex.section(g))).collect();
    let silent = keep(Silent::new(mutex.key()));
    mutex.guarded.write(|n| *n += 1);
    // SAFETY: it stays where it is.
    unsafe { silent.announce() };
    mutex.unlock_silently();
    waiters.into_iter().for_each(|waiter| waiter.join().expect("it has not panicked"));
    silent.done();
    assert_eq!(mutex.guarded.read(|n| *n) as usize, goroutines + 1);
}

pub(super) fn condvar_wait() {
    run(1);
}

pub(super) fn two_goroutines() {
    run(2);
}
