//! The clock is set, by an hour, while goroutines wait: waits for a time to pass do not notice, and waits for a moment of the
//! realtime clock that begin afterwards go by the new time. And a machine that was switched on just now, or ten years ago.
//!
//! Nobody may set the clock of the machine that the tests run on. In this program `clock_gettime` is ours, which adds a
//! number that the tests choose to the realtime clock.

use gort::thread;
use gort_tests::cthreads;
use gort_tests::locks::{CCond, CMutex, CSem};
use gort_tests::needs_goroutines;
use gort_tests::raw::system_call;
use gort_tests::subprocess::{role, Rerun};
use libc::{c_int, clockid_t, timespec, ETIMEDOUT};
use std::process::Command;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering::SeqCst};
use std::sync::{mpsc, Arc, Barrier, Condvar, Mutex};
use std::time::{Duration, Instant, SystemTime};

const SCENARIO: &str = env!("CARGO_BIN_EXE_scenario");
const HOUR: i64 = 3600;

/// Seconds by which the realtime clock is wrong.
static WRONG_BY: AtomicI64 = AtomicI64::new(0);
/// How often it was read.
static READ: AtomicUsize = AtomicUsize::new(0);

/// In place of libc's, for all code of this program.
///
/// # Safety
/// As for libc's.
#[no_mangle]
unsafe extern "C" fn clock_gettime(clock: clockid_t, time: *mut timespec) -> c_int {
    // SAFETY: the caller's promise, passed on.
    if unsafe { system_call(libc::SYS_clock_gettime, [clock as usize, time as usize, 0]) } != 0 {
        return -1;
    }
    if clock == libc::CLOCK_REALTIME {
        // SAFETY: the kernel has just written it.
        unsafe { (*time).tv_sec += WRONG_BY.load(SeqCst) };
        READ.fetch_add(1, SeqCst);
    }
    0
}

/// That much later than now by the realtime clock.
fn moment(after: Duration) -> timespec {
    let at = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap() + after;
    timespec { tv_sec: at.as_secs() as i64, tv_nsec: i64::from(at.subsec_nanos()) }
}

const TIME: Duration = Duration::from_millis(400);

/// Waits for `TIME` in the `i`th of several ways.
fn wait(i: usize) {
    let (_to, from) = mpsc::channel::<()>();
    let (lock, c_lock) = (Mutex::new(()), CMutex::new());
    match i {
        0 => thread::sleep(TIME),
        1 => std::thread::sleep(TIME),
        2 => {
            let until = Instant::now() + TIME;
            while Instant::now() < until {
                thread::park_timeout(until.saturating_duration_since(Instant::now()));
            }
        }
        3 => assert_eq!(from.recv_timeout(TIME), Err(mpsc::RecvTimeoutError::Timeout)),
        4 => {
            let guard = lock.lock().unwrap();
            assert!(Condvar::new().wait_timeout_while(guard, TIME, |_| true).unwrap().1.timed_out());
        }
        5 => {
            let until = Instant::now() + TIME;
            c_lock.with(|| {
                // A condition variable may wake for no reason, and does under chaos. What is left is then of the present time.
                let condition = CCond::new();
                let wait = || condition.timed_wait(&c_lock, moment(until.saturating_duration_since(Instant::now())));
                let end = std::iter::repeat_with(wait).find(|end| *end != 0);
                assert_eq!(end, Some(ETIMEDOUT));
            });
        }
        6 => {
            let at = moment(TIME);
            assert_eq!(CSem::new(0).timed_wait(at), ETIMEDOUT);
        }
        _ => {
            let at = moment(TIME);
            c_lock.with(|| {
                thread::scope(|s| _ = s.spawn(|| assert_eq!(c_lock.timed_lock(at), ETIMEDOUT)));
            });
        }
    }
}
const WAYS: usize = 8;
/// Those from here on wait until a moment of the realtime clock.
const MOMENTS: usize = 5;

#[test]
fn waits_take_their_time_whatever_the_clock_says() {
    needs_goroutines!("threads wait by the kernel's own clock");
    const NAME: &str = "waits_take_their_time_whatever_the_clock_says";
    if role().is_none() {
        for procs in [1, 2] {
            Rerun::of(NAME, "child").env("GORT_PROCS", procs).inherit("GORT_CHAOS").run().success();
        }
        return;
    }
    let before = SystemTime::now();
    WRONG_BY.store(HOUR, SeqCst);
    assert!(before.elapsed().unwrap() > Duration::from_secs(HOUR as u64 - 1), "the clock is ours to set");
    WRONG_BY.store(0, SeqCst);
    for jump in [HOUR, -HOUR] {
        for i in 0..WAYS {
            READ.store(0, SeqCst);
            let start = Instant::now();
            let g = thread::spawn(move || wait(i));
            if i >= MOMENTS {
                // Once to choose the moment, and once to find out how far away it is: the wait has begun.
                cthreads::eventually("the clock is read", || READ.load(SeqCst) >= 2);
            }
            WRONG_BY.store(jump, SeqCst);
            g.join().unwrap();
            assert!(start.elapsed() >= TIME, "way {i}");
            // One that begins now goes by the new time.
            let start = Instant::now();
            thread::spawn(move || wait(i)).join().unwrap();
            assert!(start.elapsed() >= TIME, "way {i}");
            WRONG_BY.store(0, SeqCst);
        }
    }
}

#[test]
fn a_moment_that_a_jump_has_passed_is_past() {
    needs_goroutines!("threads wait by the kernel's own clock");
    const NAME: &str = "a_moment_that_a_jump_has_passed_is_past";
    if role().is_none() {
        Rerun::of(NAME, "child").run().success();
        return;
    }
    thread::scope(|s| {
        s.spawn(|| {
            let at = moment(Duration::from_secs(60));
            WRONG_BY.store(HOUR, SeqCst);
            let lock = CMutex::new();
            assert_eq!(CSem::new(0).timed_wait(at), ETIMEDOUT);
            lock.with(|| assert_eq!(CCond::new().timed_wait(&lock, at), ETIMEDOUT));
        });
    });
}

#[test]
fn the_clock_is_set_all_the_time() {
    const NAME: &str = "the_clock_is_set_all_the_time";
    if role().is_none() {
        Rerun::of(NAME, "child").inherit("GORT_CHAOS").run().success();
        return;
    }
    let start = Arc::new(Barrier::new(201));
    let all: Vec<_> = (0..200)
        .map(|i| {
            let start = start.clone();
            thread::spawn(move || {
                start.wait();
                wait(i % MOMENTS);
            })
        })
        .collect();
    start.wait();
    let mut jumps = 0i64;
    while all.iter().any(|g| !g.is_finished()) {
        jumps += 1;
        WRONG_BY.store((jumps * 7919) % (2 * HOUR) - HOUR, SeqCst);
        thread::yield_now();
    }
    all.into_iter().for_each(|g| g.join().unwrap());
}

#[test]
fn machines_that_have_run_for_any_time() {
    let up: f64 = std::fs::read_to_string("/proc/uptime").unwrap().split(' ').next().unwrap().parse().unwrap();
    // The monotonic clock begins at about 0, or in ten years.
    for offset in [-(up as i64), 10 * 365 * 24 * HOUR] {
        // SAFETY: no preconditions.
        let flags: &[&str] = if unsafe { libc::geteuid() } == 0 { &["-T"] } else { &["-T", "-r"] };
        let in_world = |program: &str, argument: &str| {
            let mut command = Command::new("unshare");
            command.args(flags).arg("--monotonic").arg(offset.to_string()).args([program, argument]);
            command
        };
        if !in_world("true", "").output().is_ok_and(|output| output.status.success()) {
            eprintln!("not run, since no time namespaces can be made here");
            return;
        }
        for procs in [1, 2] {
            let outcome = Rerun::with(in_world(SCENARIO, "mini_suite")).env("GORT_PROCS", procs).run();
            assert!(outcome.success().stdout.contains("mini suite passed"), "{outcome:?}");
            let outcome = Rerun::with(in_world(SCENARIO, "waiting_for_a_timer")).env("GORT_PROCS", procs).run();
            outcome.success().does_not_say("deadlock");
        }
    }
}
