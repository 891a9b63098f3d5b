//! Blocking crates on goroutines and on plain threads: parking_lot, crossbeam-channel, flume. They know nothing of gort.

use crossbeam_channel::{after, bounded, never, select, unbounded, RecvTimeoutError, Select};
use gort::thread;
use gort_tests::kinds::on_goroutines_and_threads;
use gort_tests::measure::{everywhere, kernel_threads};
use gort_tests::needs_goroutines;
use gort_tests::subprocess::{role, Rerun};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::Arc;
use std::time::{Duration, Instant};

const LONG: Duration = Duration::from_secs(3600);
const SHORT: Duration = Duration::from_millis(5);

#[test]
fn parking_lot_mutex_and_rwlock() {
    let cell = parking_lot::Mutex::new(0);
    let pair = parking_lot::RwLock::new((0, 0));
    on_goroutines_and_threads(8, |i| {
        for round in 0..300 {
            let mut n = cell.lock();
            let old = *n;
            if (round + i) % 16 == 0 {
                thread::yield_now();
            }
            *n = old + 1;
            drop(n);
            if (round + i) % 5 == 0 {
                let mut both = pair.write();
                both.0 += 1;
                thread::yield_now();
                both.1 += 1;
            } else {
                let both = pair.read();
                assert_eq!(both.0, both.1);
            }
        }
    });
    assert_eq!(*cell.lock(), 4800);
    assert_eq!(*pair.read(), (960, 960));
}

#[test]
fn parking_lot_fair_unlock_and_reentrance() {
    let lock = parking_lot::ReentrantMutex::new(std::cell::Cell::new(0));
    on_goroutines_and_threads(4, |_| {
        for _ in 0..200 {
            let outer = lock.lock();
            let inner = lock.lock(); // the same owner: told by a thread-local's address
            inner.set(inner.get() + 1);
            thread::yield_now();
            drop(inner);
            parking_lot::ReentrantMutexGuard::unlock_fair(outer);
        }
    });
    assert_eq!(lock.lock().get(), 1600);
}

#[test]
fn parking_lot_condvar() {
    everywhere(|| {
        let (tokens, more) = (parking_lot::Mutex::new(0), parking_lot::Condvar::new());
        let taken = AtomicUsize::new(0);
        on_goroutines_and_threads(4, |i| {
            for _ in 0..300 {
                if i / 2 % 2 == 0 {
                    *tokens.lock() += 1;
                    more.notify_one();
                } else {
                    let mut n = tokens.lock();
                    more.wait_while(&mut n, |n| *n == 0);
                    *n -= 1;
                    taken.fetch_add(1, SeqCst);
                }
            }
        });
        assert_eq!((taken.load(SeqCst), *tokens.lock()), (1200, 0));
        let before = Instant::now();
        assert!(more.wait_for(&mut tokens.lock(), SHORT).timed_out());
        assert!(before.elapsed() >= SHORT);
    });
}

#[test]
fn crossbeam_rendezvous() {
    everywhere(|| {
        let (to, from) = bounded(0);
        assert!(to.try_send(1).is_err(), "nobody receives");
        let sender = thread::spawn(move || (0..2000).for_each(|i| to.send(i).unwrap()));
        (0..2000).for_each(|i| assert_eq!(from.recv(), Ok(i)));
        assert!(from.recv().is_err());
        sender.join().unwrap();
    });
}

#[test]
fn crossbeam_timeouts() {
    everywhere(|| {
        let (to, from) = unbounded::<u32>();
        let before = Instant::now();
        assert_eq!(from.recv_timeout(SHORT), Err(RecvTimeoutError::Timeout));
        assert!(before.elapsed() >= SHORT);
        select! {
            recv(from) -> _ => panic!("nobody sends"),
            recv(after(SHORT)) -> _ => {}
        }
        assert!(before.elapsed() >= 2 * SHORT);
        let sender = thread::spawn(move || to.send(4).unwrap());
        assert_eq!(from.recv_timeout(LONG), Ok(4));
        sender.join().unwrap();
        assert_eq!(from.recv_timeout(LONG), Err(RecvTimeoutError::Disconnected));
    });
}

#[test]
fn select_takes_what_is_ready() {
    everywhere(|| {
        let (to_a, a) = bounded::<u32>(0);
        let (to_b, b) = bounded::<u32>(0);
        let senders = [
            thread::spawn(move || (0..1000).for_each(|i| to_a.send(i).unwrap())),
            thread::spawn(move || (0..1000).for_each(|i| to_b.send(i).unwrap())),
        ];
        let (mut next_a, mut next_b) = (0, 0);
        while next_a + next_b < 2000 {
            select! {
                recv(a) -> v => if let Ok(v) = v { assert_eq!(v, next_a); next_a += 1 },
                recv(b) -> v => if let Ok(v) = v { assert_eq!(v, next_b); next_b += 1 },
                recv(never::<()>()) -> _ => unreachable!(),
            }
        }
        assert_eq!((next_a, next_b), (1000, 1000));
        senders.into_iter().for_each(|g| g.join().unwrap());
    });
}

/// One sender over four channels, four forwarders, one receiver: no value comes twice.
#[test]
fn double_select() {
    const N: usize = 20_000;
    let channels: Vec<_> = (0..4).map(|_| bounded::<usize>(0)).collect();
    let (to_all, all) = unbounded();
    for (_, from) in &channels {
        let (from, to) = (from.clone(), to_all.clone());
        thread::spawn(move || from.iter().for_each(|v| to.send(v).unwrap()));
    }
    drop(to_all);
    let senders: Vec<_> = channels.into_iter().map(|(to, _)| to).collect();
    let sender = thread::spawn(move || {
        for i in 0..N {
            select! {
                send(senders[0], i) -> r => r.unwrap(),
                send(senders[1], i) -> r => r.unwrap(),
                send(senders[2], i) -> r => r.unwrap(),
                send(senders[3], i) -> r => r.unwrap(),
            }
        }
    });
    let mut seen = vec![false; N];
    for v in all {
        assert!(!std::mem::replace(&mut seen[v], true), "{v} came twice");
    }
    assert!(seen.into_iter().all(|s| s), "every value came");
    sender.join().unwrap();
}

/// Two goroutines that offer to send and to receive on one channel: nobody talks to itself, and both go on.
#[test]
fn self_select() {
    for capacity in [0, 10] {
        let (to, from) = bounded(capacity);
        let all: Vec<_> = [0usize, 1]
            .into_iter()
            .map(|me| {
                let (to, from) = (to.clone(), from.clone());
                thread::spawn(move || {
                    for _ in 0..1000 {
                        select! {
                            send(to, me) -> r => r.unwrap(),
                            recv(from) -> v => assert!(capacity > 0 || v.unwrap() != me, "talks to itself"),
                        }
                    }
                })
            })
            .collect();
        // Who is left alone when the other is done needs a partner.
        let (stop, stopped) = bounded::<()>(0);
        let (to, from) = (to.clone(), from.clone());
        let partner = thread::spawn(move || loop {
            select! {
                send(to, 2) -> r => r.unwrap(),
                recv(from) -> _ => {}
                recv(stopped) -> _ => return,
            }
        });
        all.into_iter().for_each(|g| g.join().unwrap());
        drop(stop);
        partner.join().unwrap();
    }
}

/// Senders, receivers, a selecting sender and a selecting receiver over four channels of capacities 0, 0, 2, 3.
#[test]
fn select_stress() {
    const N: usize = 3000;
    let channels: Vec<_> = [0, 0, 2, 3].into_iter().map(bounded::<usize>).collect();
    thread::scope(|s| {
        for (to, from) in &channels {
            s.spawn(move || (0..N).for_each(|_| to.send(0).unwrap()));
            s.spawn(move || (0..N).for_each(|_| assert!(from.recv().is_ok())));
        }
        s.spawn(|| {
            let mut left = [N; 4];
            while left.iter().any(|n| *n > 0) {
                let mut select = Select::new();
                let open: Vec<_> = (0..4).filter(|i| left[*i] > 0).collect();
                for i in &open {
                    select.send(&channels[*i].0);
                }
                let ready = select.select();
                let i = open[ready.index()];
                ready.send(&channels[i].0, 0).unwrap();
                left[i] -= 1;
            }
        });
        s.spawn(|| {
            let mut left = [N; 4];
            while left.iter().any(|n| *n > 0) {
                let mut select = Select::new();
                let open: Vec<_> = (0..4).filter(|i| left[*i] > 0).collect();
                for i in &open {
                    select.recv(&channels[*i].1);
                }
                let ready = select.select();
                let i = open[ready.index()];
                ready.recv(&channels[i].1).unwrap();
                left[i] -= 1;
            }
        });
    });
    assert!(channels.iter().all(|(_, from)| from.is_empty()));
}

#[test]
fn many_consumers_share_271_828_items() {
    const ITEMS: u64 = 271_828;
    const WORKERS: usize = 23;
    for capacity in [0, 100] {
        let (to, from) = bounded::<u64>(capacity);
        let fed = Arc::new(AtomicUsize::new(0));
        let workers: Vec<_> = (0..WORKERS)
            .map(|_| {
                let (from, fed) = (from.clone(), fed.clone());
                thread::spawn(move || {
                    let (mut n, mut sum) = (0u64, 0);
                    for item in from.iter() {
                        if n == 0 {
                            fed.fetch_add(1, SeqCst);
                        }
                        n += 1;
                        sum += item;
                        if item % 16 == 0 {
                            thread::yield_now();
                        }
                    }
                    (n, sum)
                })
            })
            .collect();
        drop(from);
        // All of that takes some time slices only, so go on until everybody has had something: nobody waits for ever.
        let sender = thread::spawn(move || {
            let start = Instant::now();
            let mut sent = 0;
            while sent < ITEMS || (fed.load(SeqCst) < WORKERS && start.elapsed() < Duration::from_secs(60)) {
                to.send(sent).unwrap();
                sent += 1;
            }
            sent
        });
        let sent = sender.join().unwrap();
        let results: Vec<_> = workers.into_iter().map(|g| g.join().unwrap()).collect();
        assert_eq!(results.iter().map(|r| r.0).sum::<u64>(), sent);
        assert_eq!(results.iter().map(|r| r.1).sum::<u64>(), sent * (sent - 1) / 2);
        assert!(results.iter().all(|r| r.0 > 0), "a worker got nothing: {results:?}");
    }
}

#[test]
fn flume_between_the_kinds() {
    for capacity in [0, 1, 16] {
        let (to_goroutine, from_thread) = flume::bounded(capacity);
        let (to_thread, from_goroutine) = flume::bounded(capacity);
        let echo = thread::spawn(move || from_thread.iter().for_each(|n: u32| to_thread.send(n * 2).unwrap()));
        let feeder = std::thread::spawn(move || (0..2000).for_each(|i| to_goroutine.send(i).unwrap()));
        (0..2000).for_each(|i| assert_eq!(from_goroutine.recv(), Ok(2 * i)));
        feeder.join().unwrap();
        echo.join().unwrap();
    }
    everywhere(|| {
        let (to, from) = flume::unbounded::<u8>();
        let before = Instant::now();
        assert_eq!(from.recv_timeout(SHORT), Err(flume::RecvTimeoutError::Timeout));
        assert!(before.elapsed() >= SHORT);
        drop(to);
        assert!(from.recv().is_err());
    });
}

/// Waiters of every crate at once on one P: that few kernel threads carry them proves that they park.
#[test]
fn thousands_wait_on_few_kernel_threads() {
    needs_goroutines!("kernel threads are counted");
    if role().is_none() {
        Rerun::of("thousands_wait_on_few_kernel_threads", "child").env("GORT_PROCS", "1").run().success();
        return;
    }
    const N: usize = 500;
    let arrived = Arc::new(AtomicUsize::new(0));
    let lock = Arc::new(parking_lot::Mutex::new(0));
    let (to_c, crossbeam) = bounded::<()>(0);
    let (to_f, flume) = flume::bounded::<()>(0);
    let held = lock.lock();
    let mut all = Vec::new();
    let (last, all_there) = bounded(1);
    for i in 0..3 * N {
        let (arrived, lock, crossbeam, flume, last) =
            (arrived.clone(), lock.clone(), crossbeam.clone(), flume.clone(), last.clone());
        all.push(thread::spawn(move || {
            if arrived.fetch_add(1, SeqCst) == 3 * N - 1 {
                last.send(()).unwrap();
            }
            match i % 3 {
                0 => *lock.lock() += 1,
                1 => assert!(crossbeam.recv().is_err()),
                _ => assert!(flume.recv().is_err()),
            }
        }));
    }
    all_there.recv().unwrap();
    thread::spawn(|| ()).join().unwrap();
    assert!(all.iter().all(|g| !g.is_finished()));
    assert!(gort::stats().kernel_threads <= 64, "{:?}", gort::stats());
    assert!(kernel_threads() <= 70);
    drop((held, to_c, to_f));
    all.into_iter().for_each(|g| g.join().unwrap());
    assert_eq!(*lock.lock(), N);
}
