//! When every P is idle somebody waits for events, whoever went idle last and however.

use gort::{ffi, io, thread};
use gort_tests::subprocess::{role, Rerun};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
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

/// In a child, which a hang does not outlive.
fn each_way(test: &str, body: impl Fn(UnixStream) -> thread::JoinHandle<u8>) {
    if role().is_none() {
        for procs in ["1", "2"] {
            Rerun::of(test, "child").env("GORT_PROCS", procs).run().success();
        }
        return;
    }
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let reader = body(ours);
    // Until sysmon, which would stand in for a missing poller, has gone to sleep as well: that takes 50 ms without work.
    thread::spawn(|| thread::sleep(Duration::from_millis(20))).join().unwrap();
    std::thread::sleep(Duration::from_millis(300));
    theirs.write_all(b"x").unwrap();
    assert_eq!(reader.join().unwrap(), b'x');
}

#[test]
fn a_goroutine_that_is_locked_to_its_thread_waits() {
    each_way("a_goroutine_that_is_locked_to_its_thread_waits", |ours| {
        thread::spawn(move || {
            ffi::lock_os_thread();
            read_byte(ours)
        })
    });
}

#[test]
fn the_thread_of_a_locked_goroutine_ends() {
    each_way("the_thread_of_a_locked_goroutine_ends", |ours| {
        let reader = thread::spawn(move || read_byte(ours));
        thread::spawn(|| {
            thread::sleep(Duration::from_millis(5));
            ffi::lock_os_thread(); // and never unlocks: its thread goes with it
        });
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
    let done = std::sync::atomic::AtomicBool::new(false);
    thread::scope(|s| {
        let done = &done;
        s.spawn(move || {
            read_byte(first);
            while !done.load(std::sync::atomic::Ordering::SeqCst) {
                std::hint::spin_loop();
            }
        });
        s.spawn(move || {
            read_byte(second);
            done.store(true, std::sync::atomic::Ordering::SeqCst);
        });
        std::thread::sleep(Duration::from_millis(50)); // both wait, most likely
        to_first.write_all(b"x").unwrap();
        to_second.write_all(b"x").unwrap();
    });
}
