//! What once kept somebody waiting for ever, or took more memory, threads or mappings than it should.

use gort::thread::{self, Builder};
use gort_tests::measure::{eventually, resident_kib};
use gort_tests::needs_goroutines;
use gort_tests::subprocess::{role, Rerun};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{mpsc, Arc, Mutex, RwLock};
use std::time::Duration;

const LONG: Duration = Duration::from_secs(30);

/// Runs the test's body in a child with that environment and one P; true in the child.
fn alone_on_one_p(name: &str, guard: &str) -> bool {
    if role().is_none() {
        Rerun::of(name, "child").env("GORT_PROCS", "1").env("GORT_GUARD", guard).inherit("GORT_CHAOS").run().success();
    }
    role().is_some()
}

#[test]
fn goroutines_that_contend_do_not_starve_a_thread() {
    if !alone_on_one_p("goroutines_that_contend_do_not_starve_a_thread", "") {
        return;
    }
    static LOCK: Mutex<usize> = Mutex::new(0);
    static STOP: AtomicBool = AtomicBool::new(false);
    let goroutines: Vec<_> = (0..4)
        .map(|_| {
            thread::spawn(|| {
                while !STOP.load(SeqCst) {
                    let mut n = LOCK.lock().unwrap();
                    *n += 1;
                    thread::yield_now(); // so that the others find it taken
                }
            })
        })
        .collect();
    // This is a plain thread; each turn waits until the goroutines have had some.
    for _ in 0..100 {
        let turns = *LOCK.lock().unwrap();
        assert!(eventually(LONG, || *LOCK.lock().unwrap() > turns), "and the goroutines go on");
    }
    STOP.store(true, SeqCst);
    goroutines.into_iter().for_each(|g| g.join().unwrap());
}

#[test]
fn a_blocking_call_that_parks_leaves_no_trace() {
    if !alone_on_one_p("a_blocking_call_that_parks_leaves_no_trace", "") {
        return;
    }
    const ROUNDS: usize = 1000;
    let (to, from) = mpsc::sync_channel(0);
    let lock = Arc::new(RwLock::new(0));
    let theirs = lock.clone();
    let receiver = thread::spawn(move || {
        for i in 0..ROUNDS {
            assert_eq!(gort::ffi::blocking(|| from.recv().unwrap()), i);
            *gort::ffi::blocking(|| theirs.write().unwrap()) += 1;
            gort::ffi::blocking(|| std::thread::park_timeout(Duration::from_micros(1)));
        }
    });
    let sender = thread::spawn(move || {
        for i in 0..ROUNDS {
            gort::ffi::blocking(|| to.send(i).unwrap());
            gort::ffi::blocking(std::thread::yield_now);
        }
    });
    sender.join().unwrap();
    receiver.join().unwrap();
    assert_eq!(*lock.read().unwrap(), ROUNDS);
    let stats = gort::stats();
    assert!(stats.goroutines == 0 && stats.kernel_threads <= 8, "{stats:?}");
}

/// Nobody is taken to be blocked who is not.
#[test]
fn goroutines_that_give_way_to_each_other_stay_on_their_kernel_thread() {
    needs_goroutines!("each has a kernel thread of its own");
    if role().is_none() {
        // Chaos would move them.
        let name = "goroutines_that_give_way_to_each_other_stay_on_their_kernel_thread";
        Rerun::of(name, "child").env("GORT_PROCS", "1").run().success();
        return;
    }
    let moves = Arc::new(AtomicUsize::new(0));
    let computing: Vec<_> = (0..2)
        .map(|_| {
            let moves = moves.clone();
            thread::spawn(move || {
                // SAFETY: no preconditions.
                let tid = || unsafe { libc::gettid() };
                let mut here = tid();
                for _ in 0..200 {
                    (0..2000u32).for_each(|x| drop(std::hint::black_box(Box::new(x))));
                    thread::yield_now();
                    if tid() != here {
                        here = tid();
                        moves.fetch_add(1, SeqCst);
                    }
                }
            })
        })
        .collect();
    computing.into_iter().for_each(|g| g.join().unwrap());
    assert!(moves.load(SeqCst) < 100, "{} moves in 400 turns", moves.load(SeqCst));
    assert!(gort::stats().kernel_threads <= 8, "{:?}", gort::stats());
}

#[test]
fn guards_that_run_out_are_an_error_of_spawn() {
    needs_goroutines!("std ends the process where a new thread finds no mapping");
    if !alone_on_one_p("guards_that_run_out_are_an_error_of_spawn", "mprotect") {
        return;
    }
    const N: usize = 20_000;
    /// Spawns as many as can be, all alive at once, and lets them end.
    fn crowd(stack: Option<usize>) -> usize {
        let (to, from) = mpsc::channel::<()>();
        let from = Arc::new(Mutex::new(from));
        let mut all = Vec::new();
        for _ in 0..N {
            let from = from.clone();
            let builder = stack.map_or(Builder::new(), |size| Builder::new().stack_size(size));
            match builder.spawn(move || from.lock().unwrap().recv().unwrap_err()) {
                Ok(g) => all.push(g),
                Err(e) => {
                    assert!(e.to_string().contains("max_map_count"), "{e}");
                    break;
                }
            }
        }
        drop(to);
        let n = all.len();
        for g in all {
            g.join().unwrap();
        }
        n
    }
    for _ in 0..2 {
        for stack in [Some(1 << 20), None, Some(700 << 10), None] {
            let n = crowd(stack);
            assert!(n > 0, "none at all of {stack:?}");
        }
    }
}

#[test]
fn spawners_that_wait_for_nobody_leave_guards_for_others() {
    const NAME: &str = "spawners_that_wait_for_nobody_leave_guards_for_others";
    needs_goroutines!("threads that nobody waits for have no bound");
    if role().is_none() {
        // Not with chaos, which queues what is spawned as it queues all others, without a bound.
        Rerun::of(NAME, "child").env("GORT_PROCS", 4).env("GORT_GUARD", "mprotect").run().success();
        return;
    }
    // Four Ps would keep 65,536 that have not begun, were it only for memory.
    static ENDED: AtomicUsize = AtomicUsize::new(0);
    let spawners: Vec<_> = (0..8)
        .map(|_| {
            thread::spawn(|| {
                for _ in 0..20_000 {
                    drop(thread::spawn(|| ENDED.fetch_add(1, SeqCst))); // panics where there is no guard for it
                }
            })
        })
        .collect();
    spawners.into_iter().for_each(|g| g.join().unwrap());
    assert!(eventually(LONG, || ENDED.load(SeqCst) == 8 * 20_000));
}

/// The number of goroutines in a tree that is `depth` deep, where each has `width` children and waits for them.
fn tree(width: usize, depth: usize) -> usize {
    if depth == 0 {
        return 1;
    }
    let children: Vec<_> = (0..width).map(|_| thread::spawn(move || tree(width, depth - 1))).collect();
    1 + children.into_iter().map(|g| g.join().unwrap()).sum::<usize>()
}

#[test]
fn a_tree_takes_stacks_for_its_depth_only() {
    needs_goroutines!("stacks are counted");
    if !alone_on_one_p("a_tree_takes_stacks_for_its_depth_only", "") {
        return;
    }
    // Not counting what the first goroutines bring with them.
    assert_eq!(thread::spawn(|| tree(10, 2)).join().unwrap(), 111);
    let before = resident_kib();
    assert_eq!(thread::spawn(|| tree(10, 4)).join().unwrap(), 11_111);
    let more = resident_kib().saturating_sub(before);
    assert!(more < 16 << 10, "{more} KiB for 11111 goroutines, of which few are needed at a time");
}

#[test]
fn a_line_of_goroutines_takes_little_memory() {
    needs_goroutines!("std ends the process where a new thread finds no mapping");
    if !alone_on_one_p("a_line_of_goroutines_takes_little_memory", "") {
        return;
    }
    const LINE: usize = 20_000;
    fn line(n: usize, end: mpsc::Sender<usize>) {
        match n {
            LINE => end.send(n).unwrap(),
            _ => drop(thread::spawn(move || line(n + 1, end))),
        }
    }
    fn joined(n: usize) -> usize {
        if n == 0 {
            0
        } else {
            thread::spawn(move || joined(n - 1)).join().unwrap() + 1
        }
    }
    let (to, from) = mpsc::channel();
    let theirs = to.clone();
    thread::spawn(move || line(LINE - 100, theirs));
    assert_eq!(from.recv().unwrap(), LINE);
    let before = resident_kib();
    thread::spawn(move || line(0, to));
    assert_eq!(from.recv().unwrap(), LINE);
    let more = resident_kib().saturating_sub(before);
    assert!(more < 4 << 10, "{more} KiB for goroutines that end at once");
    // And where each waits for the next, for a stack each.
    assert_eq!(joined(LINE), LINE);
    let more = resident_kib().saturating_sub(before);
    assert!(more < LINE * 20, "{more} KiB for {LINE} goroutines");
}

#[test]
fn the_oldest_begins_though_others_are_spawned_for_ever() {
    if !alone_on_one_p("the_oldest_begins_though_others_are_spawned_for_ever", "") {
        return;
    }
    // Those that were left by the round before are older, and they go first: that takes a second or two.
    const LIMIT: usize = 20_000_000;
    fn successor(begun: Arc<AtomicBool>, end: mpsc::Sender<usize>, n: usize) {
        if n == LIMIT || begun.load(SeqCst) {
            end.send(n).unwrap();
        } else {
            thread::spawn(move || successor(begun, end, n + 1));
        }
    }
    let first = |begun: &Arc<AtomicBool>| {
        let begun = begun.clone();
        thread::spawn(move || begun.store(true, SeqCst))
    };
    for yields in [false, true] {
        let spawner = thread::spawn(move || {
            let begun = Arc::new(AtomicBool::new(false));
            let first = first(&begun);
            let mut n = 0;
            while n < LIMIT && !begun.load(SeqCst) {
                thread::spawn(|| ());
                if yields {
                    thread::yield_now();
                }
                n += 1;
            }
            first.join().unwrap();
            n
        });
        let n = spawner.join().unwrap();
        assert!(n < LIMIT, "yields: {yields}");
    }
    // Each spawns the next, and ends.
    let (to, from) = mpsc::channel();
    thread::spawn(move || {
        let begun = Arc::new(AtomicBool::new(false));
        first(&begun);
        successor(begun, to, 0);
    });
    assert!(from.recv().unwrap() < LIMIT);
}
