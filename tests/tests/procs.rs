//! The number of Ps changed while goroutines run: nothing is lost, nothing stops, and it is as many as were asked for.

use gort::{set_procs, thread};
use gort_tests::cthreads::eventually;
use gort_tests::measure::{address_space_kib, resident_kib};
use gort_tests::needs_goroutines;
use gort_tests::subprocess::{role, Rerun};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{mpsc, Arc, Mutex};
use std::time::Duration;

/// Runs the test in a process of its own with that many Ps to begin with, with and without chaos; true in there.
fn alone(name: &str, procs: usize) -> bool {
    if role().is_none() {
        for chaos in ["", "5"] {
            Rerun::of(name, "child").env("GORT_PROCS", procs).env("GORT_CHAOS", chaos).run().success();
        }
    }
    role().is_some()
}

/// Waits until there are `n` Ps.
fn becomes(n: usize) {
    eventually(&format!("{n} Ps"), || gort::stats().procs == n);
}

#[test]
fn it_is_as_many_as_were_asked_for() {
    if !alone("it_is_as_many_as_were_asked_for", 2) {
        return;
    }
    for n in [0, 1025, usize::MAX] {
        let e = set_procs(n).unwrap_err().to_string();
        assert!(e.contains("from 1 to 1024"), "{e}");
    }
    let mut before = 2;
    for n in [1, 7, 7, 1024, 3, 1, 2, 1024, 1] {
        assert_eq!(set_procs(n).unwrap(), before);
        assert_eq!(thread::available_parallelism().unwrap().get(), n);
        // From a goroutine, too, and of no consequence.
        assert_eq!(thread::spawn(move || set_procs(n)).join().unwrap().unwrap(), n);
        becomes(n);
        before = n;
    }
}

#[test]
fn as_many_run_at_a_time() {
    if !alone("as_many_run_at_a_time", 1) {
        return;
    }
    // Each has a P of its own: none gives it up before all have one.
    let meet = |n: usize| {
        let here = Arc::new(AtomicUsize::new(0));
        let all: Vec<_> = (0..n)
            .map(|_| {
                let here = here.clone();
                thread::spawn(move || {
                    here.fetch_add(1, SeqCst);
                    while here.load(SeqCst) < n {
                        std::hint::spin_loop();
                    }
                })
            })
            .collect();
        all.into_iter().for_each(|g| g.join().unwrap());
    };
    for n in [4, 2, 6] {
        set_procs(n).unwrap();
        becomes(n);
        meet(n);
    }
    // With one, goroutines that only ever yield see each other at scheduling points only.
    set_procs(1).unwrap();
    becomes(1);
    let inside = Arc::new(AtomicUsize::new(0));
    let all: Vec<_> = (0..20)
        .map(|_| {
            let inside = inside.clone();
            thread::spawn(move || {
                let mut alone = 0;
                for _ in 0..2000 {
                    alone += usize::from(inside.fetch_add(1, SeqCst) == 0);
                    inside.fetch_sub(1, SeqCst);
                    thread::yield_now();
                }
                alone
            })
        })
        .collect();
    let alone: usize = all.into_iter().map(|g| g.join().unwrap()).sum();
    // Not all: under load, and by chaos, one loses its P between the two steps now and then, and goes on as a thread.
    assert!(alone > 30_000, "{alone} of 40000 were alone");
}

/// A storm of all that goroutines do, until `stop`. Returns how often they did it.
fn storm(stop: &Arc<AtomicBool>) -> Vec<thread::JoinHandle<usize>> {
    let lock = Arc::new(Mutex::new(0usize));
    let mut all = Vec::new();
    for i in 0..24 {
        let (stop, lock) = (stop.clone(), lock.clone());
        all.push(thread::spawn(move || {
            let mut n = 0;
            while !stop.load(SeqCst) {
                n += 1;
                match i % 6 {
                    0 => assert_eq!(thread::spawn(move || n).join().unwrap(), n),
                    1 => thread::sleep(Duration::from_micros(i * 10)),
                    2 => *lock.lock().unwrap() += 1,
                    3 => {
                        let (to, from) = mpsc::channel();
                        (0..20).for_each(|k| {
                            drop(thread::spawn({
                                let to = to.clone();
                                move || to.send(k).unwrap()
                            }))
                        });
                        drop(to);
                        assert_eq!(from.iter().sum::<usize>(), 190);
                    }
                    4 => gort::ffi::blocking(|| gort_tests::raw::block_for(Duration::from_micros(30))),
                    _ => thread::yield_now(),
                }
            }
            n
        }));
    }
    all
}

#[test]
fn nothing_is_lost_while_it_changes() {
    if !alone("nothing_is_lost_while_it_changes", 2) {
        return;
    }
    let stop = Arc::new(AtomicBool::new(false));
    let all = storm(&stop);
    // A goroutine and a thread, which do not agree; with pauses, in which it comes about, and without.
    let quarrel = |seed: usize| {
        let mut x = seed;
        for i in 0..60 {
            x = x.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            set_procs((x >> 33) % 9 + 1).unwrap();
            if i % 8 == 0 {
                thread::sleep(Duration::from_millis(2));
            }
        }
    };
    for round in 0..10 {
        let other = thread::spawn(move || quarrel(2 * round));
        quarrel(2 * round + 1);
        other.join().unwrap();
        becomes(thread::available_parallelism().unwrap().get()); // what was asked for last, whoever did
    }
    for n in [1, 5, 2] {
        set_procs(n).unwrap();
        becomes(n);
    }
    stop.store(true, SeqCst);
    all.into_iter().for_each(|g| assert!(g.join().unwrap() > 0));
}

#[test]
fn who_computes_goes_on_beside_the_others() {
    if !alone("who_computes_goes_on_beside_the_others", 4) {
        return;
    }
    let stop = Arc::new(AtomicBool::new(false));
    let running = Arc::new(AtomicUsize::new(0));
    let all: Vec<_> = (0..4)
        .map(|_| {
            let (stop, running) = (stop.clone(), running.clone());
            thread::spawn(move || {
                running.fetch_add(1, SeqCst);
                while !stop.load(SeqCst) {
                    std::hint::spin_loop();
                }
                // And then comes back into line.
                thread::yield_now();
                thread::sleep(Duration::from_millis(1));
                thread::is_goroutine()
            })
        })
        .collect();
    eventually("all compute", || running.load(SeqCst) == 4);
    set_procs(1).unwrap();
    becomes(1);
    assert_eq!(thread::spawn(|| 5).join().unwrap(), 5);
    stop.store(true, SeqCst);
    assert!(all.into_iter().all(|g| g.join().unwrap()));
    eventually("one P runs what is there", || gort::stats().goroutines == 0);
    assert_eq!(gort::stats().procs, 1);
}

#[test]
fn what_waits_on_a_p_moves() {
    needs_goroutines!("more are alive than the system has threads");
    if !alone("what_waits_on_a_p_moves", 3) {
        return;
    }
    for round in 0..10 {
        set_procs(3).unwrap();
        becomes(3);
        // On each P: timers, goroutines that wait for descriptors, a full ring, goroutines that have not begun.
        let (to, from) = mpsc::channel();
        for i in 0..6u64 {
            let to = to.clone();
            drop(thread::spawn(move || {
                let to_ready = to.clone();
                let waiting: Vec<_> = (0..300)
                    .map(|k| {
                        let to = to.clone();
                        thread::spawn(move || {
                            thread::sleep(Duration::from_millis(20 + k % 30));
                            to.send(1usize).unwrap();
                        })
                    })
                    .collect();
                thread::sleep(Duration::from_millis(i)); // they have begun, and wait
                for k in 0..1000 {
                    let to = to_ready.clone();
                    drop(thread::spawn(move || {
                        if k % 3 == 0 {
                            thread::yield_now();
                        }
                        to.send(1).unwrap();
                    }));
                }
                waiting.into_iter().for_each(|g| g.join().unwrap());
            }));
        }
        drop(to);
        set_procs(1 + round % 2).unwrap();
        assert_eq!(from.iter().sum::<usize>(), 6 * 1300);
        becomes(1 + round % 2);
    }
}

#[test]
fn nothing_is_kept_by_those_that_went() {
    needs_goroutines!("libc keeps stacks and heaps of threads");
    if !alone("nothing_is_kept_by_those_that_went", 1) {
        return;
    }
    let crowd = || {
        let all: Vec<_> = (0..200).map(|_| thread::spawn(|| thread::sleep(Duration::from_micros(100)))).collect();
        all.into_iter().for_each(|g| g.join().unwrap());
    };
    let change = || {
        for n in [64, 1] {
            set_procs(n).unwrap();
            becomes(n);
            crowd();
        }
    };
    (0..3).for_each(|_| change());
    let (before, space) = (resident_kib(), address_space_kib());
    (0..30).for_each(|_| change());
    let more = resident_kib().saturating_sub(before);
    assert!(more < 4 << 10, "{more} KiB more");
    let more = address_space_kib().saturating_sub(space);
    assert!(more < 1 << 20, "{more} KiB of address space more: promises of stacks are lost");
    assert!(gort::stats().kernel_threads < 80, "{:?}", gort::stats());
}

#[test]
fn a_process_that_never_ran_goroutines_may_change_it() {
    needs_goroutines!("kernel threads are counted");
    if role().is_none() {
        let rerun = Rerun::of("a_process_that_never_ran_goroutines_may_change_it", "child");
        rerun.env("GORT_PROCS", "3").run().success();
        return;
    }
    assert_eq!(set_procs(2).unwrap(), 3);
    assert_eq!(gort_tests::measure::kernel_threads(), 3, "main, the test's, and sysmon: no M is made for nothing");
    assert_eq!(thread::spawn(|| thread::spawn(|| 1).join().unwrap() + 1).join().unwrap(), 2);
}

#[test]
fn the_runtime_ends_and_begins_with_another_number() {
    if !alone("the_runtime_ends_and_begins_with_another_number", 2) {
        return;
    }
    let mut there = 2;
    for round in 0..40 {
        let wanted = 1 + round * 7 % 11;
        assert_eq!(thread::spawn(move || set_procs(wanted)).join().unwrap().unwrap(), there);
        let all: Vec<_> = (0..50).map(|i| thread::spawn(move || thread::sleep(Duration::from_micros(i)))).collect();
        all.into_iter().for_each(|g| g.join().unwrap());
        // Perhaps before all that are too many have gone.
        gort::shutdown(Duration::from_secs(30)).unwrap();
        assert!(set_procs(3).is_err(), "it does not run");
        there = 1 + round % 5;
        gort::Config::new().procs(there).start().unwrap();
        assert_eq!(gort::stats().procs, there);
    }
}

#[test]
fn more_asked_for_while_fewer_come_about() {
    if !alone("more_asked_for_while_fewer_come_about", 9) {
        return;
    }
    let stop = Arc::new(AtomicBool::new(false));
    let all = storm(&stop);
    let spin = |n: u32| (0..n).for_each(|_| std::hint::spin_loop());
    for i in 0..400 {
        set_procs(1).unwrap();
        spin(i * 7 % 20_000); // sysmon is just at it, now and then
        set_procs(9).unwrap();
        spin(5_000);
        assert_eq!(gort::stats().procs, 9, "round {i}: what was asked for last counts");
    }
    stop.store(true, SeqCst);
    all.into_iter().for_each(|g| assert!(g.join().unwrap() > 0));
}
