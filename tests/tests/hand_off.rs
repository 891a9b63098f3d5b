//! Goroutines that block in C: they lose their P to others, take kernel threads while they do, and give them back.

use gort::ffi::blocking;
use gort::thread;
use gort_tests::measure::{eventually, kernel_threads, on_goroutine};
use gort_tests::raw::{block_for, Pipe};
use gort_tests::subprocess::{role, Rerun};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const LONG: Duration = Duration::from_secs(120);

/// 1000 goroutines in a blocking call at once, declared or not; when all is over the kernel threads go away again.
///
/// Row X-21.
#[test]
fn a_thousand_blocked_in_c() {
    let Some(role) = role() else {
        for (role, procs, n) in [("declared", "1", 1000), ("undeclared", "2", 200)] {
            Rerun::of("a_thousand_blocked_in_c", &format!("{role} {n}")).env("GORT_PROCS", procs).run().success();
        }
        return;
    };
    let (kind, n) = role.split_once(' ').unwrap();
    let (declared, n): (bool, usize) = (kind == "declared", n.parse().unwrap());
    let (pipe, inside) = (Arc::new(Pipe::new()), Arc::new(AtomicUsize::new(0)));
    let all: Vec<_> = (0..n)
        .map(|_| {
            let (pipe, inside) = (pipe.clone(), inside.clone());
            thread::spawn(move || {
                inside.fetch_add(1, SeqCst);
                if declared {
                    blocking(|| pipe.read())
                } else {
                    pipe.read()
                }
            })
        })
        .collect();
    assert!(eventually(LONG, || inside.load(SeqCst) == n), "{} are in the call", inside.load(SeqCst));
    assert!(eventually(LONG, || kernel_threads() >= n), "each needs a kernel thread");
    on_goroutine(|| assert_eq!(thread::spawn(|| 5).join().unwrap(), 5));
    pipe.write(b'y', n);
    assert!(all.into_iter().all(|g| g.join().unwrap() == b'y'));
    on_goroutine(|| ());
    assert!(
        eventually(LONG, || gort::stats().kernel_threads <= 4 && kernel_threads() <= 8),
        "{:?}, {} in the process",
        gort::stats(),
        kernel_threads()
    );
    assert_eq!(on_goroutine(|| 6), 6, "and the few that are left serve");
}

#[test]
fn blocking_gives_its_value_nests_and_lets_panics_out() {
    on_goroutine(|| {
        assert_eq!(blocking(|| blocking(|| 1) + blocking(|| 2)), 3);
        let e = thread::spawn(|| blocking(|| blocking(|| panic!("inside")))).join().unwrap_err();
        assert_eq!(e.downcast_ref::<&str>(), Some(&"inside"));
        let e = std::panic::catch_unwind(|| blocking(|| panic!("caught"))).map(drop).unwrap_err();
        assert_eq!(e.downcast_ref::<&str>(), Some(&"caught"));
        thread::yield_now();
        assert_eq!(blocking(|| 4), 4, "the count of calls is in order after a panic");
    });
    assert_eq!(blocking(|| 7), 7, "a plain call on a plain thread");
}

/// Inside a declared call everything still works, parks included.
#[test]
fn parking_inside_a_blocking_call() {
    if role().is_none() {
        for (procs, chaos) in [("1", ""), ("2", ""), ("1", "1"), ("2", "2"), ("2", "3")] {
            let name = "parking_inside_a_blocking_call";
            Rerun::of(name, "child").env("GORT_PROCS", procs).env("GORT_CHAOS", chaos).run().success();
        }
        return;
    }
    let lock = Arc::new(Mutex::new(0));
    let all: Vec<_> = (0..20)
        .map(|i| {
            let lock = lock.clone();
            thread::spawn(move || {
                for _ in 0..20 {
                    blocking(|| {
                        let mut n = lock.lock().unwrap();
                        if i % 3 == 0 {
                            block_for(Duration::from_micros(100)); // long enough to lose the P
                        }
                        thread::yield_now();
                        *n += thread::spawn(|| 1).join().unwrap();
                    });
                    thread::yield_now();
                }
            })
        })
        .collect();
    all.into_iter().for_each(|g| g.join().unwrap());
    assert_eq!(*lock.lock().unwrap(), 400);
}

/// Short declared calls, over and over: P lost and found thousands of times, and no step lost.
///
/// Row C-32.
#[test]
fn short_calls_in_great_number() {
    if role().is_none() {
        for (procs, chaos) in [("1", ""), ("2", ""), ("2", "4")] {
            let name = "short_calls_in_great_number";
            Rerun::of(name, "child").env("GORT_PROCS", procs).env("GORT_CHAOS", chaos).run().success();
        }
        return;
    }
    let steps = Arc::new(AtomicUsize::new(0));
    let all: Vec<_> = (0..16u64)
        .map(|i| {
            let steps = steps.clone();
            thread::spawn(move || {
                for round in 0..300 {
                    blocking(|| block_for(Duration::from_micros((i * 7 + round) % 60)));
                    steps.fetch_add(1, SeqCst);
                }
            })
        })
        .collect();
    all.into_iter().for_each(|g| g.join().unwrap());
    assert_eq!(steps.load(SeqCst), 4800);
}
