//! That std's waits park goroutines, and do not hold kernel threads; and what happens when parking is switched off.

use gort::thread;
use gort_tests::measure::{eventually, everywhere, kernel_threads};
use gort_tests::needs_goroutines;
use gort_tests::subprocess::{role, Rerun};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc;
use std::sync::{Arc, Barrier, Condvar, Mutex, OnceLock, RwLock};
use std::time::Duration;

/// 4000 goroutines in every kind of wait, on one P. That few kernel threads carry them proves that they park.
#[test]
fn thousands_wait_on_few_kernel_threads() {
    needs_goroutines!("kernel threads are counted");
    if role().is_none() {
        for chaos in ["", "1", "2"] {
            Rerun::of("thousands_wait_on_few_kernel_threads", "child")
                .env("GORT_PROCS", "1")
                .env("GORT_CHAOS", chaos)
                .run()
                .success();
        }
        return;
    }
    const N: usize = 500;
    let arrived = Arc::new(AtomicUsize::new(0));
    let ended = Arc::new(AtomicUsize::new(0));
    let lock = Arc::new(Mutex::new(0));
    let shared = Arc::new(RwLock::new(()));
    let condition = Arc::new((Mutex::new(false), Condvar::new()));
    let barrier = Arc::new(Barrier::new(N + 1));
    let (to, from) = mpsc::channel::<()>();
    let from = Arc::new(Mutex::new(from));
    let once = Arc::new(OnceLock::new());
    let open = Arc::new(AtomicBool::new(false));
    let handles = Arc::new(Mutex::new(Vec::new()));
    let locked = lock.lock().unwrap();
    let written = shared.write().unwrap();
    let init = once.clone();
    let gate = open.clone();
    let begun = Arc::new(AtomicBool::new(false));
    let theirs = begun.clone();
    let initialiser = thread::spawn(move || {
        init.get_or_init(|| {
            theirs.store(true, SeqCst);
            while !gate.load(SeqCst) {
                thread::park();
            }
        });
    });
    assert!(eventually(Duration::from_secs(30), || begun.load(SeqCst)));
    let mut all = Vec::new();
    let mut start = |f: Box<dyn FnOnce() + Send>| {
        let (arrived, ended) = (arrived.clone(), ended.clone());
        all.push(thread::spawn(move || {
            arrived.fetch_add(1, SeqCst);
            f();
            ended.fetch_add(1, SeqCst);
        }));
    };
    for _ in 0..N {
        let l = lock.clone();
        start(Box::new(move || *l.lock().unwrap() += 1));
        let l = shared.clone();
        start(Box::new(move || drop(l.read().unwrap())));
        let c = condition.clone();
        start(Box::new(move || drop(c.1.wait_while(c.0.lock().unwrap(), |set| !*set).unwrap())));
        let b = barrier.clone();
        start(Box::new(move || {
            b.wait();
        }));
        let f = from.clone();
        start(Box::new(move || assert!(f.lock().unwrap().recv().is_err())));
        let o = once.clone();
        start(Box::new(move || *o.get_or_init(|| panic!("made elsewhere"))));
        let (o, h) = (open.clone(), handles.clone());
        start(Box::new(move || {
            h.lock().unwrap().push(std::thread::current());
            while !o.load(SeqCst) {
                std::thread::park();
            }
        }));
        let o = open.clone();
        start(Box::new(move || {
            while !o.load(SeqCst) {
                std::thread::sleep(Duration::from_millis(20));
            }
        }));
    }
    assert!(eventually(Duration::from_secs(30), || arrived.load(SeqCst) == 8 * N));
    (0..20).for_each(|_| thread::spawn(|| ()).join().unwrap());
    assert_eq!(ended.load(SeqCst), 0);
    assert!(eventually(Duration::from_secs(30), || gort::stats().goroutines == 8 * N + 1), "{:?}", gort::stats());
    let (ours, kernel) = (gort::stats().kernel_threads, kernel_threads());
    // One carries them; on a busy machine a P may be taken from an M that the kernel lets wait, and another M be made.
    assert!(ours <= 64, "{ours} kernel threads for goroutines that all wait");
    assert!(kernel <= 70, "{kernel} kernel threads in the process");

    open.store(true, SeqCst);
    initialiser.thread().unpark();
    drop((locked, written, to));
    *condition.0.lock().unwrap() = true;
    condition.1.notify_all();
    barrier.wait();
    initialiser.join().unwrap();
    handles.lock().unwrap().iter().for_each(std::thread::Thread::unpark);
    all.into_iter().for_each(|g| g.join().unwrap());
    assert_eq!(*lock.lock().unwrap(), N);
}

/// With parking switched off everything goes on, on kernel threads.
#[test]
fn without_interposition_it_is_slower_never_wrong() {
    if role().is_none() {
        for procs in ["1", "2"] {
            Rerun::of("without_interposition_it_is_slower_never_wrong", "child")
                .env("GORT_INTERPOSE", "0")
                .env("GORT_PROCS", procs)
                .run()
                .success();
        }
        return;
    }
    let report = gort::interpose::report();
    assert!(!report.enabled && !report.all_live() && report.to_string().contains("off"));
    everywhere(|| {
        let (sum, barrier) = (Mutex::new(0), Barrier::new(20));
        let changed = Condvar::new();
        let (to, from) = mpsc::sync_channel(0);
        thread::scope(|s| {
            for i in 0..20 {
                let (sum, barrier, changed, to) = (&sum, &barrier, &changed, to.clone());
                s.spawn(move || {
                    for _ in 0..20 {
                        *sum.lock().unwrap() += 1;
                        thread::yield_now();
                    }
                    changed.notify_all();
                    barrier.wait();
                    std::thread::sleep(Duration::from_millis(1));
                    to.send(i).unwrap();
                });
            }
            assert_eq!(from.iter().take(20).sum::<i32>(), 190);
            drop(changed.wait_while(sum.lock().unwrap(), |n| *n < 400).unwrap());
        });
        assert_eq!(*sum.lock().unwrap(), 400);
    });
}
