//! Handlers of the host's that run on kernel threads while these run goroutines, wait, switch, and call in.
//!
//! What a handler sees: the thread-local storage, the `errno` and, without `SA_ONSTACK`, the stack of whoever it interrupted.
//! On a goroutine these are the goroutine's.

use gort::{ffi, thread};
use gort_tests::backend::goroutines_are_threads;
use gort_tests::cthreads::{through_c, tid, CThread};
use gort_tests::kinds::with_one_p_and_two;
use gort_tests::signals::{blocked, count, handle, handled, ms, send, shoot};
use gort_tests::subprocess::alone;
use libc::{SIGCHLD, SIGPROF, SIGURG, SIGUSR1, SIGWINCH};
use std::cell::Cell;
use std::ffi::{c_int, CString};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering::SeqCst};
use std::sync::{mpsc, Mutex};
use std::time::Duration;

static STOP: AtomicBool = AtomicBool::new(false);

/// What a goroutine knows of itself, and its handlers compare.
#[derive(Clone, Copy)]
struct Own {
    /// The address of this variable and that of `errno`; zero before the goroutine has said so.
    at: usize,
    errno: usize,
    /// Handlers that ran on it.
    seen: u32,
}

thread_local! {
    static OWN: Cell<Own> = const { Cell::new(Own { at: 0, errno: 0, seen: 0 }) };
}

/// Whether handlers are to run on the kernel thread's signal stack.
static ON_SIGNAL_STACK: AtomicBool = AtomicBool::new(false);

/// Handlers that found a goroutine, and those that found it otherwise than it is.
static ON_GOROUTINES: AtomicUsize = AtomicUsize::new(0);
static WRONG: AtomicUsize = AtomicUsize::new(0);

fn on_signal_stack() -> bool {
    // SAFETY: the record is written before it is read, by a call that changes nothing.
    unsafe {
        let mut stack: libc::stack_t = std::mem::zeroed();
        libc::sigaltstack(std::ptr::null(), &raw mut stack) == 0 && stack.ss_flags & libc::SS_ONSTACK != 0
    }
}

fn errno_at() -> usize {
    // SAFETY: no preconditions.
    unsafe { libc::__errno_location() as usize }
}

/// Uses some of the stack it runs on (not much: that of std's threads for signals is 8 KiB), then looks around.
extern "C" fn look_around(_: c_int) {
    handled(|| {
        let block = std::hint::black_box([7u8; 1 << 10]);
        let wrong = OWN.with(|own| {
            let mut known = own.get();
            if known.at == 0 {
                return false;
            }
            ON_GOROUTINES.fetch_add(1, SeqCst);
            known.seen += 1;
            own.set(known);
            known.at != std::ptr::from_ref(own) as usize
                || known.errno != errno_at()
                || on_signal_stack() != ON_SIGNAL_STACK.load(SeqCst)
        });
        // SAFETY: the thread's own, put back by `handled`.
        unsafe { *libc::__errno_location() = libc::EXDEV };
        if wrong || std::hint::black_box(&block).iter().any(|&b| b != 7) {
            WRONG.fetch_add(1, SeqCst);
        }
    });
}

/// A goroutine that computes, switches, waits, wakes, spawns and calls C, and that checks its stack, its `errno` and its
/// thread-local variables, until [`STOP`].
fn work(seed: u32) -> impl FnOnce() -> u32 + Send + 'static {
    static LOCK: Mutex<u64> = Mutex::new(0);
    move || {
        OWN.with(|own| own.set(Own { at: std::ptr::from_ref(own) as usize, errno: errno_at(), seen: 0 }));
        let room = std::hint::black_box([seed; 1000]);
        let code = 1 + (seed as c_int) % 30;
        let mut n = 0u32;
        while !STOP.load(SeqCst) {
            n += 1;
            // SAFETY: the goroutine's own.
            unsafe { *libc::__errno_location() = code };
            let sum = (0..300u32).fold(seed, |sum, x| std::hint::black_box(sum.wrapping_add(x)));
            assert_eq!(sum, seed.wrapping_add(44_850));
            thread::yield_now();
            // SAFETY: as above.
            assert_eq!(unsafe { *libc::__errno_location() }, code, "a handler or another goroutine changed it");
            match (n + seed) % 32 {
                0 => thread::sleep(Duration::from_micros(30)),
                1 => assert_eq!(thread::spawn(move || seed * 2).join().unwrap(), seed * 2),
                2 => *LOCK.lock().unwrap() += 1,
                3 => through_c(|| ffi::callback(thread::yield_now)),
                4 => ffi::blocking(|| std::hint::black_box(())),
                5 => assert_eq!(ffi::on_system_stack(|| 5), 5),
                6 => std::thread::yield_now(),
                _ => {}
            }
            assert!(std::hint::black_box(&room).iter().all(|&word| word == seed));
            OWN.with(|own| assert_eq!(own.get().at, std::ptr::from_ref(own) as usize));
        }
        OWN.get().seen
    }
}

fn under_fire(flags: c_int) {
    ON_SIGNAL_STACK.store(flags & libc::SA_ONSTACK != 0, SeqCst);
    handle(SIGUSR1, flags, look_around);
    let goroutines: Vec<_> = (0..6).map(|i| thread::spawn(work(i))).collect();
    shoot(SIGUSR1, 1000);
    // Until goroutines have been hit often enough, and not only threads that looked for work.
    while ON_GOROUTINES.load(SeqCst) < 300 {
        shoot(SIGUSR1, count() + 50);
    }
    STOP.store(true, SeqCst);
    let seen: u32 = goroutines.into_iter().map(|g| g.join().unwrap()).sum();
    assert_eq!(WRONG.load(SeqCst), 0, "handlers that saw another's storage, or a spoilt stack");
    // Each of them changed a variable of the goroutine that it interrupted; none was lost.
    assert_eq!(seen as usize, ON_GOROUTINES.load(SeqCst));
}

/// Row, U-06. On the stack of whoever is interrupted: a goroutine's has the room.
#[test]
fn handlers_without_a_stack_of_their_own() {
    if with_one_p_and_two("handlers_without_a_stack_of_their_own") {
        under_fire(libc::SA_RESTART);
    }
}

/// Row U-06. On the kernel thread's signal stack, which the runtime's threads have.
///
/// Row A-07.
#[test]
fn handlers_on_the_signal_stack() {
    if with_one_p_and_two("handlers_on_the_signal_stack") {
        under_fire(libc::SA_RESTART | libc::SA_ONSTACK);
    }
}

/// A handler without `SA_ONSTACK` that wants much stack has a goroutine's: 64 KiB of 216.
#[test]
fn a_handler_may_use_much_of_a_goroutines_stack() {
    extern "C" fn large(_: c_int) {
        handled(|| {
            let block = std::hint::black_box([3u8; 64 << 10]);
            assert!(block[count() % block.len()] == 3);
        });
    }
    alone("a_handler_may_use_much_of_a_goroutines_stack", || {
        handle(SIGUSR1, 0, large);
        let all: Vec<_> = (0..50)
            .map(|_| {
                thread::spawn(|| {
                    assert!(send(tid(), SIGUSR1)); // handled before the call returns
                    thread::yield_now();
                })
            })
            .collect();
        all.into_iter().for_each(|g| g.join().unwrap());
        assert_eq!(count(), 50);
    });
}

/// Row. A handler on a thread that has called in before may call in, wherever the thread is: in a callback, in C below
/// it after a nested callback has returned, and in C outside. It is counted as inside exactly there, and no second M is bound.
#[test]
fn a_handler_knows_where_its_thread_is() {
    static INSIDE: AtomicUsize = AtomicUsize::new(0);
    extern "C" fn calls_in(_: c_int) {
        // Sent by the thread to itself: it has interrupted nothing but `raise`.
        handled(|| {
            let outside = gort::stats().callbacks;
            let inside = ffi::callback(|| gort::stats().callbacks);
            let bound = gort::stats().extra_ms_in_use;
            INSIDE.store(outside * 100 + inside * 10 + bound, SeqCst);
        });
    }
    fn raise() -> usize {
        // SAFETY: there is a handler.
        unsafe { libc::raise(SIGPROF) };
        INSIDE.swap(usize::MAX, SeqCst)
    }
    alone("a_handler_knows_where_its_thread_is", || {
        for flags in [0, libc::SA_ONSTACK] {
            handle(SIGPROF, flags, calls_in);
            CThread::spawn(|| {
                ffi::callback(|| ());
                assert_eq!(raise(), 11, "in C: none, then one callback; one M");
                ffi::callback(|| {
                    assert_eq!(raise(), 111, "in a callback");
                    through_c(|| {
                        assert_eq!(raise(), 111, "in C below it");
                        ffi::callback(|| assert_eq!(raise(), 111, "in a nested one"));
                        assert_eq!(raise(), 111, "after the nested one");
                    });
                    assert_eq!(raise(), 111);
                });
                assert_eq!(raise(), 11, "in C again");
            })
            .join();
        }
    });
}

/// Row C-22, R-09. A thread that has never called in gets a profiling signal, before it does and after.
#[test]
fn a_fresh_thread_gets_a_profiling_signal() {
    alone("a_fresh_thread_gets_a_profiling_signal", || {
        handle(SIGPROF, libc::SA_ONSTACK, look_around);
        for _ in 0..20 {
            CThread::spawn(|| {
                assert!(send(tid(), SIGPROF));
                assert_eq!(ffi::callback(|| 1), 1);
                assert!(send(tid(), SIGPROF));
            })
            .join();
        }
        assert_eq!((count(), WRONG.load(SeqCst)), (40, 0));
    });
}

static PARKED: AtomicPtr<thread::Thread> = AtomicPtr::new(std::ptr::null_mut());

extern "C" fn unparks(_: c_int) {
    handled(|| {
        // SAFETY: the handle, once there, is never dropped.
        if let Some(parked) = unsafe { PARKED.load(SeqCst).as_ref() } {
            parked.unpark();
        }
    });
}

/// Row. A hundred C threads call in and allocate while ten others send them signals whose handler wakes a goroutine.
#[test]
fn signals_rain_on_threads_that_call_in() {
    alone("signals_rain_on_threads_that_call_in", || {
        const CALLERS: usize = 100;
        const ROUNDS: usize = 40;
        handle(SIGCHLD, libc::SA_RESTART, unparks);
        let parked = thread::spawn(|| {
            PARKED.store(Box::into_raw(Box::new(thread::current())), SeqCst);
            let mut wakes = 0;
            while !STOP.load(SeqCst) {
                thread::park();
                wakes += 1;
            }
            wakes
        });
        let (to, tids) = mpsc::channel();
        let callers: Vec<_> = (0..CALLERS)
            .map(|i| {
                let to = to.clone();
                CThread::spawn(move || {
                    to.send(tid()).unwrap();
                    let mut calls = 0;
                    while !STOP.load(SeqCst) {
                        let block = vec![i as u8; 1 + (i * 37 + calls) % 5000];
                        let there = ffi::callback(|| block.clone());
                        assert_eq!(there, block);
                        calls += 1;
                    }
                    calls
                })
            })
            .collect();
        let tids: Vec<_> = tids.iter().take(CALLERS).collect();
        std::thread::scope(|s| {
            for _ in 0..10 {
                s.spawn(|| {
                    for _ in 0..ROUNDS {
                        tids.iter().for_each(|&tid| assert!(send(tid, SIGCHLD)));
                        std::thread::yield_now();
                    }
                });
            }
        });
        STOP.store(true, SeqCst);
        assert!(callers.into_iter().map(CThread::join).all(|calls| calls > 0));
        unparks(0);
        assert!(parked.join().unwrap() > 0 && count() > CALLERS);
    });
}

/// Row T-15. `errno` is in a callback what it was before, and after it what the callback left, under a rain of signals.
#[test]
fn errno_is_not_spoilt() {
    alone("errno_is_not_spoilt", || {
        handle(SIGWINCH, 0, look_around);
        let (to, from) = mpsc::channel();
        let caller = CThread::spawn(move || {
            to.send(tid()).unwrap();
            while count() < 1000 {
                for code in 1..10 {
                    // SAFETY: the thread's own.
                    unsafe {
                        *libc::__errno_location() = code;
                        ffi::callback(|| {
                            assert_eq!(*libc::__errno_location(), code);
                            *libc::__errno_location() = code + 1;
                        });
                        assert_eq!(*libc::__errno_location(), code + 1);
                    }
                }
            }
        });
        let tid = from.recv().unwrap();
        while send(tid, SIGWINCH) {
            std::thread::yield_now();
        }
        caller.join();
        assert_eq!(WRONG.load(SeqCst), 0);
    });
}

/// Starts a shell by C's own function, which resets no mask, and returns how it ended.
fn shell(command: &str) -> c_int {
    let [shell, flag, command] = ["sh", "-c", command].map(|text| CString::new(text).expect("no zero in it"));
    let mut arguments = [shell.as_ptr(), flag.as_ptr(), command.as_ptr(), std::ptr::null()].map(<*const _>::cast_mut);
    let (mut child, mut status) = (0, 0);
    // SAFETY: the texts outlive the calls, and the lists end with null.
    unsafe {
        let (none, no_attributes) = (std::ptr::null(), std::ptr::null());
        let error = libc::posix_spawn(
            &raw mut child,
            c"/bin/sh".as_ptr(),
            none,
            no_attributes,
            arguments.as_mut_ptr(),
            std::ptr::null(),
        );
        assert_eq!(error, 0);
        while libc::waitpid(child, &raw mut status, 0) < 0 {}
    }
    status
}

/// Row R-12, U-05. A program that a goroutine starts, on a kernel thread that was just made or not, has no signal blocked that
/// the host has not, under fire too.
#[test]
fn children_have_the_hosts_mask() {
    if !with_one_p_and_two("children_have_the_hosts_mask") {
        return;
    }
    assert_eq!(blocked(), 0);
    handle(SIGWINCH, libc::SA_RESTART, look_around);
    let all: Vec<_> = (0..20)
        .map(|_| thread::spawn(|| shell("grep -q 'SigBlk:[[:space:]]*0000000000000000$' /proc/self/status")))
        .collect();
    shoot(SIGWINCH, 200);
    assert!(all.into_iter().all(|g| g.join().unwrap() == 0));
}

/// Row R-42. Handlers without `SA_RESTART` interrupt what goroutines wait for; every byte arrives and every child is waited for.
#[test]
fn interrupted_calls_complete() {
    if !with_one_p_and_two("interrupted_calls_complete") {
        return;
    }
    const BYTES: usize = 2 << 20;
    [SIGURG, SIGWINCH, SIGCHLD].iter().for_each(|&signal| handle(signal, 0, look_around));
    let data: Vec<u8> = (0..BYTES).map(|i| (i * 7 % 251) as u8).collect();
    let send_all = |mut to: Box<dyn Write + Send>| {
        let data = data.clone();
        thread::spawn(move || to.write_all(&data).unwrap())
    };
    let receive = |mut from: Box<dyn Read + Send>| {
        thread::spawn(move || {
            let mut got = Vec::new();
            from.read_to_end(&mut got).unwrap();
            got
        })
    };
    let (reader, writer) = std::io::pipe().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let from = listener.accept().unwrap().0;
    let senders = [send_all(Box::new(writer)), send_all(Box::new(to))];
    let receivers = [receive(Box::new(reader)), receive(Box::new(from))];
    let child = thread::spawn(|| {
        for _ in 0..10 {
            assert!(std::process::Command::new("true").status().unwrap().success());
        }
        STOP.store(true, SeqCst);
    });
    let mut rounds = 0;
    while !STOP.load(SeqCst) || rounds < 50 {
        rounds += 1;
        for signal in [SIGURG, SIGWINCH, SIGCHLD] {
            for tid in ms() {
                send(tid, signal); // or it has ended
            }
        }
        std::thread::yield_now();
    }
    child.join().unwrap();
    senders.into_iter().for_each(|g| g.join().unwrap());
    assert!(receivers.into_iter().all(|g| g.join().unwrap() == data));
    assert!(count() > 0 && WRONG.load(SeqCst) == 0 || goroutines_are_threads());
}
