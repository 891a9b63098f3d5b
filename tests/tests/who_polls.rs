//! When every P is idle somebody waits for events, whoever went idle last and however.

use gort::{ffi, io, thread};
use gort_tests::backend::goroutines_are_threads;
use gort_tests::measure::{all_wait, eventually};
use gort_tests::raw::Pipe;
use gort_tests::subprocess::{role, Rerun};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::Arc;
use std::time::Duration;

/// Waits for the byte by the runtime alone: without hooks, so that nothing but the netpoller can bring it.
fn read_byte(mut from: UnixStream) -> u8 {
    from.set_nonblocking(true).unwrap();
    let mut byte = [0];
    while from.read(&mut byte).is_err() {
        io::wait_readable(&from, None).unwrap();
    }
    byte[0]
}

/// In a child, which a hang does not outlive. `body` returns when its goroutines wait, or are about to; so many of them have a
/// thread to themselves.
fn each_way(test: &str, blocked: usize, body: impl Fn(UnixStream) -> thread::JoinHandle<u8>) {
    if role().is_none() {
        for procs in ["1", "2"] {
            Rerun::of(test, "child").env("GORT_PROCS", procs).run().success();
        }
        return;
    }
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let reader = body(ours);
    all_wait(blocked);
    // Until sysmon, which would stand in for a missing poller, has gone to sleep as well: that takes 50 ms without work, and
    // nothing tells. (On a slow machine the test may prove less, and passes.)
    std::thread::sleep(Duration::from_millis(300));
    theirs.write_all(b"x").unwrap();
    assert_eq!(reader.join().unwrap(), b'x');
}

#[test]
fn a_goroutine_that_is_locked_to_its_thread_waits() {
    each_way("a_goroutine_that_is_locked_to_its_thread_waits", 1, |ours| {
        let locked = Arc::new(AtomicBool::new(false));
        let theirs = locked.clone();
        let reader = thread::spawn(move || {
            ffi::lock_os_thread();
            theirs.store(true, SeqCst);
            read_byte(ours)
        });
        assert!(eventually(Duration::from_secs(30), || locked.load(SeqCst)));
        reader
    });
}

/// It waits for a descriptor as the first of all, when nobody has a reason to poll, and holds no P to hand off.
#[test]
fn a_locked_goroutine_has_lost_its_p() {
    each_way("a_locked_goroutine_has_lost_its_p", 1, |ours| {
        let (locked, pipe) = (Arc::new(AtomicBool::new(false)), Arc::new(Pipe::new()));
        let theirs = (locked.clone(), pipe.clone());
        let reader = thread::spawn(move || {
            ffi::lock_os_thread();
            theirs.0.store(true, SeqCst);
            theirs.1.read(); // which nobody has declared
            read_byte(ours)
        });
        assert!(eventually(Duration::from_secs(30), || locked.load(SeqCst)));
        thread::spawn(|| ()).join().unwrap(); // takes the P, if there is but one
        all_wait(1);
        // Until sysmon sleeps, as above.
        std::thread::sleep(Duration::from_millis(300));
        pipe.write(0, 1);
        reader
    });
}

#[test]
fn the_thread_of_a_locked_goroutine_ends() {
    each_way("the_thread_of_a_locked_goroutine_ends", 0, |ours| {
        let begun = Arc::new(AtomicBool::new(false));
        let theirs = begun.clone();
        let reader = thread::spawn(move || {
            theirs.store(true, SeqCst);
            read_byte(ours)
        });
        assert!(eventually(Duration::from_secs(30), || begun.load(SeqCst)));
        all_wait(0);
        thread::spawn(ffi::lock_os_thread).join().unwrap(); // and never unlocks: its thread goes with it
        reader
    });
}

/// A goroutine that was woken by its socket computes; meanwhile there is an idle P for others.
#[test]
fn another_poller_takes_over_from_one_that_computes() {
    let test = "another_poller_takes_over_from_one_that_computes";
    if role().is_none() {
        Rerun::of(test, "child").env("GORT_PROCS", "2").run().success();
        return;
    }
    let (first, mut to_first) = UnixStream::pair().unwrap();
    let (second, mut to_second) = UnixStream::pair().unwrap();
    let (begun, computes, done) = (AtomicUsize::new(0), AtomicBool::new(false), AtomicBool::new(false));
    thread::scope(|s| {
        let (begun, computes, done) = (&begun, &computes, &done);
        s.spawn(move || {
            begun.fetch_add(1, SeqCst);
            read_byte(first);
            computes.store(true, SeqCst);
            while !done.load(SeqCst) {
                std::hint::spin_loop();
            }
        });
        s.spawn(move || {
            begun.fetch_add(1, SeqCst);
            read_byte(second);
            done.store(true, SeqCst);
        });
        assert!(eventually(Duration::from_secs(30), || begun.load(SeqCst) == 2));
        all_wait(0);
        // Until the poller is the only thread that is left, and nobody looks by accident who was about to end.
        let alone = || goroutines_are_threads() || gort::stats().kernel_threads == 1;
        assert!(eventually(Duration::from_secs(30), alone));
        to_first.write_all(b"x").unwrap();
        // Else one look might find both events.
        assert!(eventually(Duration::from_secs(30), || computes.load(SeqCst)));
        to_second.write_all(b"x").unwrap();
    });
}
