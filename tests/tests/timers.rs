//! Sleeping, deadlines, and what they leave behind.

use gort::thread;
use gort_tests::measure::{all_wait, eventually, everywhere, on_goroutine, resident_kib};
use gort_tests::needs_goroutines;
use gort_tests::raw::block_for;
use gort_tests::subprocess::{role, Rerun};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{mpsc, Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

const HOUR: Duration = Duration::from_secs(3600);

/// 0..n in an order that is not sorted.
fn shuffled(n: u64) -> impl Iterator<Item = u64> {
    (0..n).map(move |i| i * 7919 % n)
}

#[test]
fn sleepers_wake_in_order_of_their_deadlines() {
    needs_goroutines!("timers are the kernel's");
    if role().is_none() {
        Rerun::of("sleepers_wake_in_order_of_their_deadlines", "child").env("GORT_PROCS", "1").run().success();
        return;
    }
    const N: u64 = 3000;
    let woken = Arc::new(Mutex::new(Vec::new()));
    // Far enough away that all sleep before the first wakes; should the machine be slower, the check fails and says so.
    let start = Instant::now() + Duration::from_secs(2);
    let all: Vec<_> = shuffled(N)
        .map(|i| {
            let woken = woken.clone();
            thread::spawn(move || {
                let when = start + Duration::from_micros(50 * i);
                assert!(Instant::now() < start, "the machine is too slow for this test");
                thread::sleep_until(when);
                assert!(Instant::now() >= when, "too early");
                woken.lock().unwrap().push(i);
            })
        })
        .collect();
    all.into_iter().for_each(|g| g.join().unwrap());
    let woken = woken.lock().unwrap();
    assert_eq!(woken.len(), N as usize);
    // One P wakes in order. On a busy machine one may lose the P as it wakes, and come a little late.
    let out_of_order = woken.windows(2).filter(|pair| pair[0] > pair[1]).count();
    assert!(out_of_order <= N as usize / 10, "{out_of_order} of {N} woke before an earlier one");
}

#[test]
fn thousands_of_distinct_deadlines() {
    const N: u64 = 10_000;
    let early = Arc::new(AtomicUsize::new(0));
    let all: Vec<_> = shuffled(N)
        .map(|i| {
            let early = early.clone();
            thread::spawn(move || {
                let time = Duration::from_micros(20 * i);
                let before = Instant::now();
                match i % 3 {
                    0 => thread::sleep(time),
                    1 => std::thread::sleep(time),
                    _ => thread::park_timeout(time),
                }
                early.fetch_add(usize::from(before.elapsed() < time), SeqCst);
            })
        })
        .collect();
    all.into_iter().for_each(|g| g.join().unwrap());
    assert_eq!(early.load(SeqCst), 0);
}

/// Wakes a goroutine out of a wait of an hour 100,000 times, each wait on a timer of its own.
fn woken_early(wait: impl Fn(&dyn Fn() -> bool) + Send + 'static, wake: impl Fn()) {
    let turn = Arc::new(AtomicUsize::new(0));
    let done = Arc::new(AtomicUsize::new(0));
    let (theirs, theirs_done) = (turn.clone(), done.clone());
    let g = thread::spawn(move || {
        for round in 1..=100_000 {
            wait(&|| theirs.load(SeqCst) >= round);
            theirs_done.store(round, SeqCst);
        }
    });
    let mut before = 0;
    for round in 1..=100_000 {
        if round == 10_000 {
            before = resident_kib();
        }
        turn.store(round, SeqCst);
        while done.load(SeqCst) < round {
            wake();
            thread::yield_now();
        }
    }
    g.join().unwrap();
    let grown = resident_kib().saturating_sub(before);
    // 90,000 entries of 40 bytes would be 3.5 MiB.
    assert!(grown < 1500, "{grown} KiB more after 90,000 waits that ended early");
}

#[test]
fn an_early_end_of_a_park_leaves_no_growth() {
    needs_goroutines!("timers are the kernel's");
    if role().is_none() {
        for procs in ["1", "2"] {
            Rerun::of("an_early_end_of_a_park_leaves_no_growth", "child").env("GORT_PROCS", procs).run().success();
        }
        return;
    }
    on_goroutine(|| {
        let (to, from) = mpsc::channel();
        let to = Mutex::new(Some(to));
        let handle = std::cell::OnceCell::new();
        woken_early(
            move |ready| {
                if let Some(to) = to.lock().unwrap().take() {
                    to.send(thread::current()).unwrap();
                }
                while !ready() {
                    thread::park_timeout(HOUR);
                }
            },
            || handle.get_or_init(|| from.recv().unwrap()).unpark(),
        );
    });
}

#[test]
fn an_early_end_of_a_wait_leaves_no_growth() {
    needs_goroutines!("timers are the kernel's");
    if role().is_none() {
        for procs in ["1", "2"] {
            Rerun::of("an_early_end_of_a_wait_leaves_no_growth", "child").env("GORT_PROCS", procs).run().success();
        }
        return;
    }
    on_goroutine(|| {
        let both = Arc::new((Mutex::new(()), Condvar::new()));
        let theirs = both.clone();
        woken_early(
            move |ready| {
                let guard = theirs.0.lock().unwrap();
                drop(theirs.1.wait_timeout_while(guard, HOUR, |()| !ready()).unwrap());
            },
            || {
                drop(both.0.lock().unwrap());
                both.1.notify_one();
            },
        );
    });
}

#[test]
fn the_end_of_time_is_a_duration() {
    everywhere(|| {
        let set = Arc::new(AtomicBool::new(false));
        let flag = set.clone();
        let g = thread::spawn(move || {
            while !flag.load(SeqCst) {
                thread::park_timeout(Duration::MAX);
            }
        });
        drop(thread::spawn(|| thread::sleep(Duration::MAX))); // must not wake anybody at once
        set.store(true, SeqCst);
        g.thread().unpark();
        g.join().unwrap();
        let before = Instant::now();
        thread::sleep(Duration::from_millis(5));
        assert!(before.elapsed() < HOUR, "shorter sleeps still end");
    });
}

#[test]
fn timers_fire_while_every_p_is_busy() {
    if role().is_none() {
        for procs in ["1", "2"] {
            Rerun::of("timers_fire_while_every_p_is_busy", "child").env("GORT_PROCS", procs).run().success();
        }
        return;
    }
    let stop = Arc::new(AtomicBool::new(false));
    let spinners: Vec<_> = (0..4)
        .map(|_| {
            let stop = stop.clone();
            thread::spawn(move || {
                while !stop.load(SeqCst) {
                    std::hint::spin_loop();
                }
            })
        })
        .collect();
    let sleeper = thread::spawn(move || {
        for _ in 0..5 {
            thread::sleep(Duration::from_millis(1));
        }
        stop.store(true, SeqCst);
    });
    sleeper.join().unwrap();
    spinners.into_iter().for_each(|g| g.join().unwrap());
}

/// A goroutine that has lost its P sets timers that somebody else must watch.
#[test]
fn timers_of_detached_goroutines_fire() {
    let all: Vec<_> = (0..20)
        .map(|i| {
            thread::spawn(move || {
                for _ in 0..5 {
                    block_for(Duration::from_millis(15));
                    let time = Duration::from_micros(100 * i);
                    let before = Instant::now();
                    thread::sleep(time);
                    assert!(before.elapsed() >= time);
                }
            })
        })
        .collect();
    all.into_iter().for_each(|g| g.join().unwrap());
}

/// A near deadline that comes after a far one, while all Ps are idle, must not wait for the far one.
#[test]
fn a_nearer_deadline_comes_first() {
    if role().is_none() {
        for procs in ["1", "2", "4"] {
            Rerun::of("a_nearer_deadline_comes_first", "child").env("GORT_PROCS", procs).run().success();
        }
        return;
    }
    let set = Arc::new(AtomicUsize::new(0));
    for n in 1..=100 {
        let begun = set.clone();
        drop(thread::spawn(move || {
            begun.fetch_add(1, SeqCst);
            thread::sleep(HOUR);
        }));
        // All Ms are asleep, one of them until the far deadline, before the near one is set.
        assert!(eventually(Duration::from_secs(30), || set.load(SeqCst) == n));
        all_wait(0);
        let g = thread::spawn(|| thread::sleep(Duration::from_millis(1)));
        g.join().unwrap();
    }
}
