//! Programs that Go's own tests made classics, with std's channels.

use gort::thread;
use gort_tests::measure::everywhere;
use std::sync::mpsc;
use std::sync::{Arc, Mutex};

/// Sieve of Eratosthenes by a chain of goroutines: each takes the multiples of one prime out.
#[test]
fn prime_sieve() {
    everywhere(|| {
        let (to, mut from) = mpsc::sync_channel(0);
        thread::spawn(move || {
            for n in 2.. {
                if to.send(n).is_err() {
                    return;
                }
            }
        });
        let mut primes = Vec::new();
        for _ in 0..100 {
            let prime: u32 = from.recv().unwrap();
            primes.push(prime);
            let (to, next) = mpsc::sync_channel(0);
            thread::spawn(move || {
                for n in from.iter().filter(|n| n % prime != 0) {
                    if to.send(n).is_err() {
                        return;
                    }
                }
            });
            from = next;
        }
        assert_eq!(primes[..10], [2, 3, 5, 7, 11, 13, 17, 19, 23, 29]);
        assert_eq!(primes[99], 541);
    });
}

#[test]
fn daisy_chain_of_ten_thousand() {
    for capacity in [0, 1] {
        let (first, mut from) = mpsc::sync_channel(capacity);
        for _ in 0..10_000 {
            let (to, next) = mpsc::sync_channel(capacity);
            thread::spawn(move || {
                for n in from {
                    let n: u32 = n;
                    to.send(n + 1).unwrap();
                }
            });
            from = next;
        }
        let sender = thread::spawn(move || (0..3).for_each(|i| first.send(i * 100_000).unwrap()));
        assert_eq!(from.iter().collect::<Vec<_>>(), [10_000, 110_000, 210_000]);
        sender.join().unwrap();
    }
}

#[test]
fn many_consumers_take_each_item_once() {
    const ITEMS: u64 = 271_828;
    let (to, from) = mpsc::sync_channel::<u64>(100);
    let from = Arc::new(Mutex::new(from));
    let workers: Vec<_> = (0..23)
        .map(|_| {
            let from = from.clone();
            thread::spawn(move || {
                let (mut n, mut sum) = (0u64, 0u64);
                loop {
                    let item = from.lock().unwrap().recv();
                    let Ok(item) = item else { return (n, sum) };
                    n += 1;
                    sum += item;
                    if item % 64 == 0 {
                        thread::yield_now();
                    }
                }
            })
        })
        .collect();
    let feeder = thread::spawn(move || (0..ITEMS).for_each(|i| to.send(i).unwrap()));
    let results: Vec<_> = workers.into_iter().map(|g| g.join().unwrap()).collect();
    feeder.join().unwrap();
    assert_eq!(results.iter().map(|r| r.0).sum::<u64>(), ITEMS);
    assert_eq!(results.iter().map(|r| r.1).sum::<u64>(), ITEMS * (ITEMS - 1) / 2);
}
