//! `GORT_CHAOS`: everything that it promises happens, programs do not see it but by failures that they asked for, and a process
//! that dies of it names its seed. See the head of `gort-rt/src/chaos/mod.rs`.

use gort::testing::chaos_counts;
use gort::thread::{self, Builder};
use gort_tests::locks::{CBarrier, CSem};
use gort_tests::measure::on_goroutine;
use gort_tests::needs_goroutines;
use gort_tests::raw::block_for;
use gort_tests::subprocess::{role, Rerun};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering::SeqCst};
use std::sync::{mpsc, Arc, Barrier, Condvar, Mutex};
use std::time::{Duration, Instant};

const SCENARIO: &str = env!("CARGO_BIN_EXE_scenario");
const ALWAYS: [&str; 9] = ["place", "late", "delay", "migrate", "revoke", "kernel", "futex", "event", "thread"];
const FAULTS: [&str; 6] = ["map", "guard", "block", "estate", "discard", "register"];

fn counts() -> BTreeMap<&'static str, u64> {
    chaos_counts().into_iter().collect()
}

/// Runs a test's body in children with these values of `GORT_CHAOS`, with one P and with two. True in a child.
fn with_chaos(name: &str, values: &[&str]) -> bool {
    if role().is_some() {
        return true;
    }
    for value in values {
        for procs in ["1", "2"] {
            Rerun::of(name, "child").env("GORT_CHAOS", value).env("GORT_PROCS", procs).run().success();
        }
    }
    false
}

/// Waits of every kind, each of which knows whether it ended rightly.
fn work() {
    const N: usize = 8;
    let (barrier, c_barrier) = (Arc::new(Barrier::new(N)), Arc::new(CBarrier::new(N as u32)));
    let here = Arc::new(AtomicUsize::new(0));
    let (sem, inside) = (Arc::new(CSem::new(2)), Arc::new(AtomicUsize::new(0)));
    let round = Arc::new((Mutex::new(0), Condvar::new()));
    let all: Vec<_> = (0..N)
        .map(|i| {
            let (barrier, c_barrier, sem, inside) = (barrier.clone(), c_barrier.clone(), sem.clone(), inside.clone());
            let (here, round) = (here.clone(), round.clone());
            thread::spawn(move || {
                for n in 0..6 {
                    barrier.wait();
                    let (lock, changed) = &*round;
                    *lock.lock().unwrap() += 1;
                    changed.notify_all();
                    drop(changed.wait_while(lock.lock().unwrap(), |count| *count < (n + 1) * N).unwrap());
                    assert_eq!(*lock.lock().unwrap(), (n + 1) * N, "nobody is a round ahead");
                    here.fetch_add(1, SeqCst);
                    c_barrier.wait();
                    assert_eq!(here.load(SeqCst), (n + 1) * N, "nobody leaves before all are here");
                    sem.wait();
                    assert!(inside.fetch_add(1, SeqCst) < 2, "only two were let in");
                    thread::yield_now();
                    inside.fetch_sub(1, SeqCst);
                    sem.post();
                    let before = Instant::now();
                    thread::sleep(Duration::from_micros(100));
                    assert!(before.elapsed() >= Duration::from_micros(100));
                    block_for(Duration::from_micros(200));
                }
                i
            })
        })
        .collect();
    let (mut near, mut far) = UnixStream::pair().unwrap();
    let echo = thread::spawn(move || {
        for _ in 0..20 {
            let mut byte = [0];
            gort::io::wait_readable(&far, None).unwrap();
            // A try that would block says so: the wait did not end in vain.
            // SAFETY: room for one byte.
            assert_eq!(unsafe { libc::recv(raw(&far), byte.as_mut_ptr().cast(), 1, libc::MSG_DONTWAIT) }, 1);
            far.write_all(&byte).unwrap();
        }
    });
    let talk = thread::spawn(move || {
        for n in 0..20 {
            near.write_all(&[n]).unwrap();
            let mut byte = [0];
            near.read_exact(&mut byte).unwrap();
            assert_eq!(byte, [n]);
        }
    });
    // From a thread that is none of the runtime's, too.
    let (to, from) = mpsc::channel();
    let sums = thread::spawn(move || from.iter().sum::<u32>());
    (0..20).for_each(|n| to.send(n).unwrap());
    drop(to);
    assert_eq!(sums.join().unwrap(), 190);
    assert_eq!(all.into_iter().map(|g| g.join().unwrap()).sum::<usize>(), 28);
    [echo, talk].into_iter().for_each(|g| g.join().unwrap());
}

fn raw(fd: &impl std::os::fd::AsRawFd) -> i32 {
    fd.as_raw_fd()
}

#[test]
fn everything_happens_and_nobody_sees_it() {
    needs_goroutines!("chaos is the scheduler\'s");
    if !with_chaos("everything_happens_and_nobody_sees_it", &["1", "2", "18446744073709551615"]) {
        return;
    }
    loop {
        work();
        let counts = counts();
        assert!(FAULTS.iter().all(|fault| counts[fault] == 0), "faults must be asked for: {counts:?}");
        if ALWAYS.iter().all(|kind| counts[kind] > 0) {
            return;
        }
    }
}

/// Failures come out of `spawn`, with a reason, and what was not spawned is dropped; all else goes on by another way.
#[test]
fn faults_happen_and_are_errors_or_fallbacks() {
    needs_goroutines!("chaos is the scheduler\'s");
    if !with_chaos("faults_happen_and_are_errors_or_fallbacks", &["1,faults", "2,faults"]) {
        return;
    }
    on_goroutine(|| ()); // or panics: the runtime is up now
    let mut refused = 0;
    loop {
        let held = Arc::new(());
        let arrived = Arc::new(AtomicUsize::new(0));
        let mut all = Vec::new();
        for n in 0..200 {
            let (theirs, arrived) = (held.clone(), arrived.clone());
            // Some take stacks of unusual sizes, which are made at once.
            let size = if n % 5 == 0 { 100 << 10 << (n % 4) } else { 200 << 10 };
            let spawned = Builder::new().stack_size(size).spawn(move || {
                let _held = theirs;
                arrived.fetch_add(1, SeqCst);
                let (mut near, mut far) = UnixStream::pair().unwrap();
                let mut byte = [0];
                far.set_read_timeout(Some(Duration::from_micros(50))).unwrap();
                assert!(far.read(&mut byte).is_err());
                near.write_all(b"x").unwrap();
                far.set_read_timeout(None).unwrap();
                assert_eq!((far.read(&mut byte).unwrap(), byte), (1, *b"x"));
            });
            match spawned {
                Ok(g) => all.push(g),
                Err(e) => {
                    assert!(!e.to_string().is_empty());
                    refused += 1;
                }
            }
        }
        let n = all.len();
        all.into_iter().for_each(|g| g.join().unwrap());
        assert_eq!((arrived.load(SeqCst), Arc::strong_count(&held)), (n, 1));
        assert_eq!(gort::stats().goroutines, 0);
        gort::testing::all_go_cold();
        let counts = counts();
        if refused > 0 && FAULTS.iter().all(|kind| counts[kind] > 0) {
            return;
        }
    }
}

/// A goroutine that computes loses its P although nobody waits for it, again and again, and does not notice.
#[test]
fn a_p_is_taken_for_no_reason() {
    needs_goroutines!("chaos is the scheduler\'s");
    if !with_chaos("a_p_is_taken_for_no_reason", &["1"]) {
        return;
    }
    on_goroutine(|| {
        let mut lost = 0;
        while lost < 20 {
            let before = counts()["revoke"];
            // Not for ever: it may have lost its P just before, and then there is none to lose.
            lost += u32::from((0..20_000).any(|_| counts()["revoke"] != before));
            thread::yield_now(); // and queues for another
            assert_eq!(thread::spawn(move || lost).join().unwrap(), lost);
        }
    });
}

/// A wait in the futex table ends although the word has not changed and nobody woke.
#[test]
fn a_futex_wait_ends_for_no_reason() {
    needs_goroutines!("chaos is the scheduler\'s");
    if !with_chaos("a_futex_wait_ends_for_no_reason", &["1"]) {
        return;
    }
    let word = AtomicU32::new(0);
    let wait = || gort_tests::raw::futex_wait(&word, 0, Some(Duration::from_micros(100)));
    on_goroutine(|| while wait() == libc::ETIMEDOUT {});
    assert!(counts()["futex"] > 0);
}

#[test]
fn a_report_names_the_seed() {
    needs_goroutines!("chaos is the scheduler\'s");
    for (chaos, text) in [("5", "[GORT_CHAOS=5]"), ("0", "[GORT_CHAOS=0]"), ("6,faults", "[GORT_CHAOS=6,faults]")] {
        let child = Rerun::scenario(SCENARIO, "dead_lock").env("GORT_PROCS", "2").env("GORT_CHAOS", chaos);
        let outcome = child.run();
        // With faults a spawn may fail first.
        if !outcome.stderr.contains("panicked") {
            outcome.says("all goroutines are asleep").says(text);
        }
    }
    Rerun::scenario(SCENARIO, "dead_lock").run().says("all goroutines are asleep").does_not_say("GORT_CHAOS");
}
