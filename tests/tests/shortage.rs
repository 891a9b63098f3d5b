//! When something runs out: kernel threads, mappings, address space. Errors come where goroutines are spawned, and what was
//! spawned goes on.

use gort::thread::{self, Builder, JoinHandle};
use gort_tests::cthreads;
use gort_tests::measure::{eventually, guards, on_goroutine};
use gort_tests::needs_goroutines;
use gort_tests::raw::Pipe;
use gort_tests::subprocess::{role, Rerun};
use gort_tests::watch::Shortage;
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Barrier};
use std::time::Duration;

/// Runs the test once for each number of Ps; true in the process where it should do its work. Not with chaos, which asks for
/// a thread all the time: each costs a while when there is none.
fn alone(name: &str, guard: &str) -> bool {
    if role().is_none() {
        for procs in ["1", "2"] {
            let rerun = Rerun::of(name, "child").env("GORT_PROCS", procs).env("GORT_GUARD", guard);
            rerun.inherit("GORT_IDENTITY").run().success();
        }
    }
    role().is_some()
}

/// The most that Ps may keep for goroutines that are spawned on them.
const KEPT: usize = 300;
const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn a_start_that_failed_can_be_tried_again() {
    if !alone("a_start_that_failed_can_be_tried_again", guards()[0]) {
        return;
    }
    let threads = Shortage::prepare();
    threads.begin();
    for _ in 0..2 {
        let error = Builder::new().spawn(|| ()).unwrap_err();
        for part in ["Resource temporarily unavailable", "ulimit -u", "pids.max"] {
            assert!(error.to_string().contains(part), "{error}");
        }
    }
    assert!(gort::Config::new().start().is_err());
    threads.end();
    assert_eq!(thread::spawn(|| 5).join().unwrap(), 5);
}

#[test]
fn goroutines_go_on_when_threads_can_be_had_again() {
    needs_goroutines!("each needs a thread of its own");
    if !alone("goroutines_go_on_when_threads_can_be_had_again", guards()[0]) {
        return;
    }
    let threads = Shortage::prepare();
    let pipe = Arc::new(Pipe::new());
    // Each round needs more threads than there are: one more goroutine keeps one to itself.
    let mut readers = Vec::new();
    for round in 1..=3 {
        for _ in 0..2 {
            let pipe = pipe.clone();
            readers.push(thread::spawn(move || pipe.read()));
        }
        threads.begin();
        let before = threads.refused();
        let spawned: Vec<_> =
            (0..100).map(|i| thread::spawn(move || thread::spawn(move || i).join().unwrap())).collect();
        // The runtime tries some twenty times in a row before it puts the matter off, and comes back to it.
        let again = || {
            thread::spawn(|| ()); // somebody wakes the Ps, again and again
            threads.refused() > before + 50
        };
        if !eventually(PATIENCE, again) {
            assert!(round > 1, "no thread was needed");
        }
        threads.end();
        assert_eq!(spawned.into_iter().map(|g| g.join().unwrap()).sum::<i32>(), 4950);
    }
    pipe.write(b'x', readers.len());
    readers.into_iter().for_each(|g| assert_eq!(g.join().unwrap(), b'x'));
}

/// Two goroutines block at a moment when no thread can be had, and on either P waits another that nobody but the P's holder finds.
#[test]
fn what_waits_on_two_ps_goes_on_when_threads_can_be_had_again() {
    needs_goroutines!("each needs a thread of its own");
    const NAME: &str = "what_waits_on_two_ps_goes_on_when_threads_can_be_had_again";
    if role().is_none() {
        Rerun::of(NAME, "child").env("GORT_PROCS", 2).run().success();
        return;
    }
    let threads = Shortage::prepare();
    let pipe = Arc::new(Pipe::new());
    let (running, go, ran) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
    let (running, go, ran) = (&running, &go, &ran);
    for round in 1..=5 {
        thread::scope(|s| {
            for _ in 0..2 {
                let pipe = pipe.clone();
                s.spawn(move || {
                    running.fetch_add(1, SeqCst);
                    while go.load(SeqCst) < round {
                        std::hint::spin_loop();
                    }
                    s.spawn(|| ran.fetch_add(1, SeqCst));
                    gort::ffi::blocking(|| pipe.read());
                });
            }
            assert!(eventually(PATIENCE, || running.load(SeqCst) == 2 * round), "they run side by side");
            threads.begin();
            let before = threads.refused();
            go.store(round, SeqCst);
            // A round may find a thread that sleeps, and need no other.
            eventually(PATIENCE, || threads.refused() > before + 60 || ran.load(SeqCst) == 2 * round);
            threads.end();
            assert!(
                eventually(PATIENCE, || ran.load(SeqCst) == 2 * round),
                "{} ran in round {round}",
                ran.load(SeqCst)
            );
            pipe.write(b'x', 2);
        });
    }
}

#[test]
fn goroutines_that_no_thread_can_be_had_for_are_told_of_once() {
    needs_goroutines!("each needs a thread of its own");
    const NAME: &str = "goroutines_that_no_thread_can_be_had_for_are_told_of_once";
    if role().is_none() {
        for procs in [1, 2] {
            let outcome = Rerun::of(NAME, "child").env("GORT_PROCS", procs).run();
            outcome
                .success()
                .says("the system gives no kernel thread to run them on: Resource temporarily unavailable");
            outcome.says("ulimit -u").says("pids.max").does_not_say("deadlock");
            assert_eq!(outcome.stderr.matches("gort:").count(), 1, "{outcome:?}");
        }
        return;
    }
    let threads = Shortage::prepare();
    gort::Config::new().start().unwrap(); // makes sysmon's thread, and no other yet
    threads.begin();
    let before = threads.refused();
    let all: Vec<_> = (0..100).map(|i| thread::spawn(move || i)).collect();
    // The runtime tries some twenty times in a row, then tells, then tries again.
    cthreads::eventually("more tries", || threads.refused() > before + 60);
    assert!(all.iter().all(|g| !g.is_finished()));
    threads.end();
    assert_eq!(all.into_iter().map(|g| g.join().unwrap()).sum::<i32>(), 4950);
}

/// Spawns goroutines that park until that has failed a thousand times: what cannot be had is not taken away from those who
/// come later. Returns them and the last error's text.
fn spawn_to_the_limit(arrived: &Arc<AtomicUsize>) -> (Vec<JoinHandle<()>>, String) {
    let (mut all, mut errors) = (Vec::new(), 0);
    loop {
        let arrived = arrived.clone();
        let spawned = Builder::new().spawn(move || {
            arrived.fetch_add(1, SeqCst);
            thread::park();
        });
        match spawned {
            Ok(g) => all.push(g),
            Err(e) if errors == 1000 => return (all, e.to_string()),
            Err(_) => errors += 1,
        }
    }
}

/// All that were spawned begin, and end when they are told to.
fn nothing_is_lost(arrived: &Arc<AtomicUsize>, all: Vec<JoinHandle<()>>) {
    let n = all.len();
    assert!(eventually(PATIENCE, || arrived.load(SeqCst) == n), "{} of {n}", arrived.load(SeqCst));
    all.iter().for_each(|g| g.thread().unpark());
    all.into_iter().for_each(|g| g.join().unwrap());
}

#[test]
fn the_limit_on_mappings_is_an_error_at_spawn() {
    needs_goroutines!("std ends the process where a new thread finds no mapping");
    if !alone("the_limit_on_mappings_is_an_error_at_spawn", "mprotect") {
        return;
    }
    /// Mappings that are left when the test has used the rest up.
    const LEFT: usize = 2000;
    const PAGE: usize = 4096;
    let limit: usize = std::fs::read_to_string("/proc/sys/vm/max_map_count").unwrap().trim().parse().unwrap();
    on_goroutine(|| ());
    let bytes = 2 * limit * PAGE;
    let at = |page: usize| page * PAGE;
    // SAFETY: a new mapping; then its pages, of which nobody uses any.
    unsafe {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        let start = libc::mmap(ptr::null_mut(), bytes, libc::PROT_NONE, flags, -1, 0);
        assert_ne!(start, libc::MAP_FAILED);
        let used =
            (0..).step_by(2).find(|&page| libc::mprotect(start.add(at(page)), PAGE, libc::PROT_READ) != 0).unwrap();
        // One mapping in place of as many as shall be free.
        assert_eq!(libc::mprotect(start.add(at(used - LEFT)), at(LEFT), libc::PROT_NONE), 0);
        let arrived = Arc::new(AtomicUsize::new(0));
        let (all, text) = spawn_to_the_limit(&arrived);
        assert!(text.contains("vm.max_map_count"), "{text}");
        let n = all.len();
        assert!((LEFT / 3..LEFT).contains(&n), "{n} goroutines");
        nothing_is_lost(&arrived, all);
        arrived.store(0, SeqCst);
        let (again, _) = spawn_to_the_limit(&arrived);
        assert!(again.len() + KEPT >= n, "{n}, then {}", again.len());
        nothing_is_lost(&arrived, again);
        // With the mappings back there can be more.
        assert_eq!(libc::munmap(start, bytes), 0);
    }
    let arrived = Arc::new(AtomicUsize::new(0));
    let all = (0..2 * LEFT).map(|_| {
        let arrived = arrived.clone();
        thread::spawn(move || {
            arrived.fetch_add(1, SeqCst);
            thread::park();
        })
    });
    nothing_is_lost(&arrived, all.collect());
}

#[test]
fn a_crowd_at_the_limit_leaves_mappings_for_kernel_threads() {
    needs_goroutines!("the crowd is of kernel threads itself");
    if !alone("a_crowd_at_the_limit_leaves_mappings_for_kernel_threads", "mprotect") {
        return;
    }
    let arrived = Arc::new(AtomicUsize::new(0));
    let (all, text) = spawn_to_the_limit(&arrived);
    assert!(text.contains("vm.max_map_count"), "{text}");
    // std ends the process if a thread of its own finds no mapping for its signal stack.
    let met = Arc::new(Barrier::new(1000));
    let threads: Vec<_> = (0..1000)
        .map(|_| {
            let met = met.clone();
            std::thread::spawn(move || met.wait())
        })
        .collect();
    threads.into_iter().for_each(|t| _ = t.join().unwrap());
    nothing_is_lost(&arrived, all);
}

#[test]
fn the_limit_on_address_space_is_an_error_at_spawn() {
    needs_goroutines!("std ends the process where a new thread finds no mapping");
    if alone("the_limit_on_address_space_is_an_error_at_spawn", guards()[0]) {
        the_limit_is_an_error_at_spawn(libc::RLIMIT_AS, 0, "ulimit -v");
    }
}

#[test]
fn the_limit_on_data_is_an_error_at_spawn() {
    needs_goroutines!("std ends the process where a new thread finds no mapping");
    // All private memory that may be written counts, used or not.
    if alone("the_limit_on_data_is_an_error_at_spawn", guards()[0]) {
        the_limit_is_an_error_at_spawn(libc::RLIMIT_DATA, 5, "ulimit -d");
    }
}

/// Sets a limit on the kind of memory of which field `n` of `statm` tells how much there is, a little above that.
fn the_limit_is_an_error_at_spawn(what: libc::__rlimit_resource_t, n: usize, told: &str) {
    on_goroutine(|| ());
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = pages.split(' ').nth(n).unwrap().parse().unwrap();
    // Room for threads and for malloc, but not for another chunk of stacks.
    let most = pages * 4096 + (256 << 20);
    let limit = libc::rlimit { rlim_cur: most, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: a valid record; this process exists for this test only.
    assert_eq!(unsafe { libc::setrlimit(what, &limit) }, 0);
    let arrived = Arc::new(AtomicUsize::new(0));
    let (all, text) = spawn_to_the_limit(&arrived);
    assert!(text.contains(told), "{text}");
    let n = all.len();
    assert!(n >= 1000, "{n} goroutines");
    nothing_is_lost(&arrived, all);
    arrived.store(0, SeqCst);
    let (again, _) = spawn_to_the_limit(&arrived);
    assert!(again.len() + KEPT >= n, "{n}, then {}", again.len());
    // A large one fails as well, and those that are there go on.
    let error = Builder::new().stack_size(1 << 30).spawn(|| ()).unwrap_err();
    assert!(error.to_string().contains(told), "{error}");
    nothing_is_lost(&arrived, again);
    assert_eq!(on_goroutine(|| 5), 5);
}
