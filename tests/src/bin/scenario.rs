//! A plain program for scenarios that a test harness's own threads would disturb. The argument names the scenario.

use gort::thread;
use gort_tests::backend::goroutines_are_threads;
use gort_tests::measure::eventually;
use gort_tests::raw::Pipe;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{mpsc, Arc, Barrier, Mutex};
use std::time::Duration;

/// How long to give sysmon, which looks about once a second, for a report.
const REPORT: Duration = Duration::from_millis(3500);

fn main() {
    let name = std::env::args().nth(1).expect("the name of a scenario");
    match name.as_str() {
        "dead_lock" => dead_lock(),
        "dead_lock_in_std" => dead_lock_in_std(),
        "woken_by_a_thread" => woken_by_a_thread(),
        "woken_by_a_callback" => woken_by_a_callback(),
        "waiting_for_a_timer" => waiting_for_a_timer(),
        "waiting_in_a_call" => waiting_in_a_call(),
        "exit_with_goroutines" => exit_with_goroutines(),
        "mini_suite" => mini_suite(),
        "stopped" => stopped(),
        "blocked_signal" => blocked_signal(),
        other => panic!("no scenario {other:?}"),
    }
}

/// A process that does not end by itself, ended after the time for a report.
fn end_after_report() {
    // An alarm, and no thread, so that no thread of ours is unaccounted for.
    extern "C" fn end(_: libc::c_int) {
        // SAFETY: `_exit` may be called in a signal handler.
        unsafe { libc::_exit(7) };
    }
    let time = libc::timeval { tv_sec: REPORT.as_secs() as i64, tv_usec: i64::from(REPORT.subsec_micros()) };
    let time = libc::itimerval { it_interval: libc::timeval { tv_sec: 0, tv_usec: 0 }, it_value: time };
    // SAFETY: the handler only exits; the timer's record is valid.
    unsafe {
        libc::signal(libc::SIGALRM, end as extern "C" fn(libc::c_int) as libc::sighandler_t);
        libc::setitimer(libc::ITIMER_REAL, &raw const time, std::ptr::null_mut());
    }
}

/// Two goroutines that wait for each other; the main thread joins them.
fn dead_lock() {
    end_after_report();
    let g = thread::spawn(|| thread::spawn(thread::park).join().unwrap());
    g.join().unwrap();
}

/// The same with std's means, on the side of the main thread too.
fn dead_lock_in_std() {
    end_after_report();
    let (to, from) = mpsc::channel::<()>();
    let lock = Arc::new(Mutex::new(()));
    let theirs = lock.clone();
    let _held = lock.lock().unwrap();
    thread::spawn(move || {
        let _never = theirs.lock().unwrap();
        to.send(()).unwrap();
    });
    from.recv().unwrap();
}

/// All goroutines wait, and a thread that the runtime knows nothing of wakes them after the time for a report.
fn woken_by_a_thread() {
    let g = thread::spawn(thread::park);
    let handle = g.thread().clone();
    let waker = std::thread::spawn(move || {
        gort_tests::raw::block_for(REPORT);
        handle.unpark();
    });
    g.join().unwrap();
    waker.join().unwrap();
}

/// All goroutines wait; a C thread that has called in is in C, and calls in again after the time for a report.
fn woken_by_a_callback() {
    let (to, from) = mpsc::channel();
    let caller = gort_tests::cthreads::CThread::spawn(move || {
        gort::ffi::callback(|| ());
        gort_tests::raw::block_for(REPORT);
        gort::ffi::callback(|| to.send(5).unwrap());
    });
    let waits = thread::spawn(move || from.recv().unwrap());
    assert_eq!(thread::spawn(move || waits.join().unwrap()).join().unwrap(), 5);
    caller.join();
}

/// All goroutines wait, one of them for a timer.
fn waiting_for_a_timer() {
    let sleeper = thread::spawn(|| thread::sleep(REPORT));
    thread::spawn(move || sleeper.join().unwrap()).join().unwrap();
}

/// All goroutines wait, one of them in a system call.
fn waiting_in_a_call() {
    let pipe = Arc::new(Pipe::new());
    let theirs = pipe.clone();
    let reader = thread::spawn(move || theirs.read());
    let joiner = thread::spawn(move || reader.join().unwrap());
    gort_tests::raw::block_for(REPORT);
    pipe.write(b'x', 1);
    assert_eq!(joiner.join().unwrap(), b'x');
}

/// All threads wait, for a timer, while the process is stopped for longer than the time for a report.
fn stopped() {
    let sleeper = thread::spawn(|| thread::sleep(Duration::from_millis(1500)));
    let script = "sleep 0.3; kill -STOP $PPID; sleep 4; kill -CONT $PPID";
    let mut shell = std::process::Command::new("sh").args(["-c", script]).spawn().expect("a shell");
    thread::spawn(move || sleeper.join().unwrap()).join().unwrap();
    assert!(shell.wait().expect("it was started").success());
}

/// The main function returns while goroutines run, spin, sleep and wait.
fn exit_with_goroutines() {
    // Spinning threads keep processors from those that begin.
    let all = if goroutines_are_threads() { 12 } else { 100 };
    let running = Arc::new(AtomicUsize::new(0));
    for i in 0..all {
        let running = running.clone();
        drop(thread::spawn(move || {
            running.fetch_add(1, SeqCst);
            match i % 4 {
                0 => thread::park(),
                1 => thread::sleep(Duration::from_secs(3600)),
                2 => loop {
                    thread::yield_now();
                },
                _ => loop {
                    std::hint::spin_loop();
                },
            }
        }));
    }
    assert!(eventually(Duration::from_secs(30), || running.load(SeqCst) == all));
    println!("main returns");
}

/// A little of everything, for environments that change how the runtime works.
fn mini_suite() {
    thread_local!(static MINE: std::cell::RefCell<Vec<usize>> = const { std::cell::RefCell::new(Vec::new()) });
    let barrier = Arc::new(Barrier::new(20));
    let sum = Arc::new(Mutex::new(0));
    for _ in 0..3 {
        let all: Vec<_> = (0..20)
            .map(|i| {
                let (barrier, sum) = (barrier.clone(), sum.clone());
                thread::spawn(move || {
                    MINE.with_borrow_mut(|list| {
                        assert!(list.is_empty(), "fresh");
                        list.push(i);
                    });
                    barrier.wait();
                    for _ in 0..10 {
                        *sum.lock().unwrap() += 1;
                        thread::yield_now();
                    }
                    thread::sleep(Duration::from_micros(10));
                    gort::ffi::blocking(|| gort_tests::raw::block_for(Duration::from_micros(10)));
                    MINE.with_borrow(|list| assert_eq!(*list, [i]));
                    i
                })
            })
            .collect();
        assert_eq!(all.into_iter().map(|g| g.join().unwrap()).sum::<usize>(), 190);
    }
    assert_eq!(*sum.lock().unwrap(), 600);
    let e = thread::spawn(|| panic!("on purpose")).join().unwrap_err();
    assert_eq!(e.downcast_ref::<&str>(), Some(&"on purpose"));
    let (first, mut from) = mpsc::channel();
    for _ in 0..50 {
        let (to, next) = mpsc::channel();
        thread::spawn(move || to.send(from.recv().unwrap() + 1).unwrap());
        from = next;
    }
    let big = thread::Builder::new().stack_size(1 << 20).spawn(|| std::hint::black_box([1u8; 600 << 10])[5]).unwrap();
    assert_eq!(big.join().unwrap(), 1);
    thread::scope(|s| s.spawn(|| first.send(0).unwrap()).join().unwrap());
    assert_eq!(from.recv(), Ok(50));
    let text = thread::spawn(|| std::thread::spawn(|| "from a thread").join().unwrap()).join().unwrap();
    println!("mini suite passed {text}");
}

/// The host blocks a signal before it starts the runtime, as one does who waits for it in a place of its own. No thread of the
/// runtime takes it, whatever they do.
fn blocked_signal() {
    use gort_tests::signals::{bit, block};
    block(bit(libc::SIGTERM));
    let busy: Vec<_> = (0..100)
        .map(|i| {
            thread::spawn(move || {
                gort::ffi::blocking(|| gort_tests::raw::block_for(Duration::from_micros(i * 10)));
                thread::sleep(Duration::from_micros(i));
            })
        })
        .collect();
    // SAFETY: every thread blocks the signal; the set and the number are valid.
    unsafe {
        libc::kill(libc::getpid(), libc::SIGTERM);
        busy.into_iter().for_each(|g| g.join().unwrap());
        let (mut set, mut got) = (std::mem::zeroed(), 0);
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGTERM);
        assert_eq!((libc::sigwait(&raw const set, &raw mut got), got), (0, libc::SIGTERM));
    }
}
