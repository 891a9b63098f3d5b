//! Goroutines and kernel threads: what is locked, what is inherited, who is counted. After Go's tests of `LockOSThread` and of
//! its metrics.

use gort::ffi::{self, lock_os_thread, unlock_os_thread};
use gort::thread;
use gort_tests::cthreads::{eventually, through_c, tid, CThread};
use gort_tests::kinds::with_one_p_and_two;
use gort_tests::needs_goroutines;
use gort_tests::raw::Pipe;
use gort_tests::rows::{local, set_local};
use gort_tests::subprocess::{alone, role, Rerun};
use std::collections::HashSet;
use std::ffi::CStr;
use std::panic::{catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{mpsc, Arc, Barrier};
use std::time::Duration;

/// The kernel thread's working directory, as the kernel says.
fn directory() -> String {
    let mut path = [0u8; 4096];
    // SAFETY: the buffer is as long as said, and the kernel ends the text with a zero.
    unsafe {
        assert!(libc::syscall(libc::SYS_getcwd, path.as_mut_ptr(), path.len()) > 0);
        CStr::from_ptr(path.as_ptr().cast()).to_string_lossy().into_owned()
    }
}

/// Whether the kernel thread has SIGUSR2 blocked; blocks it.
fn block_signal() -> bool {
    // SAFETY: both sets are ours, and the first is initialised before it is used.
    unsafe {
        let (mut set, mut before) = std::mem::zeroed::<(libc::sigset_t, libc::sigset_t)>();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGUSR2);
        assert_eq!(libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, &raw mut before), 0);
        libc::sigismember(&raw const before, libc::SIGUSR2) == 1
    }
}

/// Whether the kernel thread has SIGUSR2 blocked.
fn is_signal_blocked() -> bool {
    // SAFETY: null changes nothing, and the set is ours to write.
    unsafe {
        let mut set = std::mem::zeroed();
        assert_eq!(libc::pthread_sigmask(libc::SIG_BLOCK, std::ptr::null(), &raw mut set), 0);
        libc::sigismember(&raw const set, libc::SIGUSR2) == 1
    }
}

/// A goroutine gives its kernel thread a working directory and a mask of signals of its own. The threads that are needed because
/// it keeps that one, or ends on it, have neither.
///
/// Row P-03, X-25.
#[test]
fn new_threads_inherit_nothing_from_a_locked_goroutine() {
    needs_goroutines!("a thread inherits from the one that spawns it");
    if !with_one_p_and_two("new_threads_inherit_nothing_from_a_locked_goroutine") {
        return;
    }
    let home = directory();
    assert_ne!(home, "/proc");
    let home = &home;
    let clean = || {
        assert_eq!(directory(), *home);
        assert!(!is_signal_blocked());
        tid()
    };
    for unlocks in [true, false].repeat(5) {
        let threads = thread::scope(|s| {
            let locked = s.spawn(|| {
                lock_os_thread();
                // SAFETY: no memory is involved; the path is a C string. What changes is this thread's own.
                unsafe {
                    assert_eq!(libc::unshare(libc::CLONE_FS), 0);
                    assert_eq!(libc::chdir(c"/proc".as_ptr()), 0);
                }
                assert!(!block_signal());
                // Each waits for the next in C, so each needs a kernel thread; the first of them while this one waits.
                let pipe = &Pipe::new();
                let inside = &AtomicUsize::new(0);
                let threads = thread::scope(|s| {
                    let all: Vec<_> = (0..8)
                        .map(|_| {
                            s.spawn(move || {
                                inside.fetch_add(1, SeqCst);
                                let seen = clean();
                                pipe.read();
                                seen
                            })
                        })
                        .collect();
                    eventually("all are in C", || {
                        thread::sleep(Duration::from_micros(100));
                        inside.load(SeqCst) == 8
                    });
                    pipe.write(b'x', 8);
                    all.into_iter().map(|g| g.join().unwrap()).collect::<HashSet<_>>()
                });
                assert_eq!(directory(), "/proc");
                assert!(is_signal_blocked() && !threads.contains(&tid()));
                if unlocks {
                    // SAFETY: as above; signals are as before.
                    unsafe {
                        let mut set = std::mem::zeroed();
                        libc::sigemptyset(&raw mut set);
                        assert_eq!(libc::pthread_sigmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut()), 0);
                        let home = std::ffi::CString::new(home.as_str()).unwrap();
                        assert_eq!(libc::chdir(home.as_ptr()), 0);
                    }
                    unlock_os_thread();
                }
                threads.len()
            });
            locked.join().unwrap()
        });
        assert!(threads > 1, "they had threads of their own");
        let after: Vec<_> = (0..20).map(|_| thread::scope(|s| s.spawn(clean).join().unwrap())).collect();
        assert_eq!(after.len(), 20);
    }
}

/// A variable of C's that each thread has is the goroutine's own: locked to a kernel thread, and also if not.
///
/// Row L-02.
#[test]
fn a_thread_local_variable_of_c_keeps_its_value() {
    let all: Vec<_> = (1..=20)
        .map(|n| {
            thread::spawn(move || {
                if n % 2 == 0 {
                    lock_os_thread();
                }
                assert_eq!(local(), 0);
                for i in 0..50 {
                    set_local(n * 1000 + i);
                    thread::yield_now();
                    through_c(|| ffi::callback(thread::yield_now));
                    assert_eq!(local(), n * 1000 + i);
                }
            })
        })
        .collect();
    all.into_iter().for_each(|g| g.join().unwrap());
    CThread::spawn(|| {
        set_local(5);
        assert_eq!(ffi::callback(local), 5);
        ffi::callback(|| set_local(6));
        assert_eq!(local(), 6);
    })
    .join();
}

/// A panic is caught on a C thread, on two locked goroutines on threads of their own, and on the first again.
///
/// Row R-01.
#[test]
fn panics_are_caught_on_locked_threads() {
    fn caught(n: u32) -> u32 {
        let result = catch_unwind(|| through_c(|| ffi::callback(|| resume_unwind(Box::new(n)))));
        let result: Result<(), _> = result;
        *result.unwrap_err().downcast_ref().unwrap()
    }
    let lines = CThread::spawn(|| {
        let mut lines = vec![caught(1)];
        for n in [2, 3] {
            let locked = thread::spawn(move || {
                lock_os_thread();
                let home = tid();
                let line = caught(n);
                assert_eq!(tid(), home);
                line
            });
            lines.push(locked.join().unwrap());
        }
        lines.push(caught(4));
        lines
    });
    assert_eq!(lines.join(), [1, 2, 3, 4]);
}

/// 128 goroutines, one after the other, lock their threads and block, while another panics and recovers all the time; after
/// each pair somebody answers.
///
/// Row R-02.
#[test]
fn locked_goroutines_that_block_hold_up_nobody() {
    const NAME: &str = "locked_goroutines_that_block_hold_up_nobody";
    if role().is_none() {
        for procs in [1, 2, 100] {
            Rerun::of(NAME, "child").inherit("GORT_CHAOS").env("GORT_PROCS", procs).run().success();
        }
        return;
    }
    let (ping, pings) = mpsc::channel::<u32>();
    let (pong, pongs) = mpsc::channel();
    let answers = thread::spawn(move || pings.iter().for_each(|n| pong.send(n).unwrap()));
    let (stop, stopped) = mpsc::channel::<()>();
    let panics = thread::spawn(move || {
        let mut panics = 0;
        while stopped.try_recv() == Err(mpsc::TryRecvError::Empty) {
            assert!(catch_unwind(|| resume_unwind(Box::new(()))).is_err());
            panics += 1;
            thread::yield_now();
        }
        panics
    });
    let end = Arc::new(Barrier::new(129));
    let mut locked = Vec::new();
    for n in 0..64 {
        for _ in 0..2 {
            let end = end.clone();
            locked.push(thread::spawn(move || {
                lock_os_thread();
                let home = tid();
                end.wait();
                assert_eq!(tid(), home);
                home
            }));
        }
        ping.send(n).unwrap();
        assert_eq!(pongs.recv(), Ok(n));
    }
    end.wait();
    let homes: HashSet<_> = locked.into_iter().map(|g| g.join().unwrap()).collect();
    assert_eq!(homes.len(), 128, "a kernel thread for each");
    stop.send(()).unwrap();
    assert!(panics.join().unwrap() > 0);
    drop(ping);
    answers.join().unwrap();
}

/// The first goroutine of a runtime locks its thread, and makes others from there, while others are made from outside.
///
/// Row P-04.
#[test]
fn the_first_goroutine_is_locked() {
    const LIVES: usize = 100;
    alone("the_first_goroutine_is_locked", || {
        for life in 0..LIVES {
            gort::Config::new().procs(1 + life % 3).start().unwrap();
            let first = thread::spawn(|| {
                lock_os_thread();
                let home = tid();
                let all: Vec<_> = (0..8).map(|_| thread::spawn(|| thread::spawn(tid).join().unwrap())).collect();
                let elsewhere = all.into_iter().all(|g| g.join().unwrap() != home);
                assert_eq!(tid(), home);
                elsewhere
            });
            let others: Vec<_> = (0..4u64).map(|n| CThread::spawn(move || thread::spawn(move || n).join())).collect();
            assert_eq!(others.into_iter().map(|t| t.join().unwrap()).sum::<u64>(), 6);
            assert!(first.join().unwrap(), "nobody else runs on a locked thread");
            gort::shutdown(Duration::from_secs(50)).unwrap();
        }
    });
}

/// Ten goroutines in C, ten C threads that have called in and are in C again, ten that are inside: the counts tell them apart.
///
/// Row M-01, M-02, M-03.
#[test]
fn counts_tell_who_is_inside() {
    alone("counts_tell_who_is_inside", || {
        let pipe = Arc::new(Pipe::new());
        let inside = Arc::new(AtomicUsize::new(0));
        let in_c: Vec<_> = (0..10)
            .map(|_| {
                let (pipe, inside) = (pipe.clone(), inside.clone());
                thread::spawn(move || {
                    inside.fetch_add(1, SeqCst);
                    ffi::blocking(|| pipe.read())
                })
            })
            .collect();
        let returns: Vec<_> = (0..20)
            .map(|n| {
                let (pipe, inside) = (pipe.clone(), inside.clone());
                CThread::spawn(move || {
                    (0..2).for_each(|_| ffi::callback(|| ()));
                    inside.fetch_add(1, SeqCst);
                    match n % 2 {
                        0 => ffi::callback(|| pipe.read()),
                        _ => pipe.read(),
                    };
                })
            })
            .collect();
        let counts = || {
            let stats = gort::stats();
            (stats.goroutines, stats.extra_ms_in_use, stats.callbacks)
        };
        // The last step into a callback leaves no other trace.
        eventually("all are where they block", || inside.load(SeqCst) == 30 && counts() == (10, 20, 10));
        // Goroutines come and go meanwhile.
        for n in 0..50 {
            assert_eq!(thread::spawn(move || n).join().unwrap(), n);
            assert_eq!((counts().1, counts().2), (20, 10));
        }
        pipe.write(b'x', 30);
        in_c.into_iter().for_each(|g| _ = g.join().unwrap());
        returns.into_iter().for_each(CThread::join);
        eventually("nobody is left", || counts() == (0, 0, 0));
    });
}
