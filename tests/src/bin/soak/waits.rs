//! Goroutines among themselves: births, channels, locks, timers.

use crate::toolbox::{spawn, spawn_with, total, Rng};
use gort::thread::{self, Builder};
use gort_tests::locks::CSem;
use gort_tests::queues::Queue;
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{mpsc, Arc, Barrier, Condvar, Mutex, RwLock};
use std::time::{Duration, Instant};

thread_local!(static DEPTH: Cell<u64> = const { Cell::new(0) });

/// A tree of goroutines; then many at once, some with stacks of unusual sizes.
pub fn spawn_storm(rng: &mut Rng) {
    fn tree(depth: u64) -> u64 {
        assert_eq!(DEPTH.replace(depth), 0, "fresh");
        let below = if depth == 0 { 0 } else { total((0..2).map(|_| spawn(move || tree(depth - 1)))) };
        assert_eq!(DEPTH.get(), depth);
        below + 1
    }
    let depth = 3 + rng.below(5) as u64;
    assert_eq!(spawn(move || tree(depth)).join().unwrap(), (2 << depth) - 1);
    let n = rng.below(300) as u64;
    let sizes = [16 << 10, 64 << 10, 300 << 10, 1 << 20];
    let all: Vec<_> = (0..n)
        .map(|i| match sizes.get(rng.below(40)) {
            Some(&size) => spawn_with(|| Builder::new().stack_size(size), move || i),
            None => spawn(move || i),
        })
        .collect();
    assert_eq!(total(all), n * n.saturating_sub(1) / 2);
}

/// Items from some to some others, through channels with and without a bound.
pub fn channels(rng: &mut Rng) {
    let (producers, items) = (1 + rng.below(6) as u64, 200u64);
    let (to, from) = mpsc::sync_channel(rng.below(4));
    let (back, sums) = mpsc::channel();
    let from = Arc::new(Mutex::new(from));
    for _ in 0..1 + rng.below(4) {
        let (from, back) = (from.clone(), back.clone());
        drop(spawn(move || {
            let mut sum = 0u64;
            loop {
                // Not within the condition: the lock would be held until the end of the loop's body.
                let item = from.lock().unwrap().recv();
                match item {
                    Ok(item) => sum += item,
                    Err(_) => return back.send(sum).unwrap(),
                }
            }
        }));
    }
    drop(back);
    for _ in 0..producers {
        let to = to.clone();
        drop(spawn(move || (1..=items).for_each(|item| to.send(item).unwrap())));
    }
    drop(to);
    assert_eq!(sums.iter().sum::<u64>(), producers * items * (items + 1) / 2);
}

/// std's locks: a counter, a readers-writer lock, rounds by a barrier, a condition.
pub fn locks(rng: &mut Rng) {
    let n = 2 + rng.below(8);
    let counter = Arc::new(Mutex::new(0));
    let pair = Arc::new(RwLock::new((0u64, 0u64)));
    let barrier = Arc::new(Barrier::new(n));
    let turn = Arc::new((Mutex::new(0), Condvar::new()));
    let all: Vec<_> = (0..n)
        .map(|i| {
            let (counter, pair, barrier, turn) = (counter.clone(), pair.clone(), barrier.clone(), turn.clone());
            spawn(move || {
                let mut leads = 0;
                for round in 0..10 {
                    *counter.lock().unwrap() += 1;
                    if (i + round) % 3 == 0 {
                        let mut both = pair.write().unwrap();
                        both.0 += 1;
                        thread::yield_now();
                        both.1 += 1;
                    } else {
                        let both = pair.read().unwrap();
                        assert_eq!(both.0, both.1);
                    }
                    leads += u64::from(barrier.wait().is_leader());
                }
                // One after the other.
                let (lock, changed) = &*turn;
                let mut now = changed.wait_while(lock.lock().unwrap(), |now| *now != i).unwrap();
                *now += 1;
                changed.notify_all();
                leads
            })
        })
        .collect();
    assert_eq!(total(all), 10, "one leads each round");
    assert_eq!(*counter.lock().unwrap(), 10 * n);
    assert_eq!(*turn.0.lock().unwrap(), n);
}

/// C's and C++'s locks, in a queue with few places; a semaphore.
pub fn locks_of_c(rng: &mut Rng) {
    let queue = Arc::new(if rng.below(2) == 0 { Queue::c11() } else { Queue::cpp() });
    let pairs = 1 + rng.below(4);
    let all: Vec<_> = (0..2 * pairs)
        .map(|i| {
            let queue = queue.clone();
            spawn(move || match i % 2 {
                0 => {
                    (1..=100).for_each(|item| queue.put(item));
                    0
                }
                _ => (0..100).map(|_| queue.take() as u64).sum(),
            })
        })
        .collect();
    assert_eq!(total(all), pairs as u64 * 5050);

    let permits = 1 + rng.below(3);
    let sem = Arc::new(CSem::new(permits as u32));
    let inside = Arc::new(AtomicU64::new(0));
    let all: Vec<_> = (0..10)
        .map(|_| {
            let (sem, inside) = (sem.clone(), inside.clone());
            spawn(move || {
                for _ in 0..10 {
                    sem.wait();
                    assert!(inside.fetch_add(1, SeqCst) < permits as u64, "no more than were let in");
                    thread::yield_now();
                    inside.fetch_sub(1, SeqCst);
                    sem.post();
                }
                1
            })
        })
        .collect();
    assert_eq!(total(all), 10);
}

/// Sleeps, which are never too short; waits that end by time and by a wake.
pub fn timers(rng: &mut Rng) {
    let all: Vec<_> = (0..1 + rng.below(100))
        .map(|_| {
            let time = Duration::from_micros(rng.below(5000) as u64);
            let std = rng.below(2) == 0;
            spawn(move || {
                let before = Instant::now();
                if std {
                    std::thread::sleep(time);
                } else {
                    thread::sleep(time);
                }
                assert!(before.elapsed() >= time);
                1
            })
        })
        .collect();
    total(all);
    let (to, from) = mpsc::channel::<()>();
    let before = Instant::now();
    assert_eq!(from.recv_timeout(Duration::from_micros(300)), Err(mpsc::RecvTimeoutError::Timeout));
    assert!(before.elapsed() >= Duration::from_micros(300));
    let parked = spawn(move || {
        thread::park_timeout(Duration::from_secs(600));
        drop(to);
        1
    });
    parked.thread().unpark();
    assert_eq!(from.recv(), Err(mpsc::RecvError), "woken long before its time");
    assert_eq!(parked.join().unwrap(), 1);
}
