//! `park`, `unpark`, `sleep` and `yield_now`, for callers on goroutines and on plain threads.

use gort::thread;
use gort_tests::measure::{everywhere, on_goroutine};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::Arc;
use std::time::{Duration, Instant};

const LONG: Duration = Duration::from_secs(30);

#[test]
fn unpark_before_park_is_kept_once() {
    everywhere(|| {
        thread::current().unpark();
        thread::park(); // would wait for ever without the token
        thread::current().unpark();
        thread::current().unpark();
        thread::park();
        let before = Instant::now();
        thread::park_timeout(Duration::from_millis(20));
        assert!(before.elapsed() >= Duration::from_millis(20), "two unparks before a park leave one token");
    });
}

#[test]
fn a_token_ends_one_park() {
    everywhere(|| {
        for _ in 0..20 {
            let g = thread::spawn(|| {
                thread::park(); // whether it waits or finds the token, this takes it
                let before = Instant::now();
                thread::park_timeout(Duration::from_millis(2));
                before.elapsed()
            });
            // So that most times it waits already.
            (0..20).for_each(|_| thread::yield_now());
            g.thread().unpark();
            assert!(g.join().unwrap() >= Duration::from_millis(2), "the token was left behind");
        }
    });
}

#[test]
fn park_waits_for_unpark() {
    everywhere(|| {
        let turn = Arc::new(AtomicUsize::new(0));
        let me = thread::current();
        let theirs = turn.clone();
        let other = thread::spawn(move || {
            for round in 0..5_000 {
                while theirs.load(SeqCst) != 2 * round + 1 {
                    thread::park();
                }
                theirs.store(2 * round + 2, SeqCst);
                me.unpark();
            }
        });
        for round in 0..5_000 {
            turn.store(2 * round + 1, SeqCst);
            other.thread().unpark();
            while turn.load(SeqCst) != 2 * round + 2 {
                thread::park();
            }
        }
        other.join().unwrap();
    });
}

#[test]
fn park_timeout_ends_both_ways() {
    everywhere(|| {
        let before = Instant::now();
        thread::park_timeout(Duration::from_millis(10));
        assert!(before.elapsed() >= Duration::from_millis(10), "nobody unparks: it lasts as long as asked");
        thread::park_timeout(Duration::ZERO);

        let woken = Arc::new(AtomicBool::new(false));
        let flag = woken.clone();
        let g = thread::spawn(move || {
            let before = Instant::now();
            while !flag.load(SeqCst) {
                thread::park_timeout(Duration::MAX);
            }
            before.elapsed()
        });
        woken.store(true, SeqCst);
        g.thread().unpark();
        assert!(g.join().unwrap() < LONG);
    });
}

#[test]
fn the_handle_of_a_dead_goroutine_wakes_nobody() {
    on_goroutine(|| {
        for _ in 0..50 {
            let dead = thread::spawn(thread::current).join().unwrap();
            // It has the stack, and so the wait word, of the dead one.
            let next = thread::spawn(|| {
                let before = Instant::now();
                thread::park_timeout(Duration::from_millis(2));
                before.elapsed()
            });
            while !next.is_finished() {
                dead.unpark();
                thread::yield_now();
            }
            assert!(next.join().unwrap() >= Duration::from_millis(2));
        }
    });
}

#[test]
fn sleep_is_never_too_short() {
    everywhere(|| {
        for time in [0, 1, 100, 1_000, 10_000].map(Duration::from_micros) {
            let before = Instant::now();
            thread::sleep(time);
            assert!(before.elapsed() >= time);
            let before = Instant::now();
            std::thread::sleep(time);
            assert!(before.elapsed() >= time);
            let until = Instant::now() + time;
            thread::sleep_until(until);
            assert!(Instant::now() >= until);
        }
    });
}

#[test]
fn yield_now_lets_others_run() {
    everywhere(|| {
        let set = Arc::new(AtomicBool::new(false));
        let flag = set.clone();
        let g = thread::spawn(move || {
            while !flag.load(SeqCst) {
                thread::yield_now();
            }
        });
        let setter = thread::spawn(move || set.store(true, SeqCst));
        g.join().unwrap();
        setter.join().unwrap();
    });
}
