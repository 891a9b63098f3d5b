//! The futex table: `sync/futex.rs` over the real mutex, lists and wait word.
//!
//! Asserted: a goroutine that waits while a word has a value is woken when it changes, whatever the wakers find: nobody, a
//! taken lock, a timer that was first; and each waiter is counted once.

use crate::atomic::{AtomicU32, Ordering};
use crate::engine::{keep, spawn, Tracked};
use crate::sched::g::G;
use crate::sync::futex::{self, Wait};
use crate::time;
use core::cell::Cell;

const ALL: u32 = u32::MAX;

fn address(word: &AtomicU32) -> usize {
    core::ptr::from_ref(word) as usize
}

fn wait_while_zero(g: &G, word: &AtomicU32) -> u32 {
    let mut wakes = 0;
    while word.load(Ordering::Relaxed) == 0 {
        // SAFETY: the words of a model live as long as the execution.
        if unsafe { futex::wait(g, word, 0, ALL, None) } == Wait::Woken {
            wakes += 1;
        }
    }
    wakes
}

/// A waiter and a waker.
pub(super) fn wait_and_wake() {
    let word = keep(AtomicU32::new(0));
    let waiter = G::goroutine().go(move |g| {
        wait_while_zero(g, word);
    });
    word.store(1, Ordering::Relaxed);
    futex::wake(address(word), 1, ALL);
    waiter.join().expect("it has not panicked");
}

/// The same, with a waker that looks first whether anybody waits, having changed the word by a read-modify-write.
pub(super) fn look_then_wake() {
    let word = keep(AtomicU32::new(0));
    let waiter = G::goroutine().go(move |g| {
        wait_while_zero(g, word);
    });
    word.swap(1, Ordering::Release);
    if futex::has_waiters(address(word)) {
        futex::wake(address(word), 1, ALL);
    }
    waiter.join().expect("it has not panicked");
}

/// Two waiters and two wakers: a waker that finds the lock taken leaves the waking to whoever has it.
pub(super) fn lock_taken() {
    let words = keep([AtomicU32::new(0), AtomicU32::new(0)]);
    let waiter = G::goroutine().go(move |g| {
        wait_while_zero(g, &words[0]);
    });
    let other = spawn(move || {
        futex::wake(address(&words[0]), 1, ALL); // for nothing: it only takes the lock
    });
    words[0].store(1, Ordering::Relaxed);
    futex::wake(address(&words[0]), 1, ALL);
    other.join().expect("it has not panicked");
    waiter.join().expect("it has not panicked");
}

/// A waiter whose deadline passes while somebody wakes it.
pub(super) fn deadline() {
    let word = keep(AtomicU32::new(0));
    let woken = keep(Cell::new(0));
    let waiter = G::goroutine().go(move |g| {
        // SAFETY: as above.
        let end = unsafe { futex::wait(g, word, 0, ALL, Some(1)) };
        woken.set(u32::from(end == Wait::Woken));
    });
    let timer = spawn(time::ring);
    let count = futex::wake(address(word), 1, ALL).0;
    timer.join().expect("it has not panicked");
    waiter.join().expect("it has not panicked");
    // A waker that found the lock taken has woken somebody without counting him: a wait may end for no reason.
    assert!(woken.get() >= count, "a wake was spent on nobody");
    assert_eq!(futex::wake(address(word), 1, ALL), (0, false), "somebody is left in the table");
}

/// What is guarded by a lock made of a futex, as std's is.
pub(super) fn a_lock() {
    let word = keep(AtomicU32::new(0));
    let guarded = keep(Tracked::new(0));
    let section = move |g: &G| {
        while word.swap(1, Ordering::Acquire) != 0 {
            // SAFETY: as above.
            unsafe { futex::wait(g, word, 1, ALL, None) };
        }
        guarded.write(|n| *n += 1);
        word.swap(0, Ordering::Release);
        futex::wake(address(word), 1, ALL);
    };
    let others = [0, 1].map(|_| G::goroutine().go(section));
    for other in others {
        other.join().expect("it has not panicked");
    }
    assert_eq!(guarded.read(|n| *n), 2);
}
