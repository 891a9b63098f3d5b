//! Mutexes that kernel threads release inside `pthread_cond_wait`, where no hook sees it, while goroutines wait for them.

use gort::thread;
use gort_tests::cthreads::CThread;
use gort_tests::kinds::{on_both, with_one_p_and_two};
use gort_tests::locks::*;
use gort_tests::measure::{all_wait, eventually, kernel_threads};
use gort_tests::needs_goroutines;
use gort_tests::queues::cancel_a_wait;
use libc::{CLOCK_MONOTONIC, ETIMEDOUT};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::Arc;
use std::time::{Duration, Instant};

const LONG: Duration = Duration::from_secs(30);

/// Rounds; fewer where each yield costs a time slice of somebody else's, since a processor is shared with many.
const ROUNDS: usize = 2000;
const ENOUGH: Duration = Duration::from_secs(5);

/// Two that take turns at one mutex.
struct Turns {
    mutex: CMutex,
    cond: CCond,
    /// 2n: round n has not begun. 2n + 1: the one that waits for the condition has the mutex.
    phase: AtomicUsize,
    wants: AtomicUsize,
    /// The round that is the last.
    last: AtomicUsize,
}

impl Turns {
    fn new() -> Arc<Turns> {
        let counts = || AtomicUsize::new(0);
        let last = AtomicUsize::new(ROUNDS - 1);
        Arc::new(Turns { mutex: CMutex::new(), cond: CCond::new(), phase: counts(), wants: counts(), last })
    }

    /// Takes the mutex, and releases it by a wait.
    fn wait(&self) {
        let start = Instant::now();
        for round in 0..ROUNDS {
            assert_eq!(self.mutex.lock(), 0);
            if start.elapsed() > ENOUGH {
                self.last.fetch_min(round, SeqCst);
            }
            self.phase.store(2 * round + 1, SeqCst);
            // Until the other wants the mutex; then for more or less time, so that it is found on its way and parked.
            while self.wants.load(SeqCst) <= round {
                std::thread::yield_now();
            }
            (0..round % 20).for_each(|_| std::thread::yield_now());
            while self.phase.load(SeqCst) == 2 * round + 1 {
                assert_eq!(self.cond.wait(&self.mutex), 0);
            }
            assert_eq!(self.mutex.unlock(), 0);
            if round == self.last.load(SeqCst) {
                return;
            }
        }
    }

    /// Takes the mutex while the other has it, and signals.
    fn signal(&self) {
        for round in 0..ROUNDS {
            while self.phase.load(SeqCst) != 2 * round + 1 {
                std::thread::yield_now();
            }
            self.wants.store(round + 1, SeqCst);
            assert_eq!(self.mutex.lock(), 0);
            self.phase.store(2 * round + 2, SeqCst);
            self.cond.signal();
            assert_eq!(self.mutex.unlock(), 0);
            // Set before the round began.
            if round == self.last.load(SeqCst) {
                return;
            }
        }
    }
}

/// A thread's wait for a condition releases the mutex inside libc. The goroutine that waits for the mutex then is the only one
/// who could go on, so nothing else makes up for a wake-up that gets lost.
#[test]
fn a_wait_of_a_thread_releases_the_mutex_to_a_goroutine() {
    if with_one_p_and_two("a_wait_of_a_thread_releases_the_mutex_to_a_goroutine") {
        let both = [Turns::new(), Turns::new()];
        // Two pairs at once, so that Ps change hands.
        let threads = both.clone().map(|turns| CThread::spawn(move || turns.wait()));
        let goroutines = both.map(|turns| thread::spawn(move || turns.signal()));
        goroutines.into_iter().for_each(|g| g.join().unwrap());
        threads.into_iter().for_each(CThread::join);
    }
}

/// The same the other way round, and among goroutines: they wait in the queue before they release the mutex.
#[test]
fn a_wait_of_a_goroutine_releases_the_mutex() {
    if with_one_p_and_two("a_wait_of_a_goroutine_releases_the_mutex") {
        let both = [Turns::new(), Turns::new()];
        let waiting = both.clone().map(|turns| thread::spawn(move || turns.wait()));
        let [first, second] = both;
        let thread = CThread::spawn(move || first.signal());
        thread::spawn(move || second.signal()).join().unwrap();
        waiting.into_iter().for_each(|g| g.join().unwrap());
        thread.join();
    }
}

/// As above with many of both kinds: threads that wait for a condition for microseconds, goroutines that want the mutex only.
#[test]
fn goroutines_contend_with_threads_that_wait() {
    if !with_one_p_and_two("goroutines_contend_with_threads_that_wait") {
        return;
    }
    struct All {
        mutex: CMutex,
        cond: CCond,
        sum: AtomicUsize,
    }
    let all = Arc::new(All { mutex: CMutex::new(), cond: CCond::by(CLOCK_MONOTONIC), sum: AtomicUsize::new(0) });
    on_both(&all, 4, |all, i| {
        for round in 0..5000 {
            if i % 2 == 0 {
                let at = moment(CLOCK_MONOTONIC, Duration::from_micros(10 * (round % 3)));
                all.mutex.with(|| assert!(matches!(all.cond.timed_wait(&all.mutex, at), 0 | ETIMEDOUT)));
            } else if round % 4 == 0 {
                let at = moment(CLOCK_MONOTONIC, Duration::from_micros(10));
                if all.mutex.clock_lock(CLOCK_MONOTONIC, at) == 0 {
                    assert_eq!(all.mutex.unlock(), 0);
                }
            } else {
                all.mutex.with(|| {
                    let sum = all.sum.load(SeqCst);
                    if round % 16 == 1 {
                        thread::yield_now();
                        all.cond.signal();
                    }
                    all.sum.store(sum + 1, SeqCst);
                });
            }
        }
    });
    assert_eq!(all.sum.load(SeqCst), 4 * 5000 / 4 * 3);
}

/// One goroutine waits in the kernel for those that are parked, and only while it is needed.
#[test]
fn one_goroutine_waits_in_the_kernel_for_all() {
    needs_goroutines!("kernel threads are counted");
    if !with_one_p_and_two("one_goroutine_waits_in_the_kernel_for_all") {
        return;
    }
    const MANY: usize = 1000;
    struct All {
        mutex: CMutex,
        cond: CCond,
        arrived: AtomicUsize,
        stop: AtomicBool,
        waits: AtomicBool,
    }
    let all = Arc::new(All {
        mutex: CMutex::new(),
        cond: CCond::new(),
        arrived: AtomicUsize::new(0),
        stop: AtomicBool::new(false),
        waits: AtomicBool::new(false),
    });
    let theirs = all.clone();
    let thread = CThread::spawn(move || {
        theirs.mutex.with(|| {
            theirs.waits.store(true, SeqCst);
            while !theirs.stop.load(SeqCst) {
                assert_eq!(theirs.cond.wait(&theirs.mutex), 0);
            }
        });
    });
    assert!(eventually(LONG, || all.waits.load(SeqCst)));
    assert_eq!(all.mutex.lock(), 0);
    let before = kernel_threads();
    let goroutines: Vec<_> = (0..MANY)
        .map(|_| {
            let all = all.clone();
            thread::spawn(move || {
                all.arrived.fetch_add(1, SeqCst);
                all.mutex.with(thread::yield_now);
            })
        })
        .collect();
    assert!(eventually(LONG, || all.arrived.load(SeqCst) == MANY));
    all_wait(1);
    let most = kernel_threads();
    assert!(most <= before + 60, "{most} kernel threads where there were {before}");
    assert_eq!(all.mutex.unlock(), 0);
    goroutines.into_iter().for_each(|g| g.join().unwrap());
    all.mutex.with(|| all.stop.store(true, SeqCst));
    all.cond.signal();
    thread.join();
}

#[test]
fn a_thread_may_be_cancelled_while_it_waits() {
    if !with_one_p_and_two("a_thread_may_be_cancelled_while_it_waits") {
        return;
    }
    let all = Arc::new((CMutex::of_type(libc::PTHREAD_MUTEX_ERRORCHECK), CCond::new(), AtomicBool::new(false)));
    let goroutines: Vec<_> = (0..4)
        .map(|_| {
            let all = all.clone();
            thread::spawn(move || {
                while !all.2.load(SeqCst) {
                    all.0.with(thread::yield_now);
                }
            })
        })
        .collect();
    (0..100).for_each(|_| assert!(cancel_a_wait(&all.0, &all.1)));
    // What the cancelled threads said of themselves is gone with them: a mutex is a mutex, and a signal comes.
    all.2.store(true, SeqCst);
    goroutines.into_iter().for_each(|g| g.join().unwrap());
    on_both(&all, 2, |all, _| all.0.with(|| ()));
}
