//! The sizes of things, one at a time: `sizes alive N`, `sizes sleepers N`, `sizes procs`, `sizes idle WITH`.
//!
//! Programs of their own, because each counts what the whole process does. `tests/tests/sizes.rs` runs them small,
//! `ci/sizes.sh` in full.

use gort::thread::{self, JoinHandle};
use gort_tests::measure::{eventually, kernel_threads, resident_kib};
use gort_tests::raw::block_for;
use std::io::Read;
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{mpsc, Arc, Barrier, Mutex};
use std::time::{Duration, Instant};

/// How long is taken for a hang; the sizes are chosen so that it takes far less.
const LONG: Duration = Duration::from_secs(600);
/// Kernel threads that the few Ps of these programs may need.
const FEW_THREADS: usize = 16;

fn main() {
    let args: Vec<_> = std::env::args().collect();
    let n = || args.get(2).and_then(|n| n.parse().ok()).expect("a number");
    match args.get(1).map(String::as_str) {
        Some("alive") => alive(n()),
        Some("sleepers") => sleepers(n()),
        Some("procs") => procs(),
        Some("idle") => idle(args.get(2).expect("nothing, timer or netpoller")),
        _ => panic!("usage: sizes alive N | sleepers N | procs | idle nothing|timer|netpoller"),
    }
    println!("sizes: {} took {:?}", args[1..].join(" "), started().elapsed());
}

fn started() -> Instant {
    static STARTED: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    *STARTED.get_or_init(Instant::now)
}

/// So many goroutines alive at once, each of which is touched twice while all live.
fn alive(n: usize) {
    started();
    const TOUCHES: usize = 2;
    /// Bytes for each: two pages, three where code is not optimised, and what the handle takes.
    const EACH: usize = 14 << 10;
    thread::spawn(|| ()).join().unwrap();
    let before = resident_kib();
    let touched: Arc<[AtomicUsize; TOUCHES + 1]> = Arc::default();
    let all: Vec<JoinHandle<usize>> = (0..n)
        .map(|i| {
            let touched = touched.clone();
            thread::spawn(move || {
                // On its own stack, and there it must be each time.
                let mine = std::hint::black_box([i; 16]);
                touched[0].fetch_add(1, SeqCst);
                for touch in &touched[1..] {
                    thread::park();
                    assert_eq!(mine, [i; 16]);
                    touch.fetch_add(1, SeqCst);
                }
                mine[i % 16]
            })
        })
        .collect();
    for round in 0..=TOUCHES {
        if round > 0 {
            assert_eq!(gort::stats().goroutines, n, "all are alive");
            all.iter().for_each(|g| g.thread().unpark());
        }
        assert!(eventually(LONG, || touched[round].load(SeqCst) == n), "round {round}: {touched:?}");
    }
    let held = (resident_kib() - before) * 1024 / n;
    assert!(held < EACH, "{held} bytes for each");
    assert!(kernel_threads() < FEW_THREADS, "{} kernel threads", kernel_threads());
    assert_eq!(all.into_iter().map(|g| g.join().unwrap()).sum::<usize>(), n * (n - 1) / 2);
    println!("sizes: {held} bytes for each of {n}");
}

/// So many goroutines asleep at once, each until a moment of its own.
fn sleepers(n: usize) {
    started();
    // How long after the start of all the first may wake: twice as long, until all slept before the first woke.
    let mut lead = Duration::from_secs(1);
    while !all_sleep(n, lead) {
        assert!(lead < LONG, "they do not come to sleep within {lead:?}");
        lead *= 2;
    }
}

fn all_sleep(n: usize, lead: Duration) -> bool {
    const APART: Duration = Duration::from_micros(10);
    let (asleep, awake, too_soon) =
        (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let first = Instant::now() + lead;
    let all: Vec<JoinHandle<Duration>> = (0..n)
        .map(|i| {
            let (asleep, awake, too_soon) = (asleep.clone(), awake.clone(), too_soon.clone());
            // Not in the order of deadlines.
            let until = first + APART * (i * 7919 % n) as u32;
            thread::spawn(move || {
                if asleep.fetch_add(1, SeqCst) + 1 == n && (awake.load(SeqCst) > 0 || Instant::now() >= first) {
                    too_soon.store(true, SeqCst);
                }
                thread::sleep(until.saturating_duration_since(Instant::now()));
                awake.fetch_add(1, SeqCst);
                // None may wake before its moment.
                Instant::now().checked_duration_since(until).expect("slept long enough")
            })
        })
        .collect();
    let late: Vec<_> = all.into_iter().map(|g| g.join().unwrap()).collect();
    assert_eq!(awake.load(SeqCst), n);
    assert!(kernel_threads() < FEW_THREADS, "{} kernel threads", kernel_threads());
    let worst = late.iter().max().unwrap();
    println!("sizes: {n} sleepers, the first due after {lead:?}; the latest woke {worst:?} after its time");
    !too_soon.load(SeqCst)
}

/// Many more Ps than processors (`GORT_PROCS` says how many): all run at once, wait for each other, and come to rest.
fn procs() {
    started();
    thread::spawn(|| ()).join().unwrap();
    let n = gort::stats().procs;
    // Each computes until all do.
    let here = Arc::new(AtomicUsize::new(0));
    let all: Vec<_> = (0..n)
        .map(|_| {
            let here = here.clone();
            thread::spawn(move || {
                here.fetch_add(1, SeqCst);
                while here.load(SeqCst) < n {
                    std::hint::spin_loop();
                }
            })
        })
        .collect();
    all.into_iter().for_each(|g| g.join().unwrap());
    // Locks, a barrier, channels and sleeps among twice as many goroutines as Ps.
    let (lock, barrier) = (Arc::new(Mutex::new(0)), Arc::new(Barrier::new(2 * n)));
    let (to, from) = mpsc::channel();
    let all: Vec<_> = (0..2 * n)
        .map(|i| {
            let (lock, barrier, to) = (lock.clone(), barrier.clone(), to.clone());
            thread::spawn(move || {
                for round in 0..10 {
                    barrier.wait();
                    *lock.lock().unwrap() += 1;
                    thread::sleep(Duration::from_micros(((i + round) % 7) as u64 * 100));
                    to.send(thread::spawn(move || i).join().unwrap()).unwrap();
                }
            })
        })
        .collect();
    drop(to);
    assert_eq!(from.iter().sum::<usize>(), 10 * n * (2 * n - 1));
    all.into_iter().for_each(|g| g.join().unwrap());
    assert_eq!(*lock.lock().unwrap(), 20 * n);
    rest();
}

/// Waits until the runtime has as few kernel threads as it keeps when idle.
fn rest() {
    let quiet = || {
        let s = gort::stats();
        s.kernel_threads <= 3 && s.idle_threads == s.kernel_threads
    };
    assert!(eventually(LONG, quiet), "{:?}", gort::stats());
}

/// Nothing to do: next to no processor time, and at most one wake-up a second, of all threads together.
fn idle(with: &str) {
    started();
    const SECONDS: u64 = 6;
    /// Processor time in microseconds: a thousandth.
    const MOST_TIME: i64 = SECONDS as i64 * 1000;
    // It has worked before, on more than one thread.
    thread::scope(|s| {
        for i in 0..200 {
            s.spawn(move || gort::ffi::blocking(|| block_for(Duration::from_micros(i * 50))));
        }
    });
    let _waits = match with {
        "nothing" => Vec::new(),
        "timer" => vec![thread::spawn(|| thread::sleep(Duration::from_secs(36_000)))],
        "netpoller" => {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let (mut near, far) = UnixStream::pair().unwrap();
            let reads = move || {
                let _far = far;
                near.read_exact(&mut [0]).unwrap();
            };
            vec![thread::spawn(move || drop(listener.accept())), thread::spawn(reads)]
        }
        other => panic!("idle with {other:?}?"),
    };
    rest();
    // sysmon goes to sleep when all has been idle for a while; this thread would keep nobody awake.
    block_for(Duration::from_millis(500));
    let before = usage();
    block_for(Duration::from_secs(SECONDS));
    let after = usage();
    let (time, wakes) = (after.0 - before.0, after.1 - before.1);
    println!("sizes: idle with {with}: {time} us of processor time and {wakes} wake-ups in {SECONDS} s");
    assert!(time < MOST_TIME, "{time} us of processor time in {SECONDS} s");
    // One is this thread's own, and one the moment at which counting began may have split.
    assert!(wakes <= SECONDS as i64 + 2, "{wakes} wake-ups in {SECONDS} s");
}

/// Processor time of this process in microseconds, and how often a thread of it has gone to sleep.
fn usage() -> (i64, i64) {
    // SAFETY: zeroes are a valid record, which the kernel then fills in.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        assert_eq!(libc::getrusage(libc::RUSAGE_SELF, &raw mut usage), 0);
        usage
    };
    let us = |t: libc::timeval| t.tv_sec * 1_000_000 + t.tv_usec;
    (us(usage.ru_utime) + us(usage.ru_stime), usage.ru_nvcsw)
}
