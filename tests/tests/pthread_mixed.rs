//! C's locks with both kinds of waiters: goroutines and kernel threads that C made.

use gort::thread;
use gort_tests::cthreads::CThread;
use gort_tests::kinds::{on_both, with_one_p_and_two};
use gort_tests::locks::*;
use gort_tests::queues::{Pair, Queue};
use libc::{CLOCK_MONOTONIC, ETIMEDOUT};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::Arc;
use std::time::Duration;

const ITEMS: usize = 100_000;

/// A bounded queue as the textbooks make it. Everybody has a quota, so all of both kinds take part on both sides.
#[test]
fn producers_and_consumers_of_both_kinds() {
    if !with_one_p_and_two("producers_and_consumers_of_both_kinds") {
        return;
    }
    struct All {
        mutex: CMutex,
        more: CCond,
        less: CCond,
        /// How many are in the queue; changed under the mutex.
        here: AtomicUsize,
    }
    let all = All { mutex: CMutex::new(), more: CCond::new(), less: CCond::new(), here: AtomicUsize::new(0) };
    let all = Arc::new(all);
    on_both(&all, 4, |all, i| {
        let making = i / 2 % 2 == 0;
        let (wait, notify, end) = if making { (&all.less, &all.more, 4) } else { (&all.more, &all.less, 0) };
        for item in 0..ITEMS / 4 {
            assert_eq!(all.mutex.lock(), 0);
            while all.here.load(SeqCst) == end {
                assert_eq!(wait.wait(&all.mutex), 0);
            }
            let here = all.here.load(SeqCst);
            all.here.store(if making { here + 1 } else { here - 1 }, SeqCst);
            // With the mutex held, and without.
            if item % 2 == 0 {
                notify.signal();
                assert_eq!(all.mutex.unlock(), 0);
            } else {
                assert_eq!(all.mutex.unlock(), 0);
                notify.signal();
            }
        }
    });
    assert_eq!(all.here.load(SeqCst), 0);
}

/// As many signals as waiters: each wakes at least one, whichever kind it is meant for.
#[test]
fn every_signal_wakes_somebody() {
    if !with_one_p_and_two("every_signal_wakes_somebody") {
        return;
    }
    struct All {
        mutex: CMutex,
        cond: CCond,
        waiting: AtomicUsize,
    }
    let wait = |all: &All| {
        all.mutex.with(|| {
            all.waiting.fetch_add(1, SeqCst);
            assert_eq!(all.cond.wait(&all.mutex), 0);
        });
    };
    for _ in 0..100 {
        let all = Arc::new(All { mutex: CMutex::new(), cond: CCond::new(), waiting: AtomicUsize::new(0) });
        let goroutines: Vec<_> = (0..3).map(|_| all.clone()).map(|all| thread::spawn(move || wait(&all))).collect();
        let theirs = all.clone();
        let thread = CThread::spawn(move || wait(&theirs));
        while !all.mutex.with(|| {
            // Who is counted has released the mutex, so it waits; nobody gets away while we have it.
            let all_wait = all.waiting.load(SeqCst) == 4;
            (0..if all_wait { 4 } else { 0 }).for_each(|_| all.cond.signal());
            all_wait
        }) {
            thread::yield_now();
        }
        goroutines.into_iter().for_each(|g| g.join().unwrap());
        thread.join();
    }
}

/// While waiters of both kinds wait all the time, signals reach both.
#[test]
fn no_kind_starves_the_other() {
    if !with_one_p_and_two("no_kind_starves_the_other") {
        return;
    }
    const ENOUGH: usize = 20;
    struct All {
        mutex: CMutex,
        cond: CCond,
        woken: [AtomicUsize; 2],
    }
    let all = All { mutex: CMutex::new(), cond: CCond::new(), woken: Default::default() };
    let done = |all: &All| all.woken.iter().all(|n| n.load(SeqCst) >= ENOUGH);
    let all = Arc::new(all);
    let theirs = all.clone();
    let signaller = thread::spawn(move || {
        while !done(&theirs) {
            theirs.mutex.with(|| theirs.cond.signal());
            thread::yield_now();
        }
        theirs.mutex.with(|| theirs.cond.broadcast());
    });
    on_both(&all, 4, |all, i| {
        all.mutex.with(|| {
            while !all.woken.iter().all(|n| n.load(SeqCst) >= ENOUGH) {
                assert_eq!(all.cond.wait(&all.mutex), 0);
                all.woken[i % 2].fetch_add(1, SeqCst);
            }
        });
    });
    signaller.join().unwrap();
}

/// A deadline and a signal at the same moment: whoever wins, no signal is lost.
#[test]
fn deadlines_race_with_signals() {
    struct All {
        mutex: CMutex,
        cond: CCond,
        sem: CSem,
        tokens: AtomicUsize,
        taken: AtomicUsize,
    }
    let all = Arc::new(All {
        mutex: CMutex::new(),
        cond: CCond::by(CLOCK_MONOTONIC),
        sem: CSem::new(0),
        tokens: AtomicUsize::new(0),
        taken: AtomicUsize::new(0),
    });
    on_both(&all, 4, |all, i| {
        let soon = || moment(CLOCK_MONOTONIC, Duration::from_micros(20));
        for _ in 0..1000 {
            if i / 2 % 2 == 0 {
                all.mutex.with(|| all.tokens.fetch_add(1, SeqCst));
                all.cond.signal();
                all.sem.post();
            } else {
                all.mutex.with(|| {
                    while all.tokens.load(SeqCst) == 0 {
                        assert!(matches!(all.cond.clock_wait(&all.mutex, CLOCK_MONOTONIC, soon()), 0 | ETIMEDOUT));
                    }
                    all.tokens.fetch_sub(1, SeqCst);
                });
                while all.sem.clock_wait(CLOCK_MONOTONIC, soon()) == ETIMEDOUT {}
                all.taken.fetch_add(1, SeqCst);
            }
        }
    });
    assert_eq!((all.tokens.load(SeqCst), all.taken.load(SeqCst)), (0, 4000));
    assert_eq!(all.sem.clock_wait(CLOCK_MONOTONIC, moment(CLOCK_MONOTONIC, Duration::ZERO)), ETIMEDOUT);
}

#[test]
fn semaphores_and_readers_writer_locks_of_both_kinds() {
    struct All {
        sem: CSem,
        locks: [CRwLock; 2],
        pair: Pair,
        counts: [AtomicUsize; 3],
    }
    let all = Arc::new(All {
        sem: CSem::new(1),
        locks: [READERS_FIRST, WRITERS_FIRST].map(CRwLock::of_kind),
        pair: Pair::new(),
        counts: Default::default(),
    });
    on_both(&all, 4, |all, i| {
        let slowly_add = |n: usize, round: usize| {
            let old = all.counts[n].load(SeqCst);
            if (round + i).is_multiple_of(16) {
                thread::yield_now();
            }
            all.counts[n].store(old + 1, SeqCst);
        };
        for round in 0..1000 {
            all.sem.wait();
            slowly_add(2, round);
            all.sem.post();
            for (n, lock) in all.locks.iter().enumerate() {
                if (round + i).is_multiple_of(5) {
                    assert_eq!(lock.write(), 0);
                    slowly_add(n, round);
                } else {
                    assert_eq!(lock.read(), 0);
                    let seen = all.counts[n].load(SeqCst);
                    thread::yield_now();
                    assert_eq!(all.counts[n].load(SeqCst), seen);
                }
                lock.unlock();
                // A writer that gives up lets those go on whom it kept out.
                if round % 7 == 0 {
                    let at = moment(CLOCK_MONOTONIC, Duration::from_micros(5));
                    if lock.clock_write(CLOCK_MONOTONIC, at) == 0 {
                        lock.unlock();
                    }
                }
            }
            if round % 4 == 0 {
                all.pair.add();
            }
            assert!(all.pair.read() >= 0);
        }
    });
    assert_eq!(all.counts.each_ref().map(|n| n.load(SeqCst)), [1600, 1600, 8000]);
    assert_eq!(all.pair.read(), 8 * 250);
}

/// Whom a waiting writer keeps out may go on when it gives up, although nobody has released anything.
#[test]
fn a_writer_that_gives_up_lets_readers_in() {
    if !with_one_p_and_two("a_writer_that_gives_up_lets_readers_in") {
        return;
    }
    for on_goroutine in [false, true] {
        // A longer deadline if we are too slow to see the writer wait.
        let seen = (0..10).any(|attempt| gives_up(on_goroutine, Duration::from_millis(20 << attempt)));
        assert!(seen);
    }
}

/// True if the writer was seen to wait before it gave up.
fn gives_up(on_goroutine: bool, after: Duration) -> bool {
    let (lock, gave_up) = (Arc::new(CRwLock::of_kind(WRITERS_FIRST)), Arc::new(AtomicBool::new(false)));
    assert_eq!(lock.read(), 0);
    let (theirs, flag) = (lock.clone(), gave_up.clone());
    let write = move || {
        assert_eq!(theirs.clock_write(CLOCK_MONOTONIC, moment(CLOCK_MONOTONIC, after)), ETIMEDOUT);
        flag.store(true, SeqCst);
    };
    let (goroutine, thread) = match on_goroutine {
        true => (Some(thread::spawn(write)), None),
        false => (None, Some(CThread::spawn(write))),
    };
    let mut seen = false;
    while !seen && !gave_up.load(SeqCst) {
        match lock.try_read() {
            0 => lock.unlock(),
            error => seen = error == libc::EBUSY,
        }
        thread::yield_now();
    }
    let theirs = lock.clone();
    let reader = thread::spawn(move || {
        assert_eq!(theirs.read(), 0);
        theirs.unlock();
    });
    reader.join().unwrap();
    goroutine.into_iter().for_each(|g| g.join().unwrap());
    thread.into_iter().for_each(CThread::join);
    lock.unlock();
    seen
}

/// Barriers are made, used for many rounds by both kinds, and destroyed by whoever is told that it is the one.
#[test]
fn barriers_of_both_kinds() {
    struct All {
        barriers: Vec<CBarrier>,
        arrived: AtomicUsize,
        serials: AtomicUsize,
    }
    let all = Arc::new(All {
        barriers: (0..200).map(|_| CBarrier::new(8)).collect(),
        arrived: AtomicUsize::new(0),
        serials: AtomicUsize::new(0),
    });
    on_both(&all, 4, |all, i| {
        let mut come = 0;
        for barrier in &all.barriers {
            for round in 0..10 {
                come += 8;
                all.arrived.fetch_add(1, SeqCst);
                if (round + i) % 3 == 0 {
                    thread::yield_now();
                }
                let serial = barrier.wait();
                assert!(all.arrived.load(SeqCst) >= come);
                all.serials.fetch_add(usize::from(serial), SeqCst);
                if serial && round == 9 {
                    barrier.destroy_and_fill();
                }
            }
        }
    });
    assert_eq!(all.serials.load(SeqCst), 200 * 10);
    assert!(all.barriers.iter().all(CBarrier::is_still_filled), "somebody was in a barrier that was destroyed");
    let mut barrier = std::mem::MaybeUninit::<libc::pthread_barrier_t>::uninit();
    for count in [0, u32::MAX] {
        // SAFETY: room for a barrier; such a count is refused.
        let error = unsafe { libc::pthread_barrier_init(barrier.as_mut_ptr(), std::ptr::null(), count) };
        assert_eq!(error, libc::EINVAL);
    }
}

#[test]
fn the_queues_of_c11_and_of_cpp_between_both_kinds() {
    for queue in [Queue::c11(), Queue::cpp()] {
        let all = Arc::new((queue, AtomicUsize::new(0)));
        on_both(&all, 4, |all, i| {
            for item in 1..=500 {
                if i / 2 % 2 == 0 {
                    all.0.put(item);
                } else {
                    all.1.fetch_add(all.0.take() as usize, SeqCst);
                }
            }
        });
        assert_eq!(all.1.load(SeqCst), 4 * 500 * 501 / 2);
    }
}
