//! exit, abort, fork and exec, from wherever code runs, while the process is full of goroutines that spawn, of C threads that
//! call in, of timers and of sockets.

use gort::{ffi, thread};
use gort_tests::cthreads::{at_exit, eventually, CThread};
use gort_tests::needs_goroutines;
use gort_tests::storms;
use gort_tests::subprocess::{role, Outcome, Rerun};
use std::ffi::CStr;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Barrier, Mutex};
use std::time::Duration;

/// Who does it.
const WHO: [&str; 4] = ["a thread", "a goroutine", "a locked goroutine", "a callback"];

/// Runs `f` as `who`, and waits.
fn on(who: &str, f: impl FnOnce() + Send + 'static) {
    match who {
        "a thread" => f(),
        "a goroutine" => thread::spawn(f).join().unwrap(),
        "a locked goroutine" => thread::spawn(|| {
            ffi::lock_os_thread();
            f();
            ffi::unlock_os_thread();
        })
        .join()
        .unwrap(),
        "a callback" => CThread::spawn(|| ffi::callback(f)).join(),
        other => panic!("who is {other:?}"),
    }
}

/// Runs the test of that name as a child for each storm and for each of `WHO`, with one P and with two by turns, and shows
/// `check` how it ended. In the child: begins the storm, and gives who is to act.
fn in_storms(name: &str, check: impl Fn(&Outcome)) -> Option<String> {
    let Some(role) = role() else {
        for (i, storm) in storms::ALL.iter().enumerate() {
            for (k, who) in WHO.iter().enumerate() {
                let rerun = Rerun::of(name, &format!("{storm}, {who}")).env("GORT_PROCS", (i + k) % 2 + 1);
                check(&rerun.inherit("GORT_CHAOS").run());
            }
        }
        return None;
    };
    let (storm, who) = role.split_once(", ").unwrap();
    storms::begin(storm);
    Some(who.into())
}

/// Row X-11.
#[test]
fn exit_in_a_storm() {
    let exits = |outcome: &Outcome| {
        assert_eq!(outcome.status.code(), Some(7), "{outcome:?}");
        assert_eq!(outcome.stderr, "the process says goodbye\n", "{outcome:?}");
    };
    let Some(who) = in_storms("exit_in_a_storm", exits) else { return };
    /// What the process does at its end: the storm goes on meanwhile, and calls in.
    extern "C" fn goodbye() {
        storms::goes_on();
        eprintln!("the process says goodbye");
    }
    at_exit(goodbye);
    on(&who, || std::process::exit(7));
}

#[test]
fn many_exit_at_once() {
    let exits = |outcome: &Outcome| {
        assert_eq!(outcome.status.code(), Some(7), "{outcome:?}");
        assert_eq!(outcome.stderr, "", "{outcome:?}");
    };
    let Some(who) = in_storms("many_exit_at_once", exits) else { return };
    let start = Arc::new(Barrier::new(8));
    let all: Vec<_> = (0..8)
        .map(|_| {
            let (start, who) = (start.clone(), who.clone());
            std::thread::spawn(move || {
                on(&who, move || {
                    start.wait();
                    std::process::exit(7)
                })
            })
        })
        .collect();
    all.into_iter().for_each(|t| t.join().unwrap());
}

/// Row X-11. While threads are made that call in for the first time, by C and by the runtime.
#[test]
fn exit_a_hundred_times_while_threads_call_in() {
    const NAME: &str = "exit_a_hundred_times_while_threads_call_in";
    const ROUNDS: usize = 100;
    let Some(round) = role() else {
        for round in 0..ROUNDS {
            let outcome =
                Rerun::of(NAME, &round.to_string()).env("GORT_PROCS", round % 2 + 1).inherit("GORT_CHAOS").run();
            assert_eq!(outcome.status.code(), Some(7), "{outcome:?}");
            assert_eq!(outcome.stderr, "", "{outcome:?}");
        }
        return;
    };
    static CALLS: AtomicUsize = AtomicUsize::new(0);
    for i in 0..3 {
        drop(std::thread::spawn(move || loop {
            CThread::spawn(move || {
                ffi::callback(|| CALLS.fetch_add(1, SeqCst));
                if i == 0 {
                    // A goroutine that sits in a call, so that its P needs another kernel thread.
                    ffi::callback(|| {
                        drop(thread::spawn(|| ffi::blocking(|| std::thread::sleep(Duration::from_micros(200)))))
                    });
                }
            })
            .join();
        }));
    }
    let round: usize = round.parse().unwrap();
    eventually("they call in", || CALLS.load(SeqCst) > round);
    on(WHO[round % WHO.len()], || std::process::exit(7));
}

#[test]
fn abort_in_a_storm() {
    let aborts = |outcome: &Outcome| {
        outcome.died_of(libc::SIGABRT);
        assert_eq!(outcome.stderr, "", "{outcome:?}");
    };
    let Some(who) = in_storms("abort_in_a_storm", aborts) else { return };
    on(&who, || std::process::abort());
}

/// Forks, runs `child` in the child, and returns its exit code.
fn fork(child: fn() -> i32) -> i32 {
    // SAFETY: the child does what `plain_things` says, and nothing that needs a lock of the parent's.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        let code = child();
        // SAFETY: ends the child without running the test harness in it.
        unsafe { libc::_exit(code) };
    }
    assert!(pid > 0);
    let mut status = 0;
    // SAFETY: the child is ours; the status is written to a live integer.
    assert_eq!(unsafe { libc::waitpid(pid, &mut status, 0) }, pid);
    assert!(libc::WIFEXITED(status), "the child died of signal {}", libc::WTERMSIG(status));
    libc::WEXITSTATUS(status)
}

/// Memory, locks, time and a thread of the child's own; goroutines are refused.
fn plain_things() -> i32 {
    let lock = Arc::new(Mutex::new(vec![0u8; 100_000]));
    std::thread::sleep(Duration::from_millis(1));
    thread::sleep(Duration::from_millis(1));
    thread::yield_now();
    let theirs = lock.clone();
    std::thread::spawn(move || theirs.lock().unwrap().push(1)).join().unwrap();
    let refused = thread::Builder::new().spawn(|| ()).is_err_and(|e| e.to_string().contains("fork"));
    let called = ffi::callback(|| lock.lock().unwrap().len());
    if refused && called == 100_001 {
        42
    } else {
        98
    }
}

fn exec() -> i32 {
    let sh: &CStr = c"/bin/sh";
    let args = [sh.as_ptr(), c"-c".as_ptr(), c"exit 44".as_ptr(), std::ptr::null()];
    // SAFETY: C strings and an array that ends in null.
    unsafe { libc::execv(sh.as_ptr(), args.as_ptr()) };
    96
}

#[test]
fn fork_in_a_storm() {
    needs_goroutines!("a fork may find a lock of std's held that threads take as they begin");
    let Some(who) = in_storms("fork_in_a_storm", |outcome| _ = outcome.success()) else { return };
    let forks = Arc::new(AtomicUsize::new(0));
    for _ in 0..10 {
        let forks = forks.clone();
        on(&who, move || {
            assert_eq!(fork(plain_things), 42);
            assert_eq!(fork(exec), 44);
            forks.fetch_add(1, SeqCst);
        });
    }
    assert_eq!(forks.load(SeqCst), 10);
    storms::goes_on(); // the parent's
    std::process::exit(pass());
}

#[test]
fn exec_in_a_storm() {
    let replaced = |outcome: &Outcome| assert_eq!(outcome.status.code(), Some(44), "{outcome:?}");
    let Some(who) = in_storms("exec_in_a_storm", replaced) else { return };
    on(&who, || _ = exec());
}

/// A child that has passed, and cannot return to the harness, since its storm does not end: says so as the harness would.
fn pass() -> i32 {
    println!("1 passed");
    0
}

/// Row X-11.
#[test]
fn c_threads_call_in_until_the_very_end() {
    const NAME: &str = "c_threads_call_in_until_the_very_end";
    if role().is_none() {
        for chaos in ["", "3"] {
            let outcome = Rerun::of(NAME, "child").env("GORT_CHAOS", chaos).run();
            assert_eq!(outcome.status.code(), Some(7), "{outcome:?}");
            assert!(outcome.stderr.contains("1000 more callbacks\n"), "{outcome:?}");
        }
        return;
    }
    static CALLS: AtomicUsize = AtomicUsize::new(0);
    // After `exit` was called, when std has said that it is over and the first destructors have run.
    extern "C" fn late() {
        let before = CALLS.load(SeqCst);
        eventually("callbacks go on", || CALLS.load(SeqCst) > before + 1000);
        // Those that spawn, too, and the thread that exits.
        let n = ffi::callback(|| thread::spawn(|| 1000).join().unwrap());
        eprintln!("{n} more callbacks");
    }
    at_exit(late);
    for _ in 0..4 {
        drop(std::thread::spawn(|| loop {
            CThread::spawn(|| {
                for _ in 0..20 {
                    ffi::callback(|| CALLS.fetch_add(1, SeqCst));
                }
                ffi::callback(|| thread::spawn(|| ()).join().unwrap());
            })
            .join();
        }));
    }
    eventually("they call", || CALLS.load(SeqCst) > 100);
    thread::spawn(|| std::process::exit(7)).join().unwrap();
}
