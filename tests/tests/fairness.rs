//! One P, and goroutines that do not want to share it. What is counted are steps; the only clock is the limit of a child.

use gort::thread;
use gort_tests::measure::on_goroutine;
use gort_tests::needs_goroutines;
use gort_tests::raw::{block_for, system_call, Pipe};
use gort_tests::subprocess::{role, Rerun};
use std::sync::atomic::{AtomicBool, AtomicIsize, AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{mpsc, Arc, Mutex};
use std::time::Duration;

/// Runs the test's body in a child with one P; true in that child.
fn alone_on_one_p(name: &str) -> bool {
    if role().is_some() {
        return true;
    }
    for chaos in ["", "1"] {
        for fence in ["", "0"] {
            Rerun::of(name, "child")
                .env("GORT_PROCS", "1")
                .env("GORT_CHAOS", chaos)
                .env("GORT_MEMBARRIER", fence)
                .run()
                .success();
        }
    }
    false
}

/// What others can do while something else has the P: run, yield, sleep, wait and be woken.
fn others_go_on() {
    let others: Vec<_> = (0..10)
        .map(|i| {
            thread::spawn(move || {
                (0..3).for_each(|_| thread::yield_now());
                thread::sleep(Duration::from_micros(i));
                i
            })
        })
        .collect();
    assert_eq!(others.into_iter().map(|g| g.join().unwrap()).sum::<u64>(), 45);
    let (to, from) = mpsc::sync_channel(0);
    let sender = thread::spawn(move || (0..10).for_each(|i| to.send(i).unwrap()));
    assert_eq!(from.iter().sum::<i32>(), 45);
    sender.join().unwrap();
}

#[test]
fn a_spinner_does_not_stop_the_others() {
    if !alone_on_one_p("a_spinner_does_not_stop_the_others") {
        return;
    }
    let (stop, spins) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let (flag, count) = (stop.clone(), spins.clone());
    let spinner = thread::spawn(move || {
        while !flag.load(Relaxed) {
            count.fetch_add(1, Relaxed);
        }
        thread::yield_now(); // finds its way back into the scheduler's order
        thread::sleep(Duration::from_micros(1));
    });
    while spins.load(Relaxed) == 0 {
        std::hint::spin_loop();
    }
    thread::spawn(others_go_on).join().unwrap();
    let before = spins.load(Relaxed);
    while spins.load(Relaxed) == before {
        std::hint::spin_loop(); // the spinner goes on too, as a plain thread
    }
    stop.store(true, Relaxed);
    spinner.join().unwrap();
    thread::spawn(others_go_on).join().unwrap();
}

#[test]
fn many_spinners_all_go_on() {
    if !alone_on_one_p("many_spinners_all_go_on") {
        return;
    }
    const N: usize = 8;
    let started = Arc::new(AtomicUsize::new(0));
    let spinners: Vec<_> = (0..N)
        .map(|_| {
            let started = started.clone();
            thread::spawn(move || {
                started.fetch_add(1, SeqCst);
                // Each needs all others to have run, and none of them ever lets go by itself.
                while started.load(SeqCst) < N {
                    std::hint::spin_loop();
                }
            })
        })
        .collect();
    spinners.into_iter().for_each(|g| g.join().unwrap());
}

#[test]
fn an_undeclared_blocking_call_does_not_stop_the_others() {
    if !alone_on_one_p("an_undeclared_blocking_call_does_not_stop_the_others") {
        return;
    }
    let pipe = Arc::new(Pipe::new());
    let (theirs, inside) = (pipe.clone(), Arc::new(AtomicBool::new(false)));
    let flag = inside.clone();
    let reader = thread::spawn(move || {
        flag.store(true, SeqCst);
        let byte = theirs.read();
        others_go_on(); // in order again
        byte
    });
    while !inside.load(SeqCst) {
        std::hint::spin_loop();
    }
    // The reader waits for us, and we for others that need its P.
    thread::spawn(others_go_on).join().unwrap();
    assert!(!reader.is_finished());
    thread::spawn(move || pipe.write(b'z', 1)).join().unwrap();
    assert_eq!(reader.join().unwrap(), b'z');

    let sleepers: Vec<_> = (0..5).map(|_| thread::spawn(|| block_for(Duration::from_millis(30)))).collect();
    thread::spawn(others_go_on).join().unwrap();
    sleepers.into_iter().for_each(|g| g.join().unwrap());
}

#[test]
fn a_lock_held_over_an_undeclared_call_is_waited_for() {
    if !alone_on_one_p("a_lock_held_over_an_undeclared_call_is_waited_for") {
        return;
    }
    let (lock, pipe) = (Arc::new(Mutex::new(0)), Arc::new(Pipe::new()));
    let (their_lock, their_pipe, (to, from)) = (lock.clone(), pipe.clone(), mpsc::channel());
    let holder = thread::spawn(move || {
        let mut n = their_lock.lock().unwrap();
        to.send(()).unwrap();
        their_pipe.read();
        *n += 1;
    });
    from.recv().unwrap();
    let waiters: Vec<_> = (0..20)
        .map(|_| {
            let lock = lock.clone();
            thread::spawn(move || *lock.lock().unwrap() += 1)
        })
        .collect();
    thread::spawn(move || pipe.write(b'z', 1)).join().unwrap();
    holder.join().unwrap();
    waiters.into_iter().for_each(|g| g.join().unwrap());
    assert_eq!(*lock.lock().unwrap(), 21);
}

/// A pair that hands over to each other for ever must leave room for a third.
#[test]
fn a_ping_pong_pair_does_not_starve_the_others() {
    if !alone_on_one_p("a_ping_pong_pair_does_not_starve_the_others") {
        return;
    }
    /// Hand-overs after which the others count as starved; they need some tens of slices of 10 ms.
    const BOUND: u64 = 200_000_000;
    let done = Arc::new(AtomicBool::new(false));
    let steps = Arc::new(AtomicU64::new(0));
    // Plain parks: each hand-over puts the other next in line. (std's channels would yield now and then.)
    let player = |me: u64, other: mpsc::Receiver<thread::Thread>| {
        let (done, steps) = (done.clone(), steps.clone());
        thread::spawn(move || {
            let other = other.recv().unwrap();
            while !done.load(Relaxed) {
                let step = steps.load(SeqCst);
                assert!(step < BOUND, "the third goroutine starves");
                if step % 2 == me {
                    steps.store(step + 1, SeqCst);
                    other.unpark();
                } else {
                    thread::park();
                }
            }
            other.unpark();
        })
    };
    let (to_a, for_a) = mpsc::channel();
    let (to_b, for_b) = mpsc::channel();
    let (a, b) = (player(0, for_a), player(1, for_b));
    to_a.send(b.thread().clone()).unwrap();
    to_b.send(a.thread().clone()).unwrap();
    while steps.load(Relaxed) < 1000 {
        std::hint::spin_loop();
    }
    let third = thread::spawn(move || {
        (0..20).for_each(|_| thread::yield_now());
        others_go_on();
        done.store(true, Relaxed);
    });
    third.join().unwrap();
    a.join().unwrap();
    b.join().unwrap();
}

/// Goroutines that yield take turns: none is far ahead of another.
#[test]
fn yielding_takes_turns() {
    needs_goroutines!("the kernel decides who runs");
    if role().is_none() {
        Rerun::of("yielding_takes_turns", "child").env("GORT_PROCS", "1").run().success();
        return;
    }
    const N: usize = 10;
    let counts: Arc<[AtomicU64; N]> = Arc::new([const { AtomicU64::new(0) }; N]);
    let start = Arc::new(std::sync::Barrier::new(N));
    let all: Vec<_> = (0..N)
        .map(|i| {
            let (counts, start) = (counts.clone(), start.clone());
            thread::spawn(move || {
                start.wait();
                for round in 1..=5000 {
                    counts[i].store(round, Relaxed);
                    thread::yield_now();
                    let mut others: Vec<_> = counts.iter().map(|c| c.load(Relaxed)).collect();
                    others.sort_unstable();
                    // The kernel may stall one of them together with its thread. A hog would get ahead of most.
                    let middle = others[N / 2];
                    assert!(round <= middle + 500, "goroutine {i} is at {round}, most are below {middle}");
                }
            })
        })
        .collect();
    all.into_iter().for_each(|g| g.join().unwrap());
}

/// Work that comes from plain threads, by the injection queue, is not starved by goroutines that always have work.
#[test]
fn what_threads_wake_is_not_starved() {
    if !alone_on_one_p("what_threads_wake_is_not_starved") {
        return;
    }
    let stop = Arc::new(AtomicBool::new(false));
    let busy: Vec<_> = (0..10)
        .map(|_| {
            let stop = stop.clone();
            thread::spawn(move || {
                while !stop.load(Relaxed) {
                    thread::yield_now();
                }
            })
        })
        .collect();
    for _ in 0..200 {
        thread::spawn(|| ()).join().unwrap(); // we are a plain thread
    }
    stop.store(true, Relaxed);
    busy.into_iter().for_each(|g| g.join().unwrap());
}

/// One that yields leaves the other to the same P, and no waker wakes an idle one for it: sysmon sees that somebody always waits.
#[test]
fn two_that_keep_yielding_get_two_processors() {
    needs_goroutines!("threads have processors anyway");
    if role().is_none() {
        Rerun::of("two_that_keep_yielding_get_two_processors", "child").env("GORT_PROCS", "2").run().success();
        return;
    }
    let (on, parted) = ([const { AtomicIsize::new(0) }; 2], AtomicBool::new(false));
    let keep_yielding = |i: usize| {
        while !parted.load(SeqCst) {
            // SAFETY: it has no arguments.
            let mine = unsafe { system_call(libc::SYS_gettid, [0; 3]) };
            on[i].store(mine, SeqCst);
            let other = on[1 - i].load(SeqCst);
            parted.fetch_or(other != 0 && other != mine, SeqCst);
            thread::yield_now();
        }
    };
    on_goroutine(|| {
        thread::scope(|s| {
            s.spawn(|| keep_yielding(0)); // alone, so that nobody is woken for it
            keep_yielding(1);
        });
    });
}
