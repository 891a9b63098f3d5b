//! `std::sync` and std's own blocking calls on goroutines: they park the goroutine, and keep every promise of theirs.

use gort::thread;
use gort_tests::measure::{eventually, everywhere, kernel_threads, on_goroutine};
use gort_tests::subprocess::{role, Rerun};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::{self, RecvTimeoutError, TryRecvError, TrySendError};
use std::sync::{Arc, Barrier, Condvar, LazyLock, Mutex, Once, OnceLock, RwLock};
use std::time::{Duration, Instant};

const LONG: Duration = Duration::from_secs(3600);
const SHORT: Duration = Duration::from_millis(5);

#[test]
fn every_hook_is_live() {
    let report = gort::interpose::report();
    assert!(report.all_live(), "{report}");
    assert!(!report.hooks.is_empty());
    for hook in &report.hooks {
        assert!(report.to_string().contains(hook.name));
    }
}

#[test]
fn mutex_excludes() {
    everywhere(|| {
        let cell = Mutex::new((0u64, 0u64));
        thread::scope(|s| {
            for _ in 0..50 {
                s.spawn(|| {
                    for round in 0..200 {
                        let mut both = cell.lock().unwrap();
                        both.0 += 1;
                        if round % 10 == 0 {
                            thread::yield_now(); // the lock is held over a switch
                        }
                        both.1 += 1;
                        assert_eq!(both.0, both.1);
                    }
                });
            }
        });
        assert_eq!(*cell.lock().unwrap(), (10_000, 10_000));
        assert!(!cell.is_poisoned());
    });
}

#[test]
fn a_mutex_is_poisoned_by_a_panic_only() {
    on_goroutine(|| {
        let cell = Arc::new(Mutex::new(1));
        let theirs = cell.clone();
        thread::spawn(move || {
            let _guard = theirs.lock().unwrap();
            panic!("with the lock");
        })
        .join()
        .unwrap_err();
        assert!(cell.is_poisoned() && cell.lock().is_err());
        cell.clear_poison();
        assert_eq!(*cell.lock().unwrap(), 1);
    });
}

#[test]
fn rwlock_lets_readers_in_together_and_writers_alone() {
    everywhere(|| {
        let cell = RwLock::new((0u64, 0u64));
        let all_inside = Barrier::new(20);
        thread::scope(|s| {
            for _ in 0..20 {
                s.spawn(|| {
                    let _guard = cell.read().unwrap();
                    all_inside.wait(); // would never pass if readers kept each other out
                });
            }
        });
        thread::scope(|s| {
            for i in 0..40 {
                let cell = &cell;
                s.spawn(move || {
                    for _ in 0..100 {
                        if i % 4 == 0 {
                            let mut both = cell.write().unwrap();
                            both.0 += 1;
                            thread::yield_now();
                            both.1 += 1;
                        } else {
                            let both = cell.read().unwrap();
                            thread::yield_now();
                            assert_eq!(both.0, both.1);
                        }
                    }
                });
            }
        });
        assert_eq!(*cell.read().unwrap(), (1000, 1000));
    });
}

#[test]
fn condvar_loses_no_notification() {
    everywhere(|| {
        // Tokens are taken exactly once; with a lost notification the scope would not end.
        let (tokens, more) = (Mutex::new(0u32), Condvar::new());
        let taken = AtomicUsize::new(0);
        thread::scope(|s| {
            for _ in 0..50 {
                s.spawn(|| {
                    for _ in 0..100 {
                        let mut tokens = more.wait_while(tokens.lock().unwrap(), |n| *n == 0).unwrap();
                        *tokens -= 1;
                        taken.fetch_add(1, SeqCst);
                    }
                });
            }
            for _ in 0..5 {
                s.spawn(|| {
                    for _ in 0..1000 {
                        *tokens.lock().unwrap() += 1;
                        more.notify_one();
                    }
                });
            }
        });
        assert_eq!((taken.load(SeqCst), *tokens.lock().unwrap()), (5000, 0));
    });
}

#[test]
fn notify_one_wakes_one_and_notify_all_wakes_all() {
    everywhere(|| {
        const N: usize = 20;
        let (waiting, changed) = (Mutex::new(0), Condvar::new());
        let woken = AtomicUsize::new(0);
        thread::scope(|s| {
            for _ in 0..N {
                s.spawn(|| {
                    let mut n = waiting.lock().unwrap();
                    *n += 1;
                    drop(changed.wait(n).unwrap()); // no predicate: counts wake-ups
                    woken.fetch_add(1, SeqCst);
                });
            }
            // Each has the lock when it counts, and lets go of it by waiting.
            assert!(eventually(LONG, || *waiting.lock().unwrap() == N));
            for k in 1..=5 {
                changed.notify_one();
                assert!(eventually(LONG, || woken.load(SeqCst) >= k), "a notification was lost");
                (0..50).for_each(|_| thread::yield_now());
                // std may wake one for no reason that came to sleep during a notification: none does here.
                assert_eq!(woken.load(SeqCst), k, "one notification woke more than one");
            }
            changed.notify_all();
        });
        assert_eq!(woken.load(SeqCst), N);
    });
}

#[test]
fn wait_timeout_ends_both_ways() {
    everywhere(|| {
        let (flag, changed) = (Mutex::new(false), Condvar::new());
        let before = Instant::now();
        let (guard, result) = changed.wait_timeout_while(flag.lock().unwrap(), SHORT, |set| !*set).unwrap();
        assert!(result.timed_out() && !*guard && before.elapsed() >= SHORT);
        drop(guard);
        thread::scope(|s| {
            let waiter = s.spawn(|| {
                let (guard, result) = changed.wait_timeout_while(flag.lock().unwrap(), LONG, |set| !*set).unwrap();
                *guard && !result.timed_out()
            });
            *flag.lock().unwrap() = true;
            changed.notify_all();
            assert!(waiter.join().unwrap());
        });
    });
}

#[test]
fn barrier_has_one_leader_a_round() {
    everywhere(|| {
        const N: usize = 20;
        const ROUNDS: usize = 200;
        let barrier = Barrier::new(N);
        let (leaders, arrived) = (AtomicUsize::new(0), AtomicUsize::new(0));
        thread::scope(|s| {
            for _ in 0..N {
                s.spawn(|| {
                    for round in 1..=ROUNDS {
                        arrived.fetch_add(1, SeqCst);
                        leaders.fetch_add(usize::from(barrier.wait().is_leader()), SeqCst);
                        assert!(arrived.load(SeqCst) >= round * N, "nobody passes before all are there");
                    }
                });
            }
        });
        assert_eq!(leaders.load(SeqCst), ROUNDS);
    });
}

#[test]
fn once_runs_once_and_all_wait_for_it() {
    everywhere(|| {
        let (once, cell) = (Once::new(), OnceLock::new());
        let (runs, inits) = (AtomicUsize::new(0), AtomicUsize::new(0));
        thread::scope(|s| {
            for _ in 0..100 {
                s.spawn(|| {
                    once.call_once(|| {
                        (0..10).for_each(|_| thread::yield_now());
                        thread::sleep(Duration::from_millis(1));
                        runs.fetch_add(1, SeqCst);
                    });
                    assert_eq!(runs.load(SeqCst), 1, "not before it has run");
                    let value = cell.get_or_init(|| {
                        (0..10).for_each(|_| thread::yield_now());
                        inits.fetch_add(1, SeqCst) + 42
                    });
                    assert_eq!(*value, 42);
                });
            }
        });
        assert_eq!((runs.load(SeqCst), inits.load(SeqCst)), (1, 1));
    });
    static LAZY: LazyLock<usize> = LazyLock::new(|| {
        thread::yield_now();
        7
    });
    let all: Vec<_> = (0..50).map(|_| thread::spawn(|| *LAZY)).collect();
    assert_eq!(all.into_iter().map(|g| g.join().unwrap()).sum::<usize>(), 350);
}

#[test]
fn channels_keep_order_and_say_when_they_are_closed() {
    everywhere(|| {
        for capacity in [None, Some(0), Some(1), Some(10)] {
            let (send, receive): (Box<dyn Fn(u32) + Send>, _) = match capacity {
                None => {
                    let (to, from) = mpsc::channel();
                    (Box::new(move |v| to.send(v).unwrap()), from)
                }
                Some(n) => {
                    let (to, from) = mpsc::sync_channel(n);
                    (Box::new(move |v| to.send(v).unwrap()), from)
                }
            };
            let sender = thread::spawn(move || (0..2000).for_each(&send));
            for i in 0..2000 {
                assert_eq!(receive.recv(), Ok(i));
            }
            assert!(receive.recv().is_err(), "closed");
            sender.join().unwrap();
        }
        let (to, from) = mpsc::channel();
        drop(from);
        assert!(to.send(1).is_err());
    });
}

#[test]
fn a_rendezvous_waits_for_its_receiver() {
    everywhere(|| {
        let (to, from) = mpsc::sync_channel(0);
        assert!(matches!(to.try_send(1), Err(TrySendError::Full(1))), "nobody receives");
        let taken = Arc::new(AtomicBool::new(false));
        let flag = taken.clone();
        let sender = thread::spawn(move || {
            to.send(5).unwrap();
            assert!(flag.load(SeqCst), "send returned before the receiver came");
        });
        (0..20).for_each(|_| thread::yield_now());
        taken.store(true, SeqCst);
        assert_eq!(from.recv(), Ok(5));
        sender.join().unwrap();
        assert_eq!(from.try_recv(), Err(TryRecvError::Disconnected));
    });
}

#[test]
fn recv_timeout_ends_every_way() {
    everywhere(|| {
        let (to, from) = mpsc::channel();
        let before = Instant::now();
        assert_eq!(from.recv_timeout(SHORT), Err(RecvTimeoutError::Timeout));
        assert!(before.elapsed() >= SHORT);
        let sender = thread::spawn(move || to.send(3).unwrap());
        assert_eq!(from.recv_timeout(LONG), Ok(3));
        assert_eq!(from.recv_timeout(LONG), Err(RecvTimeoutError::Disconnected));
        sender.join().unwrap();
    });
}

#[test]
fn stds_park_has_one_token() {
    everywhere(|| {
        std::thread::current().unpark();
        std::thread::park();
        let before = Instant::now();
        std::thread::park_timeout(SHORT);
        assert!(before.elapsed() >= SHORT);
        let me = std::thread::current();
        let turn = Arc::new(AtomicUsize::new(0));
        let theirs = turn.clone();
        let (to, from) = mpsc::channel();
        let other = thread::spawn(move || {
            to.send(std::thread::current()).unwrap();
            for round in 0..1000 {
                while theirs.load(SeqCst) != 2 * round + 1 {
                    std::thread::park();
                }
                theirs.store(2 * round + 2, SeqCst);
                me.unpark();
            }
        });
        let handle = from.recv().unwrap();
        for round in 0..1000 {
            turn.store(2 * round + 1, SeqCst);
            handle.unpark();
            while turn.load(SeqCst) != 2 * round + 2 {
                std::thread::park();
            }
        }
        other.join().unwrap();
    });
}

/// 4000 goroutines in every kind of wait, on one P. That few kernel threads carry them proves that they park.
#[test]
fn thousands_wait_on_few_kernel_threads() {
    if role().is_none() {
        for chaos in ["", "1", "2"] {
            Rerun::of("thousands_wait_on_few_kernel_threads", "child")
                .env("GORT_PROCS", "1")
                .env("GORT_CHAOS", chaos)
                .run()
                .success();
        }
        return;
    }
    const N: usize = 500;
    let arrived = Arc::new(AtomicUsize::new(0));
    let ended = Arc::new(AtomicUsize::new(0));
    let lock = Arc::new(Mutex::new(0));
    let shared = Arc::new(RwLock::new(()));
    let condition = Arc::new((Mutex::new(false), Condvar::new()));
    let barrier = Arc::new(Barrier::new(N + 1));
    let (to, from) = mpsc::channel::<()>();
    let from = Arc::new(Mutex::new(from));
    let once = Arc::new(OnceLock::new());
    let open = Arc::new(AtomicBool::new(false));
    let handles = Arc::new(Mutex::new(Vec::new()));
    let locked = lock.lock().unwrap();
    let written = shared.write().unwrap();
    let init = once.clone();
    let gate = open.clone();
    let initialiser = thread::spawn(move || {
        init.get_or_init(|| {
            while !gate.load(SeqCst) {
                thread::park();
            }
        });
    });
    let mut all = Vec::new();
    let mut start = |f: Box<dyn FnOnce() + Send>| {
        let (arrived, ended) = (arrived.clone(), ended.clone());
        all.push(thread::spawn(move || {
            arrived.fetch_add(1, SeqCst);
            f();
            ended.fetch_add(1, SeqCst);
        }));
    };
    for _ in 0..N {
        let l = lock.clone();
        start(Box::new(move || *l.lock().unwrap() += 1));
        let l = shared.clone();
        start(Box::new(move || drop(l.read().unwrap())));
        let c = condition.clone();
        start(Box::new(move || drop(c.1.wait_while(c.0.lock().unwrap(), |set| !*set).unwrap())));
        let b = barrier.clone();
        start(Box::new(move || drop(b.wait())));
        let f = from.clone();
        start(Box::new(move || assert!(f.lock().unwrap().recv().is_err())));
        let o = once.clone();
        start(Box::new(move || *o.get_or_init(|| panic!("made elsewhere"))));
        let (o, h) = (open.clone(), handles.clone());
        start(Box::new(move || {
            h.lock().unwrap().push(std::thread::current());
            while !o.load(SeqCst) {
                std::thread::park();
            }
        }));
        let o = open.clone();
        start(Box::new(move || {
            while !o.load(SeqCst) {
                std::thread::sleep(Duration::from_millis(20));
            }
        }));
    }
    assert!(eventually(Duration::from_secs(30), || arrived.load(SeqCst) == 8 * N));
    (0..20).for_each(|_| thread::spawn(|| ()).join().unwrap());
    assert_eq!(ended.load(SeqCst), 0);
    assert!(eventually(Duration::from_secs(30), || gort::stats().goroutines == 8 * N + 1), "{:?}", gort::stats());
    let (ours, kernel) = (gort::stats().kernel_threads, kernel_threads());
    assert!(ours <= 8, "{ours} kernel threads for goroutines that all wait");
    assert!(kernel <= 12, "{kernel} kernel threads in the process");

    open.store(true, SeqCst);
    initialiser.thread().unpark();
    drop((locked, written, to));
    *condition.0.lock().unwrap() = true;
    condition.1.notify_all();
    barrier.wait();
    initialiser.join().unwrap();
    handles.lock().unwrap().iter().for_each(std::thread::Thread::unpark);
    all.into_iter().for_each(|g| g.join().unwrap());
    assert_eq!(*lock.lock().unwrap(), N);
}

/// With parking switched off everything goes on, on kernel threads.
#[test]
fn without_interposition_it_is_slower_never_wrong() {
    if role().is_none() {
        for procs in ["1", "2"] {
            Rerun::of("without_interposition_it_is_slower_never_wrong", "child")
                .env("GORT_INTERPOSE", "0")
                .env("GORT_PROCS", procs)
                .run()
                .success();
        }
        return;
    }
    let report = gort::interpose::report();
    assert!(!report.enabled && !report.all_live() && report.to_string().contains("off"));
    everywhere(|| {
        let (sum, barrier) = (Mutex::new(0), Barrier::new(20));
        let changed = Condvar::new();
        let (to, from) = mpsc::sync_channel(0);
        thread::scope(|s| {
            for i in 0..20 {
                let (sum, barrier, changed, to) = (&sum, &barrier, &changed, to.clone());
                s.spawn(move || {
                    for _ in 0..20 {
                        *sum.lock().unwrap() += 1;
                        thread::yield_now();
                    }
                    changed.notify_all();
                    barrier.wait();
                    std::thread::sleep(Duration::from_millis(1));
                    to.send(i).unwrap();
                });
            }
            assert_eq!(from.iter().take(20).sum::<i32>(), 190);
            drop(changed.wait_while(sum.lock().unwrap(), |n| *n < 400).unwrap());
        });
        assert_eq!(*sum.lock().unwrap(), 400);
    });
}

/// Sieve of Eratosthenes by a chain of goroutines: each takes the multiples of one prime out.
#[test]
fn prime_sieve() {
    everywhere(|| {
        let (to, mut from) = mpsc::sync_channel(0);
        thread::spawn(move || for n in 2.. {
            if to.send(n).is_err() {
                return;
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
