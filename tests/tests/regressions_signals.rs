//! Signal handlers that call what the runtime hooks, or the runtime itself, while goroutines run.

use gort::{ffi, thread};
use gort_tests::cthreads;
use gort_tests::kinds::with_one_p_and_two;
use gort_tests::raw::{futex_wait, futex_wake};
use gort_tests::signals::{self, count, handled, send};
use libc::SIGUSR1;
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::SeqCst};
use std::sync::{mpsc, Arc, Mutex, OnceLock};
use std::time::Duration;

/// Has SIGUSR1 run `handler` on the alternate signal stack, as the handlers of Rust and of profilers do.
fn handle(handler: extern "C" fn(i32)) {
    signals::handle(SIGUSR1, libc::SA_ONSTACK | libc::SA_RESTART, handler);
}

fn signal(tid: i32) -> bool {
    send(tid, SIGUSR1)
}

fn shoot(enough: usize) {
    signals::shoot(SIGUSR1, enough);
}

static STOP: AtomicBool = AtomicBool::new(false);

/// Goroutines that run, wait, and wake in many ways, and check what they compute, until [`STOP`].
fn busy() -> Vec<thread::JoinHandle<()>> {
    thread_local! {
        static COUNT: Cell<usize> = const { Cell::new(0) };
    }
    let lock = Arc::new(Mutex::new(0usize));
    let mut all = Vec::new();
    for i in 0..4 {
        let lock = lock.clone();
        all.push(thread::spawn(move || {
            let mut n = 0;
            while !STOP.load(SeqCst) {
                n += 1;
                COUNT.set(COUNT.get() + 1);
                *lock.lock().unwrap() += 1;
                let sum = (0..200u64).fold(i, |sum, x| std::hint::black_box(sum + x));
                assert_eq!(sum, i + 19900);
                match n % 64 {
                    0 => std::thread::sleep(Duration::from_micros(20)),
                    1 => std::thread::yield_now(),
                    2 => assert_eq!(thread::spawn(move || i * 2).join().unwrap(), i * 2),
                    _ => {}
                }
                assert_eq!(COUNT.get(), n);
            }
        }));
    }
    let (to, from) = mpsc::sync_channel(1);
    all.push(thread::spawn(move || (0..).take_while(|_| !STOP.load(SeqCst)).for_each(|i| to.send(i).unwrap())));
    all.push(thread::spawn(move || from.iter().enumerate().for_each(|(i, n): (usize, usize)| assert_eq!(i, n))));
    all
}

static PARKED: OnceLock<thread::Thread> = OnceLock::new();

extern "C" fn sleeps_yields_and_wakes(_: i32) {
    handled(|| {
        let time = libc::timespec { tv_sec: 0, tv_nsec: 1000 };
        // SAFETY: both are safe in signal handlers.
        unsafe {
            libc::nanosleep(&time, std::ptr::null_mut());
            libc::sched_yield();
            libc::clock_nanosleep(libc::CLOCK_MONOTONIC, 0, &time, std::ptr::null_mut());
        }
        if let Some(thread) = PARKED.get() {
            thread.unpark();
        }
    });
}

/// Row U-06.
#[test]
fn a_handler_on_the_alternate_stack_does_not_leave_it() {
    if !with_one_p_and_two("a_handler_on_the_alternate_stack_does_not_leave_it") {
        return;
    }
    handle(sleeps_yields_and_wakes);
    let all = busy();
    let parked = thread::spawn(|| {
        PARKED.set(thread::current()).unwrap();
        (0..).take_while(|_| !STOP.load(SeqCst)).for_each(|_| thread::park());
    });
    shoot(3000);
    // And where the signal surely finds a goroutine at work.
    let own = thread::spawn(|| {
        for i in 1..=200 {
            // SAFETY: no preconditions.
            let here = unsafe { libc::gettid() };
            // A goroutine that is moved here is signalled elsewhere, which is as good.
            assert!(signal(here), "{i}");
            thread::yield_now();
        }
    });
    own.join().unwrap();
    STOP.store(true, SeqCst);
    parked.thread().unpark();
    all.into_iter().chain([parked]).for_each(|g| g.join().unwrap());
}

static WORD: AtomicU32 = AtomicU32::new(0);

extern "C" fn wakes(_: i32) {
    handled(|| {
        WORD.fetch_add(1, SeqCst);
        futex_wake(&WORD, i32::MAX);
    });
}

/// Wakes come from handlers that interrupt wakes of the same word, on goroutines and on threads.
#[test]
fn a_handler_may_wake_while_the_thread_wakes() {
    if !with_one_p_and_two("a_handler_may_wake_while_the_thread_wakes") {
        return;
    }
    handle(wakes);
    let waker = || {
        while !STOP.load(SeqCst) {
            futex_wake(&WORD, 1);
        }
    };
    let (to, tids) = mpsc::channel();
    let threads: Vec<_> = (0..2)
        .map(|_| {
            let to = to.clone();
            std::thread::spawn(move || {
                // SAFETY: no preconditions.
                to.send(unsafe { libc::gettid() }).unwrap();
                waker();
            })
        })
        .collect();
    let goroutines: Vec<_> = (0..2).map(|_| thread::spawn(waker)).collect();
    let tids: Vec<_> = tids.iter().take(threads.len()).collect();
    while count() < 500 {
        for &tid in &tids {
            assert!(signal(tid));
        }
        shoot(count() + 5);
    }
    STOP.store(true, SeqCst);
    threads.into_iter().for_each(|t| t.join().unwrap());
    goroutines.into_iter().for_each(|g| g.join().unwrap());
}

/// As above, with goroutines that wait for the word: the table is not empty, and its locks are in use.
#[test]
fn a_handler_may_wake_who_waits() {
    if !with_one_p_and_two("a_handler_may_wake_who_waits") {
        return;
    }
    handle(wakes);
    let waiters: Vec<_> = (0..4)
        .map(|_| {
            thread::spawn(|| {
                while !STOP.load(SeqCst) {
                    futex_wait(&WORD, WORD.load(SeqCst), Some(Duration::from_millis(1)));
                    futex_wake(&WORD, 1);
                }
            })
        })
        .collect();
    shoot(3000);
    STOP.store(true, SeqCst);
    waiters.into_iter().for_each(|g| g.join().unwrap());
}

/// A timer whose signal goes to one kernel thread, every millisecond, while it lives.
struct Ticks(libc::timer_t);

impl Ticks {
    fn to(tid: i32) -> Ticks {
        let every = libc::timespec { tv_sec: 0, tv_nsec: 1_000_000 };
        let times = libc::itimerspec { it_interval: every, it_value: every };
        let mut timer = std::ptr::null_mut();
        // SAFETY: zeroes are a valid record, of which the calls read what is set here.
        unsafe {
            let mut event: libc::sigevent = std::mem::zeroed();
            event.sigev_notify = libc::SIGEV_THREAD_ID;
            event.sigev_signo = SIGUSR1;
            event.sigev_notify_thread_id = tid;
            assert_eq!(libc::timer_create(libc::CLOCK_MONOTONIC, &raw mut event, &raw mut timer), 0);
            assert_eq!(libc::timer_settime(timer, 0, &raw const times, std::ptr::null_mut()), 0);
        }
        Ticks(timer)
    }
}

impl Drop for Ticks {
    fn drop(&mut self) {
        // SAFETY: it was created, and is deleted once.
        unsafe { libc::timer_delete(self.0) };
    }
}

/// A handler that wakes finds the table's lock with the very thread that it has interrupted, and the next signal may come before
/// that has made a step: whatever the handler waits for then never happens.
#[test]
fn a_handler_that_wakes_every_millisecond_lets_its_thread_go_on() {
    if !with_one_p_and_two("a_handler_that_wakes_every_millisecond_lets_its_thread_go_on") {
        return;
    }
    static ROUNDS: AtomicUsize = AtomicUsize::new(0);
    handle(wakes);
    let (send, tid) = mpsc::channel();
    let busy = thread::spawn(move || {
        ffi::lock_os_thread();
        send.send(cthreads::tid()).unwrap();
        // The word never has that value: in and out of the table.
        while !STOP.load(SeqCst) {
            futex_wait(&WORD, !WORD.load(SeqCst), None);
            ROUNDS.fetch_add(1, SeqCst);
        }
    });
    let ticks = Ticks::to(tid.recv().unwrap());
    for signals in (0..500).step_by(50) {
        let rounds = ROUNDS.load(SeqCst);
        cthreads::eventually("it goes on", || count() >= signals && ROUNDS.load(SeqCst) > rounds + 100);
    }
    drop(ticks);
    STOP.store(true, SeqCst);
    busy.join().unwrap();
}

extern "C" fn unparks(_: i32) {
    handled(|| {
        if let Some(thread) = PARKED.get() {
            thread.unpark();
        }
    });
}

#[test]
fn a_handler_may_unpark() {
    if !with_one_p_and_two("a_handler_may_unpark") {
        return;
    }
    static WOKEN: AtomicUsize = AtomicUsize::new(0);
    const ENOUGH: usize = 500;
    handle(unparks);
    let parked = thread::spawn(|| {
        PARKED.set(thread::current()).unwrap();
        while !STOP.load(SeqCst) {
            thread::park();
            WOKEN.fetch_add(1, SeqCst);
        }
    });
    // From handlers on kernel threads that sleep, that run goroutines, and that are none of the runtime's.
    // SAFETY: no preconditions.
    let us = unsafe { libc::gettid() };
    let mut all = Vec::new();
    while WOKEN.load(SeqCst) < 2 * ENOUGH {
        if all.is_empty() && WOKEN.load(SeqCst) >= ENOUGH {
            all = busy();
        }
        shoot(count() + 10);
        assert!(signal(us));
    }
    STOP.store(true, SeqCst);
    assert!(signal(us)); // handled before the call returns: the last unpark
    all.into_iter().chain([parked]).for_each(|g| g.join().unwrap());
}
