//! `std::sync` and std's own blocking calls on goroutines: they park the goroutine, and keep every promise of theirs.

use gort::thread;
use gort_tests::measure::{eventually, everywhere, on_goroutine};
use gort_tests::subprocess::alone;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::{self, RecvTimeoutError, TryRecvError, TrySendError};
use std::sync::{Arc, Barrier, Condvar, LazyLock, Mutex, Once, OnceLock, RwLock};
use std::time::{Duration, Instant};

const LONG: Duration = Duration::from_secs(3600);
const SHORT: Duration = Duration::from_millis(5);

#[test]
fn the_report_names_every_hook() {
    let report = gort::interpose::report();
    assert!(report.enabled && !report.hooks.is_empty());
    assert_eq!(report.all_live(), !report.to_string().contains("not live"));
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
    alone("condvar_loses_no_notification", || {
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
        // Two who take turns: a later notification would not make up for one that is lost. Every other partner is a kernel
        // thread, so that one of the two notifies while the other is on its way to sleep.
        let pairs: [(Mutex<bool>, Condvar); 8] = Default::default();
        std::thread::scope(|threads| {
            thread::scope(|goroutines| {
                for (i, (turn, changed)) in pairs.iter().enumerate() {
                    let plays = move |mine: bool| {
                        for _ in 0..1000 {
                            let mut turn = changed.wait_while(turn.lock().unwrap(), |turn| *turn != mine).unwrap();
                            *turn = !mine;
                            changed.notify_one();
                        }
                    };
                    goroutines.spawn(move || plays(false));
                    if i % 2 == 0 {
                        goroutines.spawn(move || plays(true));
                    } else {
                        threads.spawn(move || plays(true));
                    }
                }
            });
        });
    });
}

#[test]
fn notify_one_wakes_one_and_notify_all_wakes_all() {
    alone("notify_one_wakes_one_and_notify_all_wakes_all", || {
        everywhere(|| {
            const N: usize = 100;
            let (waiting, changed) = (Mutex::new(0), Condvar::new());
            let woken = AtomicUsize::new(0);
            let (mut lost, mut after_five) = (false, 0);
            thread::scope(|s| {
                for _ in 0..N {
                    s.spawn(|| {
                        let mut n = waiting.lock().unwrap();
                        *n += 1;
                        drop(changed.wait(n).unwrap()); // no predicate: counts wake-ups
                        woken.fetch_add(1, SeqCst);
                    });
                }
                // Each has the lock when it counts, and lets go of it just before it sleeps.
                assert!(eventually(LONG, || *waiting.lock().unwrap() == N));
                for k in 1..=5 {
                    changed.notify_one();
                    lost |= !eventually(LONG, || woken.load(SeqCst) >= k);
                }
                (0..50).for_each(|_| thread::yield_now());
                after_five = woken.load(SeqCst);
                changed.notify_all();
            });
            assert!(!lost, "a notification was lost");
            // std also wakes one that has let go of the lock and does not sleep yet: there may be a few of those, not dozens.
            assert!(after_five < N / 2, "five notifications woke {after_five}");
            assert_eq!(woken.load(SeqCst), N);
        });
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
        let lasts = || {
            let before = Instant::now();
            std::thread::park_timeout(SHORT);
            before.elapsed() >= SHORT
        };
        assert!((0..8).any(|_| lasts()), "it may end for no reason, but not each time");
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
