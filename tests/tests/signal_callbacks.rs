//! Signal handlers that call in: while their thread is in C, in a callback, about to enter its first, or about to end;
//! and on goroutines.

use gort::{ffi, thread};
use gort_tests::cthreads::{eventually, through_c, CThread};
use gort_tests::subprocess::alone;
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::Arc;

static HANDLED: AtomicUsize = AtomicUsize::new(0);
static REFUSED: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// The handler has run on this thread.
    static HERE: Cell<bool> = const { Cell::new(false) };
}

/// Calls in, twice, one within the other.
extern "C" fn handler(_: i32) {
    // SAFETY: the thread's own errno.
    let errno = unsafe { *libc::__errno_location() };
    let depth = ffi::callback_or(|| 1 + ffi::callback(|| 1), || 0);
    match depth {
        2 => HANDLED.fetch_add(1, SeqCst),
        _ => REFUSED.fetch_add(1, SeqCst),
    };
    HERE.set(true);
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = errno };
}

fn handle(flags: i32) {
    // SAFETY: the handler makes calls that are safe in handlers, and leaves errno as it was.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as extern "C" fn(i32) as usize;
        action.sa_flags = flags | libc::SA_RESTART;
        assert_eq!(libc::sigaction(libc::SIGUSR1, &action, std::ptr::null_mut()), 0);
    }
}

/// Sends signals to the calling thread while `f` runs, from another one.
fn signalled(f: impl FnOnce()) {
    // SAFETY: no preconditions.
    let (process, tid) = unsafe { (libc::getpid(), libc::gettid()) };
    let over = Arc::new(AtomicBool::new(false));
    let theirs = over.clone();
    let sender = std::thread::spawn(move || {
        let mut sent = 0;
        while !theirs.load(SeqCst) {
            // SAFETY: no memory is involved, and there is a handler.
            unsafe { libc::syscall(libc::SYS_tgkill, process, tid, libc::SIGUSR1) };
            sent += 1;
            std::thread::yield_now();
        }
        sent
    });
    let before = HANDLED.load(SeqCst);
    f();
    while HANDLED.load(SeqCst) < before + 100 {
        std::thread::yield_now();
    }
    over.store(true, SeqCst);
    assert!(sender.join().unwrap() >= 100);
}

/// Row X-28.
#[test]
fn a_handler_on_a_bound_thread_borrows_no_second_m() {
    alone("a_handler_on_a_bound_thread_borrows_no_second_m", || {
        // With the handler on the thread's own stack, and on the alternate one, which std gives its threads.
        for flags in [0, libc::SA_ONSTACK] {
            handle(flags);
            let body = || {
                ffi::callback(|| ());
                signalled(|| {
                    for i in 0..2_000 {
                        let n = ffi::callback(|| through_c(|| ffi::callback(|| i)));
                        assert_eq!(n, i);
                        if i % 100 == 0 {
                            ffi::callback(|| thread::spawn(|| ()).join().unwrap());
                        }
                    }
                });
                let stats = gort::stats();
                assert_eq!((stats.extra_ms, stats.extra_ms_in_use, stats.callbacks), (1, 1, 0));
            };
            CThread::spawn(body).join();
            std::thread::spawn(body).join().unwrap();
            assert_eq!(gort::stats().extra_ms_in_use, 0);
        }
        assert_eq!(REFUSED.load(SeqCst), 0);
    });
}

/// Row X-28.
#[test]
fn a_handler_on_a_goroutine_runs_in_place() {
    alone("a_handler_on_a_goroutine_runs_in_place", || {
        handle(libc::SA_ONSTACK);
        let work = || {
            signalled(|| {
                for i in 0..2_000 {
                    assert_eq!(ffi::callback(|| through_c(|| ffi::callback(|| i))), i);
                }
            });
        };
        // Locked, so that the signals find the kernel thread that it is on.
        let locked = thread::spawn(move || {
            ffi::lock_os_thread();
            work();
            ffi::unlock_os_thread();
        });
        locked.join().unwrap();
        assert_eq!(gort::stats().extra_ms_in_use, 0);
    });
}

/// Row X-28. Signals that come while the thread gets its M, or gives it back, find no lock held that they wait for.
#[test]
fn a_handler_amid_the_first_callback_is_served_or_refused() {
    alone("a_handler_amid_the_first_callback_is_served_or_refused", || {
        handle(0);
        // One that can be had without an allocation, which a handler must not interrupt.
        CThread::spawn(|| ffi::callback(|| ())).join();
        for i in 0..2_000 {
            CThread::spawn(move || {
                // SAFETY: no memory is involved, and there is a handler; what the kernel writes is ours.
                unsafe {
                    let soon = libc::itimerspec {
                        it_interval: libc::timespec { tv_sec: 0, tv_nsec: 0 },
                        it_value: libc::timespec { tv_sec: 0, tv_nsec: 1 + i % 200 * 100 },
                    };
                    let mut event: libc::sigevent = std::mem::zeroed();
                    event.sigev_notify = libc::SIGEV_THREAD_ID;
                    event.sigev_signo = libc::SIGUSR1;
                    event.sigev_notify_thread_id = libc::gettid();
                    let mut timer = std::mem::zeroed();
                    assert_eq!(libc::timer_create(libc::CLOCK_MONOTONIC, &raw mut event, &raw mut timer), 0);
                    assert_eq!(libc::timer_settime(timer, 0, &soon, std::ptr::null_mut()), 0);
                    ffi::callback(|| ());
                    through_c(|| ffi::callback(|| ()));
                    if i % 2 == 0 {
                        // It comes in this thread's life; those of the others may come at its end, or too late.
                        eventually("the signal has come", || HERE.get());
                    }
                }
            })
            .join();
        }
        let stats = gort::stats();
        assert_eq!((stats.extra_ms_in_use, stats.callbacks), (0, 0), "{stats:?}");
        assert!(HANDLED.load(SeqCst) > 0);
    });
}
