//! SIGSTOP and SIGCONT: a process that was stopped for seconds goes on where it was. What is overdue happens once, nothing
//! hangs or is cut short, and nothing is taken for a dead-lock.

use gort::{ffi, thread};
use gort_tests::needs_goroutines;
use gort_tests::raw::Pipe;
use gort_tests::storms;
use gort_tests::subprocess::{role, Rerun};
use gort_tests::waiting::{ask, poll};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{mpsc, Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

const SCENARIO: &str = env!("CARGO_BIN_EXE_scenario");

/// Has a shell do that to this process, which is `$PPID` to it, and waits for its end.
fn shell(script: &str) {
    assert!(Command::new("sh").args(["-c", script]).status().unwrap().success());
}

/// For how long the process is stopped.
const STOPPED: Duration = Duration::from_secs(2);

/// Waits for `time` in the `i`th of several ways, and says whether the wait ended by its time, as it should.
fn wait(i: usize, time: Duration) -> bool {
    let (_to, from) = mpsc::channel::<()>();
    match i % 7 {
        0 => {
            thread::sleep(time);
            true
        }
        1 => {
            std::thread::sleep(time);
            true
        }
        2 => from.recv_timeout(time) == Err(mpsc::RecvTimeoutError::Timeout),
        3 => {
            let lock = Mutex::new(());
            let guard = lock.lock().unwrap();
            let (guard, result) = Condvar::new().wait_timeout_while(guard, time, |_| true).unwrap();
            drop(guard);
            result.timed_out()
        }
        4 => {
            let (mut one, _other) = UnixStream::pair().unwrap();
            one.set_read_timeout(Some(time)).unwrap();
            one.read(&mut [0]).is_err_and(|e| e.kind() == std::io::ErrorKind::WouldBlock)
        }
        5 => {
            let (one, _other) = UnixStream::pair().unwrap();
            poll(&mut [ask(&one, libc::POLLIN)], time.as_millis() as i32) == 0
        }
        _ => {
            ffi::blocking(|| gort_tests::raw::block_for(time));
            true
        }
    }
}

#[test]
fn what_is_overdue_happens_once() {
    needs_goroutines!("sleeps are the kernel's");
    const NAME: &str = "what_is_overdue_happens_once";
    if role().is_none() {
        for procs in [1, 2] {
            Rerun::of(NAME, "child").env("GORT_PROCS", procs).inherit("GORT_CHAOS").run().success();
        }
        return;
    }
    // Deadlines before, during and after the stop.
    let ended = Arc::new(AtomicUsize::new(0));
    let timed: Vec<_> = (0..210usize)
        .map(|i| {
            let ended = ended.clone();
            thread::spawn(move || {
                let time = Duration::from_millis(20 * i as u64);
                let before = Instant::now();
                let by_time = wait(i, time);
                ended.fetch_add(1, SeqCst);
                assert!(by_time, "way {}", i % 7);
                // A blocked kernel thread that is stopped goes on with what is left of its time.
                assert!(before.elapsed() >= time, "way {}: {:?} of {time:?}", i % 7, before.elapsed());
            })
        })
        .collect();
    // Waits without an end, of each kind, which the stop must not end.
    let (mut near, far) = UnixStream::pair().unwrap();
    let reader = thread::spawn(move || {
        let mut byte = [0];
        (&far).read(&mut byte).map(|n| (n, byte[0])).unwrap()
    });
    let pipe = Arc::new(Pipe::new());
    let theirs = pipe.clone();
    let blocked = thread::spawn(move || theirs.read());
    let (to, from) = mpsc::channel();
    let receiver = thread::spawn(move || from.recv().unwrap());
    let parked = thread::spawn(|| {
        let asked = Arc::new(AtomicBool::new(false));
        let (theirs, me) = (asked.clone(), thread::current());
        thread::spawn(move || {
            thread::sleep(STOPPED * 2);
            theirs.store(true, SeqCst);
            me.unpark();
        });
        while !asked.load(SeqCst) {
            thread::park();
        }
    });
    // One that computes all the while, and one that counts time in steps: late ones are not made up for in a burst.
    let stop = Arc::new(AtomicBool::new(false));
    let theirs = stop.clone();
    let computing = thread::spawn(move || {
        while !theirs.load(SeqCst) {
            std::hint::spin_loop();
        }
    });
    let theirs = stop.clone();
    let ticker = thread::spawn(move || {
        const STEP: Duration = Duration::from_millis(50);
        while !theirs.load(SeqCst) {
            let before = Instant::now();
            thread::sleep(STEP);
            assert!(before.elapsed() >= STEP);
        }
    });
    let before = Instant::now();
    shell(&format!("sleep 0.5; kill -STOP $PPID; sleep {}; kill -CONT $PPID", STOPPED.as_secs()));
    assert!(before.elapsed() >= STOPPED);
    timed.into_iter().for_each(|g| g.join().unwrap());
    assert_eq!(ended.load(SeqCst), 210, "each once");
    parked.join().unwrap();
    near.write_all(b"n").unwrap();
    pipe.write(b'p', 1);
    to.send(7).unwrap();
    assert_eq!((reader.join().unwrap(), blocked.join().unwrap(), receiver.join().unwrap()), ((1, b'n'), b'p', 7));
    stop.store(true, SeqCst);
    computing.join().unwrap();
    ticker.join().unwrap();
}

#[test]
fn a_stop_is_no_dead_lock() {
    for procs in [1, 2] {
        let outcome = Rerun::scenario(SCENARIO, "stopped").env("GORT_PROCS", procs).run();
        assert_eq!(outcome.success().stderr, "", "{outcome:?}");
    }
}

#[test]
fn many_stops_in_storms() {
    const NAME: &str = "many_stops_in_storms";
    let Some(role) = role() else {
        for (i, storm) in storms::ALL.iter().enumerate() {
            let outcome = Rerun::of(NAME, storm).env("GORT_PROCS", i % 2 + 1).run();
            assert_eq!(outcome.success().stderr, "", "{outcome:?}");
        }
        return;
    };
    storms::begin(&role);
    // Waits that the kernel ends when a process goes on, as its manual says, and that libc does not begin again.
    let (one, mut other) = UnixStream::pair().unwrap();
    let polling = thread::spawn(move || {
        assert_eq!(poll(&mut [ask(&one, libc::POLLIN)], -1), 1);
    });
    shell("for i in 1 2 3 4 5 6 7 8 9 10; do for k in 1 2 3 4 5; do kill -STOP $PPID; kill -CONT $PPID; done; sleep 0.02; done");
    storms::goes_on();
    other.write_all(b"x").unwrap();
    polling.join().unwrap();
    println!("1 passed"); // for the harness, to which a storm does not let us return
    std::process::exit(0);
}
