//! Signals that come by the timer or from libc to every thread, while everything runs.

use gort::{ffi, thread};
use gort_tests::cthreads::{crowd, through_c, CThread};
use gort_tests::kinds::with_one_p_and_two;
use gort_tests::signals::{count, handle, handled};
use gort_tests::storms;
use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

thread_local! {
    /// What [`profile`] adds to: the interrupted goroutine's own, or thread's.
    static SAMPLES: Cell<usize> = const { Cell::new(0) };
}

static INSIDE_GOROUTINES: AtomicUsize = AtomicUsize::new(0);
static STOP: AtomicBool = AtomicBool::new(false);

/// What a sampling profiler's handler does: uses some stack (not much: that of std's threads for signals is 8 KiB), and looks
/// at thread-local storage.
extern "C" fn profile(_: c_int) {
    handled(|| {
        let block = std::hint::black_box([1u8; 512]);
        SAMPLES.set(SAMPLES.get() + usize::from(block[count() % 512]));
    });
}

/// Has the kernel send SIGPROF after each millisecond of processor time, or as often as its clock ticks; 0: stops it.
fn profile_each(us: i64) {
    let time = libc::timeval { tv_sec: 0, tv_usec: us };
    let timer = libc::itimerval { it_interval: time, it_value: time };
    // SAFETY: the record is valid.
    assert_eq!(unsafe { libc::setitimer(libc::ITIMER_PROF, &raw const timer, std::ptr::null_mut()) }, 0);
}

#[gort::callback(on_panic = -1)]
extern "C" fn nested(depth: *mut c_void, i: u64) -> i64 {
    // A callback that calls C, which calls back, and that blocks in the middle.
    let value = through_c(|| ffi::callback(|| thread::spawn(move || i as i64).join().unwrap()));
    assert!(depth.is_null() || value == i as i64);
    value
}

fn samples_while(work: fn()) {
    handle(libc::SIGPROF, libc::SA_RESTART | libc::SA_ONSTACK, profile);
    profile_each(1000);
    let busy: Vec<_> = (0..4u64)
        .map(|seed| {
            thread::spawn(move || {
                let mut n = 0u64;
                while !STOP.load(SeqCst) {
                    n += 1;
                    let sum = (0..5000u64).fold(seed, |sum, x| std::hint::black_box(sum + x));
                    assert_eq!(sum, seed + 12_497_500);
                    INSIDE_GOROUTINES.fetch_add(SAMPLES.take(), SeqCst);
                    if n % 8 == seed {
                        thread::yield_now();
                    }
                }
            })
        })
        .collect();
    // Samples are taken in goroutines too, with their own storage.
    while count() < 100 || INSIDE_GOROUTINES.load(SeqCst) == 0 {
        work();
    }
    STOP.store(true, SeqCst);
    busy.into_iter().for_each(|g| g.join().unwrap());
    profile_each(0);
}

/// Row. Profiling signals while goroutines compute and C threads call in, nested, and block.
#[test]
fn profiling_while_callbacks_nest() {
    if with_one_p_and_two("profiling_while_callbacks_nest") {
        samples_while(|| assert_eq!(crowd(4, nested, &(), 50), 4 * 1225));
    }
}

/// Row X-27. The same while goroutines and threads come and go, sleep, and talk to each other.
#[test]
fn profiling_while_everything_storms() {
    if with_one_p_and_two("profiling_while_everything_storms") {
        storms::ALL.iter().for_each(|storm| storms::begin(storm));
        samples_while(storms::goes_on);
    }
}

/// Row X-26, C-29. `setgid` and its kin, which signal every thread of the process and wait for each, finish while goroutines run,
/// wait and block in C, from a plain thread, from a C thread, in a callback and from a goroutine.
#[test]
fn changes_of_credentials_finish() {
    if !with_one_p_and_two("changes_of_credentials_finish") {
        return;
    }
    fn change() {
        for _ in 0..20 {
            // SAFETY: to what they are.
            unsafe {
                assert_eq!(libc::setgid(libc::getgid()), 0);
                assert_eq!(libc::setuid(libc::getuid()), 0);
            }
        }
    }
    storms::begin("spawns");
    storms::begin("callbacks");
    let spinner = thread::spawn(|| {
        // What the goroutine's stack holds is none of the signal's business.
        let room = std::hint::black_box([5u64; 1024]);
        while !STOP.load(SeqCst) {
            assert!(std::hint::black_box(&room).iter().all(|&word| word == 5));
        }
    });
    let blocked = thread::spawn(|| {
        while !STOP.load(SeqCst) {
            ffi::blocking(|| gort_tests::raw::block_for(std::time::Duration::from_millis(1)));
        }
    });
    change();
    std::thread::spawn(change).join().unwrap();
    CThread::spawn(change).join();
    CThread::spawn(|| ffi::callback(change)).join();
    thread::spawn(change).join().unwrap();
    storms::goes_on();
    STOP.store(true, SeqCst);
    spinner.join().unwrap();
    blocked.join().unwrap();
}
