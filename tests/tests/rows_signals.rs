//! Signals of a host program: its handlers run on whatever thread and stack it chose, at any moment of a callback, and how it dies
//! is its own affair. After Go's tests of signals with cgo.

use gort::{ffi, thread};
use gort_tests::cthreads::{each, eventually, through_c, tid, CThread};
use gort_tests::handlers::{
    alternate_stack, counts, errno, handled, install, keeping_errno, listen, notes_where, put_back, raise, send,
    set_errno, Alternate,
};
use gort_tests::needs_goroutines;
use gort_tests::raw::block_for;
use gort_tests::rows::cancelled;
use gort_tests::subprocess::{alone, is_child, role, Rerun};
use std::ffi::c_void;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc;
use std::time::Duration;

/// Who does it.
const WHO: [&str; 6] = [
    "a thread that was never in",
    "a thread that is bound",
    "a callback",
    "a goroutine",
    "a declared call",
    "the system stack",
];

/// Runs `f` in C, as `who`, in a runtime that has been started.
fn on(who: &str, f: impl FnOnce() + Send + 'static) {
    thread::spawn(|| ()).join().unwrap();
    let f = || through_c(f);
    match who {
        "a thread that was never in" => CThread::spawn(f).join(),
        "a thread that is bound" => CThread::spawn(|| {
            ffi::callback(|| ());
            f();
        })
        .join(),
        "a callback" => CThread::spawn(|| ffi::callback(f)).join(),
        "a goroutine" => thread::spawn(f).join().unwrap(),
        "a declared call" => thread::spawn(|| ffi::blocking(f)).join().unwrap(),
        "the system stack" => thread::spawn(|| ffi::on_system_stack(f)).join().unwrap(),
        other => panic!("who is {other:?}"),
    }
}

/// A fault in C, below whatever, has no other name than in a program without us.
///
/// Row R-10, U-03, A-03.
#[test]
fn a_fault_in_c_is_fatal() {
    const NAME: &str = "a_fault_in_c_is_fatal";
    let Some(who) = role() else {
        for who in WHO {
            Rerun::of(NAME, who).inherit_all().run().died_of(libc::SIGSEGV).does_not_say("overflow");
        }
        return;
    };
    on(&who, || {
        // SAFETY: none; the process is meant to die.
        unsafe { std::hint::black_box(std::ptr::without_provenance_mut::<u64>(8)).write_volatile(1) };
    });
}

/// Row U-03, A-04.
#[test]
fn a_closed_pipe_ends_a_host_that_wants_it_so() {
    const NAME: &str = "a_closed_pipe_ends_a_host_that_wants_it_so";
    let Some(role) = role() else {
        for who in WHO {
            for what in ["pipe", "socket"] {
                Rerun::of(NAME, &format!("{what}, {who}")).inherit_all().run().died_of(libc::SIGPIPE);
            }
        }
        return;
    };
    let (what, who) = role.split_once(", ").unwrap();
    // SAFETY: the action of a program that was not begun by Rust's std.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    let write = |to: &dyn AsRawFd| {
        // SAFETY: one byte is read.
        unsafe { libc::write(to.as_raw_fd(), c"x".as_ptr().cast(), 1) };
    };
    if what == "pipe" {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        on(who, move || write(&writer));
    } else {
        let (near, far) = UnixStream::pair().unwrap();
        drop(far);
        on(who, move || write(&near));
    }
}

/// SIGSEGV that somebody sends, to the process or to the thread, while goroutines compute, in Rust or in C.
///
/// Row.
#[test]
fn a_fault_that_was_sent_is_fatal() {
    const NAME: &str = "a_fault_that_was_sent_is_fatal";
    let Some(role) = role() else {
        for who in WHO {
            for how in ["kill", "tgkill"] {
                let outcome = Rerun::of(NAME, &format!("{how}, {who}")).inherit_all().run();
                outcome.died_of(libc::SIGSEGV).does_not_say("overflow");
            }
        }
        return;
    };
    let (how, who) = role.split_once(", ").unwrap();
    for _ in 0..2 {
        drop(thread::spawn(|| loop {
            std::hint::spin_loop();
        }));
    }
    let process = how == "kill";
    on(who, move || {
        // Rust's own handler takes the first for a fault that will come again; and another thread may take its time to get it.
        loop {
            if process {
                // SAFETY: no memory is involved.
                unsafe { libc::kill(libc::getpid(), libc::SIGSEGV) };
            } else {
                raise(libc::SIGSEGV);
            }
            block_for(Duration::from_micros(200));
        }
    });
}

#[gort::callback(on_panic = abort)]
extern "C" fn panics(_arg: *mut c_void, _i: u64) -> i64 {
    panic!("on purpose")
}

/// Row.
#[test]
fn a_hosts_handler_of_abort_has_its_say() {
    const NAME: &str = "a_hosts_handler_of_abort_has_its_say";
    extern "C" fn ends(_: i32) {
        // SAFETY: `_exit` may be called in a handler.
        unsafe { libc::_exit(17) };
    }
    let Some(role) = role() else {
        for (i, who) in WHO.iter().enumerate() {
            let when = ["early", "late"][i % 2];
            for what in ["panic", "abort"] {
                let outcome = Rerun::of(NAME, &format!("{when}, {what}, {who}")).inherit_all().run();
                assert_eq!(outcome.status.code(), Some(17), "{outcome:?}");
                assert_eq!(outcome.stderr.contains("panic in"), what == "panic", "{outcome:?}");
                let outcome = Rerun::of(NAME, &format!("never, {what}, {who}")).inherit_all().run();
                outcome.died_of(libc::SIGABRT);
            }
        }
        return;
    };
    let [when, what, who] = role.split(", ").collect::<Vec<_>>()[..] else { panic!("{role}") };
    if when == "early" {
        install(libc::SIGABRT, ends, 0);
    }
    let (late, panic) = (when == "late", what == "panic");
    on(who, move || {
        if late {
            install(libc::SIGABRT, ends, 0);
        }
        if panic {
            each(panics, &(), 1);
        }
        // SAFETY: ends the process.
        unsafe { libc::abort() };
    });
}

static STOP: AtomicBool = AtomicBool::new(false);

/// How often the goroutine of [`listener`] has been woken.
static WAKES: AtomicUsize = AtomicUsize::new(0);

/// A goroutine that signals that are handled wake.
fn listener() -> thread::JoinHandle<()> {
    let (to, from) = mpsc::channel();
    let listener = thread::spawn(move || {
        to.send(thread::current()).unwrap();
        while !STOP.load(SeqCst) {
            thread::park();
            WAKES.fetch_add(1, SeqCst);
        }
    });
    listen(from.recv().unwrap());
    listener
}

/// Ends the goroutine of [`listener`], when it has been woken, and what goes on until [`STOP`].
fn silence(listener: thread::JoinHandle<()>) {
    eventually("a signal wakes the goroutine", || WAKES.load(SeqCst) > 0);
    STOP.store(true, SeqCst);
    listener.thread().unpark();
    listener.join().unwrap()
}

/// Threads that are shot at while they get their M, use it ten times, and give it back; errno is theirs all the time.
///
/// Row R-43, T-15.
#[test]
fn the_first_callbacks_of_a_thread_under_fire() {
    alone("the_first_callbacks_of_a_thread_under_fire", || {
        static TARGET: AtomicI32 = AtomicI32::new(0);
        install(libc::SIGCHLD, counts, 0);
        install(libc::SIGWINCH, counts, 0);
        let listener = listener();
        let shooters: Vec<_> = (0..10)
            .map(|i| {
                CThread::spawn(move || {
                    let signal = if i % 2 == 0 { libc::SIGCHLD } else { libc::SIGWINCH };
                    while !STOP.load(SeqCst) {
                        // A thread that is gone by now is no target; nor has another its number so soon.
                        match TARGET.load(SeqCst) {
                            0 => std::thread::yield_now(),
                            target => _ = send(target, signal),
                        }
                    }
                })
            })
            .collect();
        for _ in 0..50 {
            let before = handled();
            CThread::spawn(move || {
                TARGET.store(tid(), SeqCst);
                // They have found us.
                eventually("a signal comes", || handled() > before);
                for i in 0..10 {
                    set_errno(1000 + i);
                    ffi::callback(|| std::hint::black_box(i));
                    assert_eq!(errno(), 1000 + i);
                }
                TARGET.store(0, SeqCst);
            })
            .join();
        }
        silence(listener);
        shooters.into_iter().for_each(CThread::join);
        assert_eq!(gort::stats().extra_ms_in_use, 0);
    });
}

/// C threads with and without a stack of their own for signals take turns at the same M, and lose that stack in the end.
///
/// Row R-34.
#[test]
fn stacks_for_signals_are_the_threads_own() {
    alone("stacks_for_signals_are_the_threads_own", || {
        install(libc::SIGIO, notes_where, libc::SA_ONSTACK);
        thread::spawn(|| ()).join().unwrap();
        for own in [false, true, false, true, true, false] {
            CThread::spawn(move || {
                let stack = Alternate::new();
                let without = own.then(|| stack.take());
                let before = alternate_stack();
                let signals = || {
                    assert_eq!(alternate_stack(), before);
                    raise(libc::SIGIO);
                    assert_eq!(stack.was_used(), own);
                };
                signals();
                for _ in 0..3 {
                    ffi::callback(|| {
                        signals();
                        through_c(|| ffi::callback(signals));
                        let caught: Result<(), _> = ffi::try_callback(|| std::panic::resume_unwind(Box::new(5)));
                        caught.unwrap_err();
                        signals();
                    });
                    signals();
                }
                if let Some(without) = without {
                    put_back(without);
                    stack.forbid();
                }
            })
            .join();
        }
        assert_eq!((handled(), gort::stats().extra_ms), (6 * 13, 1));
    });
}

/// C on a goroutine takes signals elsewhere for a while, and puts things back: the report of overflows is as before.
///
/// Row C-37.
#[test]
fn c_may_change_the_stack_for_signals_and_put_it_back() {
    needs_goroutines!("threads have std's");
    const NAME: &str = "c_may_change_the_stack_for_signals_and_put_it_back";
    fn recurse(n: u64) -> u64 {
        let block = std::hint::black_box([n; 64]);
        if n == u64::MAX {
            0
        } else {
            recurse(n + 1) + block[3]
        }
    }
    if !is_child() {
        let outcome = Rerun::of(NAME, "child").inherit_all().run();
        outcome.died_of(libc::SIGABRT).says("now it overflows").says("goroutine 'changer'");
        return;
    }
    install(libc::SIGUSR1, notes_where, libc::SA_ONSTACK);
    let changer = thread::Builder::new().name("changer".into()).spawn(|| {
        ffi::lock_os_thread();
        let theirs = alternate_stack();
        let stack = Alternate::new();
        through_c(|| assert_eq!(stack.take(), theirs));
        for _ in 0..20 {
            thread::yield_now();
            raise(libc::SIGUSR1);
            assert!(stack.was_used());
        }
        through_c(|| put_back(theirs));
        stack.forbid();
        raise(libc::SIGUSR1);
        assert_eq!(alternate_stack(), theirs);
        ffi::unlock_os_thread();
        eprintln!("now it overflows");
        recurse(0)
    });
    changer.unwrap().join().unwrap();
}

/// Row C-18.
#[test]
fn threads_signal_themselves_while_a_goroutine_listens() {
    alone("threads_signal_themselves_while_a_goroutine_listens", || {
        install(libc::SIGCHLD, counts, libc::SA_ONSTACK);
        let listener = listener();
        let threads: Vec<_> = (0..10).map(|_| CThread::spawn(|| (0..100).for_each(|_| raise(libc::SIGCHLD)))).collect();
        threads.into_iter().for_each(CThread::join);
        assert_eq!(handled(), 1000);
        silence(listener);
    });
}

/// Row C-25.
#[test]
fn a_thread_that_is_cancelled_in_c_gives_its_m_back() {
    alone("a_thread_that_is_cancelled_in_c_gives_its_m_back", || {
        for _ in 0..50 {
            assert!(cancelled(|| ()), "one that was never in");
            assert!(cancelled(|| ffi::callback(|| assert_eq!(gort::stats().extra_ms_in_use, 1))));
            assert_eq!(gort::stats().extra_ms_in_use, 0);
            // With goroutines about, which no such signal concerns.
            assert!(cancelled(|| ffi::callback(|| thread::spawn(|| ()).join().unwrap())));
        }
        let stats = gort::stats();
        assert_eq!((stats.extra_ms, stats.extra_ms_in_use, stats.callbacks), (1, 0, 0));
    });
}

/// A handler raises another signal, whose handler wakes a goroutine; also where a child process sent the first.
///
/// Row T-10, T-11, T-12.
#[test]
fn handlers_that_raise_signals_wake_goroutines() {
    extern "C" fn raises_another(_: i32) {
        keeping_errno(|| raise(libc::SIGUSR2));
    }
    extern "C" fn says(_: i32) {
        SAID.fetch_add(1, SeqCst);
        counts(0);
    }
    static SAID: AtomicUsize = AtomicUsize::new(0);
    alone("handlers_that_raise_signals_wake_goroutines", || {
        install(libc::SIGUSR1, raises_another, libc::SA_RESTART);
        install(libc::SIGUSR2, says, libc::SA_RESTART);
        let (to, from) = mpsc::channel();
        let waits = thread::spawn(move || {
            listen(thread::current());
            for n in 1..=101 {
                while SAID.load(SeqCst) < n {
                    thread::park();
                }
                to.send(n).unwrap();
            }
        });
        let raises = thread::spawn(move || {
            for n in 1..=100 {
                raise(libc::SIGUSR1);
                assert_eq!(from.recv(), Ok(n));
            }
            let status = Command::new("sh").args(["-c", "kill -USR1 $PPID"]).status().unwrap();
            assert!(status.success());
            assert_eq!(from.recv(), Ok(101));
        });
        raises.join().unwrap();
        waits.join().unwrap();
    });
}
