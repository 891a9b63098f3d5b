//! What concerns the whole process: credentials, exec, children; from goroutines, from threads that call in, and amid signals.

use gort::{ffi, thread};
use gort_tests::cthreads::{through_c, CThread};
use gort_tests::handlers::{counts, handled, install};
use gort_tests::rows::words_kept_over;
use gort_tests::subprocess::{alone, role, Rerun};
use std::fs;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Barrier};

static STOP: AtomicBool = AtomicBool::new(false);

/// Our group, by libc's function that tells all threads by a signal of its own.
fn set_group() {
    // SAFETY: no memory is involved.
    unsafe { assert_eq!(libc::setgid(libc::getgid()), 0) };
}

/// Frames of C on goroutines' stacks hold a pattern while libc's signals reach their kernel threads again and again; goroutines
/// set the group themselves as well.
///
/// Row C-29, C-35.
#[test]
fn stacks_are_whole_while_groups_are_set() {
    alone("stacks_are_whole_while_groups_are_set", || {
        let goroutines: Vec<_> = (0..20)
            .map(|n| {
                thread::spawn(move || {
                    let words = words_kept_over(|| {
                        while !STOP.load(SeqCst) {
                            through_c(|| ffi::callback(thread::yield_now));
                            if n % 4 == 0 {
                                set_group();
                            }
                        }
                    });
                    assert_eq!(words, 1024);
                })
            })
            .collect();
        let setters: Vec<_> = (0..2).map(|_| CThread::spawn(|| (0..100).for_each(|_| set_group()))).collect();
        setters.into_iter().for_each(CThread::join);
        CThread::spawn(|| ffi::callback(|| (0..100).for_each(|_| set_group()))).join();
        STOP.store(true, SeqCst);
        goroutines.into_iter().for_each(|g| g.join().unwrap());
    });
}

/// Each of fifty goroutines sets the group and then keeps its kernel thread, so that the next one needs a new one: libc's signal
/// meets threads that have just begun.
///
/// Row C-36.
#[test]
fn groups_are_set_while_threads_begin() {
    alone("groups_are_set_while_threads_begin", || {
        let end = Arc::new(Barrier::new(51));
        let goroutines: Vec<_> = (0..50)
            .map(|_| {
                let end = end.clone();
                thread::spawn(move || {
                    set_group();
                    ffi::lock_os_thread();
                    set_group();
                    end.wait();
                })
            })
            .collect();
        end.wait();
        goroutines.into_iter().for_each(|g| g.join().unwrap());
    });
}

/// What `/proc` says of each thread of this process, in the line with that name.
fn of_all_threads(line: &str) -> Vec<String> {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    // A thread may be gone meanwhile.
    let texts = tasks.filter_map(|task| fs::read_to_string(task.unwrap().path().join("status")).ok());
    texts.filter_map(|text| Some(text.lines().find_map(|l| l.strip_prefix(line))?.trim().replace('\t', " "))).collect()
}

/// Calls that change users and groups, on goroutines and in callbacks, hold for every thread: of the runtime, of C, locked, new.
/// (Where the process may not change them they are set to what they are.)
///
/// Row C-31.
#[test]
fn credentials_are_the_whole_processs() {
    alone("credentials_are_the_whole_processs", || {
        // SAFETY: no memory is involved.
        let root = unsafe { libc::geteuid() } == 0;
        // SAFETY: as above.
        let (uid, gid) = unsafe {
            if root {
                (65_534, 65_534)
            } else {
                (libc::getuid(), libc::getgid())
            }
        };
        let inside = Arc::new(Barrier::new(6));
        let (go_on, end) = (Arc::new(Barrier::new(6)), Arc::new(Barrier::new(6)));
        let stay = |locked: bool| {
            let (inside, go_on, end) = (inside.clone(), go_on.clone(), end.clone());
            move || {
                if locked {
                    ffi::lock_os_thread();
                }
                inside.wait();
                go_on.wait();
                end.wait();
            }
        };
        let goroutines: Vec<_> = (0..3).map(|_| thread::spawn(stay(true))).collect();
        let threads = [stay(false), stay(false)].map(|stay| CThread::spawn(|| ffi::callback(stay)));
        inside.wait();
        let agree = |line: &str, expected: String| {
            let all = of_all_threads(line);
            assert!(all.len() > 5 && all.iter().all(|text| *text == expected), "{line} {expected}: {all:?}");
        };
        // SAFETY: no memory is involved.
        let set_groups = move || unsafe {
            assert_eq!(libc::setregid(gid, gid), 0);
            assert_eq!(libc::setresgid(gid, gid, gid), 0);
            assert_eq!(libc::setegid(gid), 0);
            assert_eq!(libc::setgid(gid), 0);
        };
        thread::spawn(set_groups).join().unwrap();
        agree("Gid:", format!("{gid} {gid} {gid} {gid}"));
        CThread::spawn(move || {
            // SAFETY: as above.
            ffi::callback(|| unsafe {
                assert_eq!(libc::setreuid(uid, uid), 0);
                assert_eq!(libc::setresuid(uid, uid, uid), 0);
                assert_eq!(libc::seteuid(uid), 0);
                assert_eq!(libc::setuid(uid), 0);
            });
        })
        .join();
        // New ones too.
        assert!(thread::spawn(|| thread::spawn(|| true).join().unwrap()).join().unwrap());
        agree("Uid:", format!("{uid} {uid} {uid} {uid}"));
        go_on.wait();
        end.wait();
        goroutines.into_iter().for_each(|g| g.join().unwrap());
        threads.into_iter().for_each(CThread::join);
    });
}

/// Sends a signal to this process until the end of the test.
fn shoot(signal: i32) -> CThread<()> {
    CThread::spawn(move || {
        while !STOP.load(SeqCst) {
            // SAFETY: no memory is involved; there is a handler.
            unsafe { libc::kill(libc::getpid(), signal) };
            std::thread::yield_now();
        }
    })
}

/// Row R-12.
#[test]
fn children_begin_with_no_signal_blocked() {
    alone("children_begin_with_no_signal_blocked", || {
        install(libc::SIGTERM, counts, 0);
        let shooter = shoot(libc::SIGTERM);
        let goroutines: Vec<_> = (0..5)
            .map(|_| {
                thread::spawn(|| {
                    for _ in 0..5 {
                        let output = Command::new("grep").args(["SigBlk", "/proc/self/status"]).output().unwrap();
                        let text = String::from_utf8(output.stdout).unwrap();
                        assert_eq!(text.trim(), "SigBlk:\t0000000000000000");
                    }
                })
            })
            .collect();
        goroutines.into_iter().for_each(|g| g.join().unwrap());
        STOP.store(true, SeqCst);
        shooter.join();
        assert!(handled() > 0);
    });
}

/// A process becomes another while goroutines compute, threads are about to begin, and signals come.
///
/// Row U-05, C-30.
#[test]
fn exec_while_threads_begin() {
    const NAME: &str = "exec_while_threads_begin";
    if role().is_none() {
        for round in 0..20 {
            let outcome = Rerun::of(NAME, "child").inherit("GORT_CHAOS").env("GORT_PROCS", 1 + round % 4).run();
            assert_eq!(outcome.status.code(), Some(44), "{outcome:?}");
        }
        return;
    }
    install(libc::SIGWINCH, counts, 0);
    drop(shoot(libc::SIGWINCH));
    static BEGUN: AtomicUsize = AtomicUsize::new(0);
    for _ in 0..4 {
        drop(thread::spawn(|| {
            BEGUN.fetch_add(1, SeqCst);
            loop {
                std::hint::spin_loop();
            }
        }));
    }
    while BEGUN.load(SeqCst) == 0 {
        std::thread::yield_now();
    }
    gort::set_procs(gort::stats().procs + 4).unwrap();
    let args = [c"/bin/sh".as_ptr(), c"-c".as_ptr(), c"exit 44".as_ptr(), std::ptr::null()];
    // SAFETY: C strings, and an array of them that ends in null.
    unsafe { libc::execv(args[0], args.as_ptr()) };
    panic!("exec: {}", std::io::Error::last_os_error());
}
