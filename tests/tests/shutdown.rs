//! The end of the runtime, and its next life.

use gort::{ffi, shutdown, Config};
use gort_rt::embed;
use gort_tests::cthreads::{each, CThread};
use gort_tests::measure::{eventually, kernel_threads};
use gort_tests::needs_goroutines;
use gort_tests::subprocess::alone;
use std::ffi::c_void;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Barrier, Mutex};
use std::time::Duration;

/// Long enough for any machine.
const PATIENCE: Duration = Duration::from_secs(50);

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

fn mappings() -> usize {
    std::fs::read_to_string("/proc/self/maps").unwrap().lines().count()
}

/// Whether guards are markers, which the kernel has since Linux 6.13.
fn guards_take_no_mappings() -> bool {
    let markers = gort_tests::measure::guards()[0] == "markers";
    markers && std::env::var_os("GORT_GUARD").is_none_or(|guard| guard == "markers")
}

/// A bit of everything: locks, timers, sockets, a blocking call, goroutines with a stack of their own.
fn work() {
    let sum = Arc::new(Mutex::new(0));
    let adders: Vec<_> = (0..200)
        .map(|i| {
            let sum = sum.clone();
            gort::thread::Builder::new()
                .stack_size(if i % 50 == 0 { 1 << 20 } else { 64 << 10 })
                .spawn(move || {
                    std::thread::sleep(Duration::from_micros(i * 10));
                    ffi::blocking(|| *sum.lock().unwrap() += i);
                })
                .unwrap()
        })
        .collect();
    adders.into_iter().for_each(|adder| adder.join().unwrap());
    assert_eq!(*sum.lock().unwrap(), 200 * 199 / 2);
    let echo = gort::thread::spawn(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let server = gort::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            stream.write_all(&byte).unwrap();
        });
        client.write_all(b"x").unwrap();
        let mut byte = [0];
        client.read_exact(&mut byte).unwrap();
        server.join().unwrap();
        byte[0]
    });
    assert_eq!(echo.join().unwrap(), b'x');
}

#[test]
fn lives_follow_each_other_and_leave_nothing_behind() {
    alone("lives_follow_each_other_and_leave_nothing_behind", || {
        const LIVES: usize = 200;
        let descriptors_before = descriptors();
        let mut mappings_before = 0;
        for life in 0..LIVES {
            // Other numbers of Ps and other stacks each time.
            let procs = [1, 2, 5, 3][life % 4];
            Config::new().procs(procs).stack_size([64 << 10, 200 << 10, 1 << 20][life % 3]).start().unwrap();
            assert_eq!(gort::stats().procs, procs);
            work();
            shutdown(PATIENCE).unwrap();
            let stats = gort::stats();
            assert_eq!((stats.goroutines, stats.kernel_threads, stats.idle_threads), (0, 0, 0));
            // The test's own: libtest's main thread and this one. A thread that was joined is listed for a moment more.
            assert!(eventually(PATIENCE, || kernel_threads() == 2), "{} threads in life {life}", kernel_threads());
            assert_eq!(descriptors(), descriptors_before, "in life {life}");
            if life == LIVES / 2 {
                mappings_before = mappings(); // stacks' addresses and tables stay for the next life
            }
        }
        // libc keeps stacks and heaps of threads, sometimes of more of them; but one mapping left by each life would be seen.
        // (Guards that take mappings stay with their stacks, of which there are more sizes the longer one looks.)
        let more = mappings().saturating_sub(mappings_before);
        assert!(more < LIVES / 4 || !guards_take_no_mappings(), "{more} more mappings");
    });
}

#[test]
fn shutting_down_twice_or_what_never_ran_is_nothing() {
    alone("shutting_down_twice_or_what_never_ran_is_nothing", || {
        shutdown(Duration::ZERO).unwrap();
        gort::thread::spawn(|| ()).join().unwrap(); // starts it
        shutdown(PATIENCE).unwrap();
        shutdown(Duration::ZERO).unwrap();
        Config::new().start().unwrap();
        assert!(Config::new().start().unwrap_err().to_string().contains("runs already"));
    });
}

#[test]
fn nobody_comes_in_after_the_end() {
    alone("nobody_comes_in_after_the_end", || {
        assert_eq!(CThread::spawn(|| each(one, &(), 3)).join(), 3, "before the first start");
        gort::thread::spawn(|| ()).join().unwrap();
        let kept = gort::thread::spawn(gort::thread::current).join().unwrap();
        shutdown(PATIENCE).unwrap();
        let e = gort::thread::Builder::new().spawn(|| ()).unwrap_err();
        assert!(e.to_string().contains("shut down; start it again by Config::start"), "{e}");
        CThread::spawn(|| {
            assert_eq!(each(one, &(), 2), -20, "the value for a panic");
            assert!(ffi::take_last_panic().unwrap().contains("after the runtime was shut down"));
            assert!(ffi::try_callback(|| ()).is_err());
            let plain = std::panic::catch_unwind(|| ffi::callback(|| ()));
            assert!(plain.unwrap_err().downcast_ref::<String>().unwrap().contains("shut down"));
        })
        .join();
        kept.unpark(); // a goroutine that is long gone
        assert_eq!(gort::stats().callbacks, 0);
        Config::new().start().unwrap();
        assert_eq!(CThread::spawn(|| each(one, &(), 3)).join(), 3);
    });
}

#[gort::callback(on_panic = -10)]
extern "C" fn one(_arg: *mut c_void, _i: u64) -> i64 {
    1
}

#[test]
fn goroutines_that_stay_are_told_of_and_live_on() {
    alone("goroutines_that_stay_are_told_of_and_live_on", || {
        let (tell, told) = channel::<u32>();
        let waits = gort::thread::spawn(move || told.recv().unwrap());
        let sleeps = gort::thread::spawn(|| std::thread::sleep(Duration::from_millis(300)));
        let e = shutdown(Duration::from_millis(20)).unwrap_err();
        assert!(e.to_string().contains("2 goroutines and 0 callbacks have not ended"), "{e}");
        assert_eq!(gort::thread::spawn(|| 5).join().unwrap(), 5, "open again");
        tell.send(7).unwrap();
        // The sleeper is waited for.
        shutdown(PATIENCE).unwrap();
        assert!(sleeps.is_finished());
        assert_eq!((waits.join().unwrap(), sleeps.join().unwrap()), (7, ()));
    });
}

#[test]
fn who_is_inside_may_go_on_and_is_waited_for() {
    alone("who_is_inside_may_go_on_and_is_waited_for", || {
        gort::thread::spawn(|| ()).join().unwrap();
        let (entered, is_in) = channel();
        let (let_go, may_go) = channel::<()>();
        let over = Arc::new(AtomicBool::new(false));
        let inside = {
            let over = over.clone();
            CThread::spawn(move || {
                ffi::callback(|| {
                    entered.send(()).unwrap();
                    may_go.recv().unwrap();
                    // The gate is being closed: a thread outside is refused, but not we, nor what we spawn.
                    assert!(std::thread::spawn(|| gort::thread::Builder::new().spawn(|| ()).is_err()).join().unwrap());
                    let child = gort::thread::spawn(|| gort::thread::spawn(|| 3).join().unwrap());
                    assert_eq!(child.join().unwrap() + ffi::callback(|| 1), 4);
                    over.store(true, Ordering::SeqCst);
                });
            })
        };
        is_in.recv().unwrap();
        let closer = std::thread::spawn(|| shutdown(PATIENCE));
        assert!(eventually(PATIENCE, || gort::thread::Builder::new().spawn(|| ()).is_err()), "it closes");
        assert!(!closer.is_finished(), "somebody is inside");
        let_go.send(()).unwrap();
        closer.join().unwrap().unwrap();
        assert!(over.load(Ordering::SeqCst));
        inside.join();
    });
}

#[test]
fn those_for_whom_it_would_wait_are_refused() {
    alone("those_for_whom_it_would_wait_are_refused", || {
        let e = gort::thread::spawn(|| shutdown(PATIENCE).unwrap_err().to_string()).join().unwrap();
        assert!(e.contains("by a goroutine or in a callback"), "{e}");
        let e = CThread::spawn(|| ffi::callback(|| shutdown(PATIENCE).unwrap_err().to_string())).join();
        assert!(e.contains("by a goroutine or in a callback"), "{e}");
        // A thread that is bound, but not inside, may.
        CThread::spawn(|| {
            ffi::callback(|| ());
            shutdown(PATIENCE).unwrap();
        })
        .join();
    });
}

/// Callbacks that ran.
static RAN: AtomicU64 = AtomicU64::new(0);

#[gort::callback(on_panic = 0)]
extern "C" fn counted(_arg: *mut c_void, i: u64) -> i64 {
    if i.is_multiple_of(64) {
        gort::thread::spawn(|| RAN.fetch_add(1, Ordering::SeqCst)).join().unwrap();
    } else {
        RAN.fetch_add(1, Ordering::SeqCst);
    }
    1
}

#[test]
fn storms_of_callers_meet_the_end_and_none_is_lost() {
    alone("storms_of_callers_meet_the_end_and_none_is_lost", || {
        Config::new().procs(1).start().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let born = Arc::new(AtomicU64::new(0));
        let lived = Arc::new(AtomicU64::new(0));
        let start = Arc::new(Barrier::new(7));
        let callers: Vec<_> = (0..4)
            .map(|_| {
                let (stop, start) = (stop.clone(), start.clone());
                CThread::spawn(move || {
                    start.wait();
                    let mut ran = 0;
                    while !stop.load(Ordering::Relaxed) {
                        ran += each(counted, &(), 100);
                        // And threads that come and go.
                        ran += CThread::spawn(|| each(counted, &(), 2)).join();
                    }
                    ran as u64
                })
            })
            .collect();
        let spawners: Vec<_> = (0..2)
            .map(|_| {
                let (stop, start, born, lived) = (stop.clone(), start.clone(), born.clone(), lived.clone());
                std::thread::spawn(move || {
                    start.wait();
                    while !stop.load(Ordering::Relaxed) {
                        let lived = lived.clone();
                        let one = move || {
                            lived.fetch_add(1, Ordering::SeqCst);
                        };
                        if gort::thread::Builder::new().spawn(one).is_ok() {
                            born.fetch_add(1, Ordering::SeqCst);
                        }
                    }
                })
            })
            .collect();
        start.wait();
        let watcher = {
            let stop = stop.clone();
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let procs = gort::stats().procs;
                    assert!((1..=16).contains(&procs), "{procs}");
                    gort::thread::available_parallelism().unwrap();
                }
            })
        };
        for life in 0..100 {
            shutdown(PATIENCE).unwrap();
            assert_eq!(gort::stats().goroutines, 0);
            Config::new().procs(1 + life % 16).start().unwrap();
        }
        stop.store(true, Ordering::Relaxed);
        watcher.join().unwrap();
        spawners.into_iter().for_each(|spawner| spawner.join().unwrap());
        let told: u64 = callers.into_iter().map(CThread::join).sum();
        shutdown(PATIENCE).unwrap();
        assert_eq!(told, RAN.load(Ordering::SeqCst), "each call ran, or said that it did not");
        assert_eq!(born.load(Ordering::SeqCst), lived.load(Ordering::SeqCst), "each goroutine ran");
    });
}

#[test]
fn handlers_of_the_host_are_put_back() {
    needs_goroutines!("there are no handlers");
    alone("handlers_of_the_host_are_put_back", || {
        let handlers = || {
            [libc::SIGSEGV, libc::SIGBUS].map(|signal| {
                // SAFETY: zero is a value of the type, and the kernel fills it in.
                unsafe {
                    let mut action: libc::sigaction = std::mem::zeroed();
                    assert_eq!(libc::sigaction(signal, std::ptr::null(), &mut action), 0);
                    action.sa_sigaction
                }
            })
        };
        let before = handlers();
        gort::thread::spawn(|| ()).join().unwrap();
        assert_ne!(handlers(), before);
        shutdown(PATIENCE).unwrap();
        assert_eq!(handlers(), before);
    });
}

#[test]
fn a_child_forked_after_the_end_may_begin() {
    alone("a_child_forked_after_the_end_may_begin", || {
        work();
        shutdown(PATIENCE).unwrap();
        // SAFETY: the process has one thread but for those of the test's harness, which hold no lock that the child needs: it
        // allocates, as glibc permits after fork, and ends by `_exit`.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let fine = std::panic::catch_unwind(|| {
                Config::new().procs(2).start().unwrap();
                work();
                shutdown(PATIENCE).unwrap();
            });
            // SAFETY: ends the child.
            unsafe { libc::_exit(i32::from(fine.is_err())) };
        }
        assert!(child > 0);
        Config::new().start().unwrap(); // and so may we
        let mut status = 0;
        // SAFETY: the child is ours, and `status` is writable.
        assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
        assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0, "{status:x}");
        work();
    });
}

#[test]
fn who_asks_while_it_ends_is_told_and_does_not_wait() {
    alone("who_asks_while_it_ends_is_told_and_does_not_wait", || {
        let (tell, told) = channel::<()>();
        let asks = gort::thread::spawn(move || {
            told.recv().unwrap();
            // Waiting here would be for a thread that waits for us.
            let start = Config::new().start().unwrap_err().to_string();
            let other = std::thread::spawn(|| shutdown(PATIENCE).unwrap_err().to_string()).join().unwrap();
            // A thread of somebody who knows nothing of all this is a thread as ever.
            std::thread::spawn(|| ()).join().unwrap();
            (start, other)
        });
        let closer = std::thread::spawn(|| shutdown(PATIENCE));
        assert!(eventually(PATIENCE, || gort::thread::Builder::new().spawn(|| ()).is_err()), "it closes");
        tell.send(()).unwrap();
        closer.join().unwrap().unwrap();
        let (start, other) = asks.join().unwrap();
        assert!(start.contains("at this moment") && other.contains("at this moment"), "{start}; {other}");
    });
}

#[test]
fn threads_that_would_be_goroutines_are_threads_after_the_end() {
    needs_goroutines!("threads that others start are no goroutines");
    alone("threads_that_would_be_goroutines_are_threads_after_the_end", || {
        Config::new().threads_as_goroutines(true).start().unwrap();
        let (tell, told) = channel::<()>();
        let stays = gort::thread::spawn(move || told.recv().unwrap());
        assert!(std::thread::spawn(gort::thread::is_goroutine).join().unwrap());
        // The main thread is outside: while the gate is closed what it makes must not fail.
        extern "C" fn close(_: *mut c_void) -> *mut c_void {
            shutdown(PATIENCE).unwrap();
            std::ptr::null_mut()
        }
        // SAFETY: `close` takes no notice of its argument.
        let closer = unsafe { gort_tests::real::create(close, std::ptr::null_mut()) };
        assert!(eventually(PATIENCE, || gort::thread::Builder::new().spawn(|| ()).is_err()), "it closes");
        assert!(!std::thread::spawn(gort::thread::is_goroutine).join().unwrap());
        tell.send(()).unwrap();
        // SAFETY: the thread was made just now, and is joined once.
        assert_eq!(unsafe { libc::pthread_join(closer, std::ptr::null_mut()) }, 0);
        stays.join().unwrap();
        assert!(!std::thread::spawn(gort::thread::is_goroutine).join().unwrap());
    });
}

/// Row X-10.
#[test]
fn a_fork_does_not_wait_for_callbacks_of_threads_that_it_lacks() {
    alone("a_fork_does_not_wait_for_callbacks_of_threads_that_it_lacks", || {
        let (entered, is_in) = channel();
        let (let_go, may_go) = channel::<()>();
        let inside = CThread::spawn(move || {
            ffi::callback(|| {
                entered.send(()).unwrap();
                may_go.recv().unwrap();
            });
        });
        is_in.recv().unwrap();
        // SAFETY: as in `a_child_forked_after_the_end_may_begin`.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let fine = std::panic::catch_unwind(|| {
                assert_eq!(gort::stats().callbacks, 0);
                work();
                shutdown(PATIENCE).unwrap();
            });
            // SAFETY: ends the child.
            unsafe { libc::_exit(i32::from(fine.is_err())) };
        }
        let_go.send(()).unwrap();
        inside.join();
        let mut status = 0;
        // SAFETY: the child is ours, and `status` is writable.
        assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
        assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0, "{status:x}");
    });
}

#[test]
fn threads_that_end_are_used_again_and_leave_no_mapping() {
    alone("threads_that_end_are_used_again_and_leave_no_mapping", || {
        // A goroutine that ends locked takes its thread with it.
        let end_locked = || gort::thread::spawn(ffi::lock_os_thread).join().unwrap();
        (0..200).for_each(|_| end_locked());
        let before = mappings();
        (0..2000).for_each(|_| end_locked());
        let more = mappings().saturating_sub(before);
        assert!(more < 400, "{more} more mappings: each thread is one or two");
    });
}

/// A thread goes from a guard to a callback to a guard while the runtime is being shut down: it is inside all the time, and let
/// in, until it has left the last.
#[test]
fn who_is_inside_by_guards_and_callbacks_is_let_in_to_the_end() {
    alone("who_is_inside_by_guards_and_callbacks_is_let_in_to_the_end", || {
        gort::thread::spawn(|| ()).join().unwrap();
        let entered = Arc::new(Barrier::new(2));
        let theirs = entered.clone();
        let inside = CThread::spawn(move || {
            embed::enter().unwrap();
            theirs.wait();
            while !embed::is_shut() {
                std::thread::yield_now();
            }
            let spawn = || gort::thread::spawn(|| 1).join().unwrap();
            for _ in 0..100 {
                ffi::callback(|| {
                    assert!(embed::leave());
                    assert!(!embed::leave());
                    assert_eq!(spawn() + ffi::callback(spawn), 2, "in a callback");
                    embed::enter().unwrap();
                    embed::enter().unwrap();
                });
                assert_eq!(spawn(), 1, "in guards");
                assert!(embed::leave());
            }
            assert_eq!(gort::stats().callbacks, 1);
            assert!(embed::leave());
            assert!(!embed::leave());
            assert!(ffi::try_callback(|| ()).is_err(), "outside");
            assert!(embed::enter().is_err());
            assert!(ffi::try_callback(|| ()).is_err(), "and it stays so");
            gort::stats().callbacks
        });
        entered.wait();
        shutdown(PATIENCE).unwrap();
        assert_eq!(inside.join(), 0);
        assert!(embed::enter().is_err());
    });
}

/// In place of libc's, which the runtime would call to find out whether a handler of its own still runs: each thread gets a signal
/// for it.
#[no_mangle]
extern "C" fn setresuid(_: libc::uid_t, _: libc::uid_t, _: libc::uid_t) -> libc::c_int {
    CHANGES.fetch_add(1, Ordering::SeqCst);
    0
}

static CHANGES: AtomicU64 = AtomicU64::new(0);

/// Nothing waits for handlers to end that no library takes with it.
#[test]
fn a_program_is_not_disturbed_by_an_end() {
    alone("a_program_is_not_disturbed_by_an_end", || {
        // SAFETY: no preconditions.
        let keep = || unsafe { libc::setresuid(u32::MAX, u32::MAX, u32::MAX) };
        assert_eq!((keep(), CHANGES.load(Ordering::SeqCst)), (0, 1), "it is called by that name");
        for _ in 0..3 {
            Config::new().start().unwrap();
            work();
            shutdown(PATIENCE).unwrap();
        }
        assert_eq!(CHANGES.load(Ordering::SeqCst), 1);
    });
}
