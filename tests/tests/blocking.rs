//! `ffi::blocking`: a declared call keeps stack and thread-local storage, gives its P to others, and nests with
//! callbacks.

use gort::ffi;
use gort_tests::cthreads::{block_then, through_c, tid, CThread};
use gort_tests::subprocess::{is_child, Rerun};
use std::cell::Cell;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::mpsc;

/// The two ends of a pipe: for reading, for writing.
fn pipe() -> (OwnedFd, OwnedFd) {
    let mut ends = [0; 2];
    // SAFETY: the array has room for two; both are new and ours.
    unsafe {
        assert_eq!(libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC), 0);
        (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1]))
    }
}

/// Reads one byte with the system call itself, which no hook sees.
fn read(from: &OwnedFd) -> u8 {
    let mut byte = 0u8;
    // SAFETY: one byte, ours to write.
    let n = unsafe { libc::syscall(libc::SYS_read, from.as_raw_fd(), &raw mut byte, 1usize) };
    assert_eq!(n, 1);
    byte
}

fn write(to: &OwnedFd, byte: u8) {
    // SAFETY: one byte, readable.
    let n = unsafe { libc::syscall(libc::SYS_write, to.as_raw_fd(), &raw const byte, 1usize) };
    assert_eq!(n, 1);
}

#[test]
fn it_is_a_call() {
    thread_local!(static N: Cell<i32> = const { Cell::new(0) });
    let body = || {
        N.set(5);
        let local = 7;
        let sum = ffi::blocking(|| {
            N.set(N.get() + 1);
            N.get() + local
        });
        (sum, N.get())
    };
    assert_eq!(body(), (13, 6), "on a plain thread");
    assert_eq!(CThread::spawn(move || ffi::callback(body)).join(), (13, 6), "in a callback");
    assert_eq!(gort::thread::spawn(body).join().unwrap(), (13, 6), "on a goroutine");
}

/// With one P: goroutines in calls that block until other goroutines have run.
fn others_run(declared: bool) {
    let goroutines: Vec<_> = (0..4u8)
        .flat_map(|n| {
            let (from, to) = pipe();
            let reader = gort::thread::spawn(move || {
                let call = || through_c(|| read(&from));
                (0..20).map(|_| if declared { ffi::blocking(call) } else { call() }).all(|byte| byte == n)
            });
            let writer = gort::thread::spawn(move || {
                for _ in 0..20 {
                    gort::thread::yield_now();
                    write(&to, n);
                }
                true
            });
            [reader, writer]
        })
        .collect();
    assert!(goroutines.into_iter().all(|g| g.join().unwrap()));
}

#[test]
fn others_run_meanwhile() {
    if is_child() {
        return others_run(true);
    }
    Rerun::of("others_run_meanwhile", "child").inherit_all().env("GORT_PROCS", 1).run().success();
}

#[test]
fn others_run_meanwhile_undeclared_too() {
    if is_child() {
        return others_run(false);
    }
    Rerun::of("others_run_meanwhile_undeclared_too", "child").inherit_all().env("GORT_PROCS", 1).run().success();
}

/// Row C-08.
#[test]
fn a_callback_in_a_blocking_call_may_park() {
    let (to, from) = mpsc::channel();
    let (back, answers) = mpsc::channel();
    let server = gort::thread::spawn(move || from.into_iter().for_each(|n: u32| back.send(n + 1).unwrap()));
    let client = gort::thread::spawn(move || {
        for n in 0..100 {
            let got = ffi::blocking(|| {
                block_then(u32::from(n % 10 == 0) * 200, || {
                    ffi::callback(|| {
                        to.send(n).unwrap();
                        ffi::blocking(|| answers.recv().unwrap())
                    })
                })
            });
            assert_eq!(got, n + 1);
        }
    });
    client.join().unwrap();
    server.join().unwrap();
}

#[test]
fn a_panic_ends_the_call() {
    let goroutine = gort::thread::spawn(|| {
        for n in 0..100u32 {
            let caught = catch_unwind(AssertUnwindSafe(|| {
                ffi::blocking(|| ffi::blocking(|| block_then(n % 3 * 50, || std::panic::panic_any(n))))
            }));
            let caught: Result<(), _> = caught;
            assert_eq!(caught.unwrap_err().downcast_ref(), Some(&n));
            gort::thread::yield_now();
        }
    });
    goroutine.join().unwrap();
}

#[test]
fn in_callbacks_of_many_c_threads() {
    let threads: Vec<_> = (0..8u64)
        .map(|n| {
            CThread::spawn(move || {
                let one = |i| ffi::callback(|| ffi::blocking(|| gort::thread::spawn(move || n * i).join().unwrap()));
                (0..50).map(one).sum::<u64>()
            })
        })
        .collect();
    let sum: u64 = threads.into_iter().map(CThread::join).sum();
    assert_eq!(sum, 28 * 1225);
}

#[test]
fn a_locked_goroutine_stays_where_it_is() {
    let goroutine = gort::thread::spawn(|| {
        ffi::lock_os_thread();
        let home = tid();
        for _ in 0..20 {
            assert_eq!(ffi::blocking(|| block_then(100, tid)), home);
            assert_eq!(tid(), home);
        }
    });
    goroutine.join().unwrap();
}
