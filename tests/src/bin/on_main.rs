//! A program whose main thread calls in, which no test harness lets a test do. The first argument says when.

use gort::ffi;
use gort_tests::cthreads::{at_exit, each, through_c, CThread};
use std::ffi::c_void;
use std::hint::black_box;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Instant;

/// Returns `i`.
#[gort::callback(on_panic = -1)]
extern "C" fn same(_arg: *mut c_void, i: u64) -> i64 {
    black_box(i) as i64
}

fn on_main_thread() -> bool {
    // SAFETY: no preconditions.
    unsafe { libc::gettid() == libc::getpid() }
}

/// What the initialiser below did.
static EARLY: AtomicUsize = AtomicUsize::new(0);

/// Runs on the main thread before main, as a C++ program's or a library's initialisers do.
extern "C" fn initialise() {
    if std::env::var_os("CALL_BEFORE_MAIN").is_none() {
        return;
    }
    let mine = through_c(|| {
        ffi::callback_or(
            || {
                ffi::lock_os_thread();
                ffi::unlock_os_thread();
                usize::from(on_main_thread())
            },
            || 100,
        )
    });
    let theirs = CThread::spawn(|| each(same, &(), 5)).join() as usize;
    let goroutine = ffi::callback_or(|| gort::thread::spawn(|| 100).join().unwrap(), || 0);
    EARLY.store(mine + theirs + goroutine, Ordering::Relaxed);
}

#[used]
#[link_section = ".init_array"]
static INITIALISE: extern "C" fn() = initialise;

fn callback() {
    assert!(on_main_thread());
    assert!(gort::testing::is_none());
    assert_eq!(each(same, &(), 1000), 499_500);
    assert!(!gort::testing::is_none());
    let stats = gort::stats();
    assert_eq!((stats.extra_ms, stats.extra_ms_in_use, stats.callbacks), (1, 1, 0));
    let value = through_c(|| {
        ffi::callback(|| {
            assert!(on_main_thread() && !gort::thread::is_goroutine());
            gort::thread::spawn(|| through_c(|| ffi::callback(|| 5))).join().unwrap()
        })
    });
    assert_eq!(value, 5);
}

/// The main thread does what goroutines ask it to, as systems with windows want it, until they are done.
fn serve() {
    type Job = Box<dyn FnOnce() + Send>;
    let (to, jobs) = mpsc::channel::<Job>();
    let goroutines: Vec<_> = (0..20u64)
        .map(|n| {
            let to = to.clone();
            gort::thread::spawn(move || {
                (0..20)
                    .map(|i| {
                        let (back, result) = mpsc::channel();
                        let job = move || {
                            assert!(on_main_thread() && !gort::thread::is_goroutine());
                            // It may wait for goroutines, too.
                            back.send(gort::thread::spawn(move || n * i).join().unwrap()).unwrap();
                        };
                        to.send(Box::new(job)).unwrap();
                        assert!(!on_main_thread());
                        result.recv().unwrap()
                    })
                    .sum::<u64>()
            })
        })
        .collect();
    drop(to);
    jobs.into_iter().for_each(|job| job());
    assert_eq!(goroutines.into_iter().map(|g| g.join().unwrap()).sum::<u64>(), 190 * 190);
}

/// How often the process's destructors called in.
static EXITS: AtomicU32 = AtomicU32::new(0);

extern "C" fn at_the_end() {
    let n = ffi::callback_or(|| through_c(|| ffi::callback(|| EXITS.fetch_add(1, Ordering::Relaxed))), || 100);
    println!("destructor {n} on the main thread: {}", on_main_thread());
}

fn destructor() {
    each(same, &(), 1);
    gort::thread::spawn(|| ()).join().unwrap();
    // One goroutine stays for ever: it must not hold the process up.
    gort::thread::spawn(|| loop {
        gort::thread::park();
    });
    at_exit(at_the_end);
    // SAFETY: `at_the_end` is a function of this program.
    assert_eq!(unsafe { libc::atexit(at_the_end) }, 0);
}

/// Nanoseconds a callback takes on this thread: the best of several rounds.
fn cost() -> u64 {
    const CALLS: u64 = 20_000;
    let round = || {
        let start = Instant::now();
        each(same, &(), CALLS);
        start.elapsed().as_nanos() as u64 / CALLS
    };
    (0..10).map(|_| round()).min().expect("ten rounds")
}

fn main() {
    match std::env::args().nth(1).as_deref() {
        Some("callback") => callback(),
        Some("early") => assert_eq!(EARLY.load(Ordering::Relaxed), 111),
        Some("destructor") => destructor(),
        Some("serve") => serve(),
        Some("cost") => println!("{} {}", cost(), CThread::spawn(cost).join()),
        other => panic!("an argument that means nothing: {other:?}"),
    }
    println!("main is done");
}
