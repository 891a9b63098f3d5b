//! C's locks on goroutines: they exclude, and they park.

use gort::thread;
use gort_tests::backend::goroutines_are_threads;
use gort_tests::kinds::with_one_p_and_two;
use gort_tests::locks::*;
use gort_tests::measure::{all_wait, eventually, everywhere, kernel_threads, on_goroutine};
use gort_tests::needs_goroutines;
use gort_tests::queues::{c11_once, cpp_once, Pair, Queue};
use gort_tests::release;
use libc::{CLOCK_MONOTONIC, EBUSY, ETIMEDOUT};
use std::cell::{Cell, UnsafeCell};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering::SeqCst};
use std::sync::Arc;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(30);
const SHORT: Duration = Duration::from_millis(3);

/// A number that is changed without atomic operations: only a lock makes that right.
struct Plain(UnsafeCell<u64>);

// SAFETY: the tests change it under the lock they test.
unsafe impl Sync for Plain {}

impl Plain {
    fn add_slowly(&self, slowly: bool) {
        // SAFETY: the lock under test is held; that is what is tested.
        unsafe {
            let old = *self.0.get();
            if slowly {
                thread::yield_now();
            }
            *self.0.get() = old + 1;
        }
    }
}

/// Eight goroutines add to a number, 500 times each, within `locked`.
fn add_up(locked: impl Fn(&dyn Fn()) + Sync) {
    let n = Plain(UnsafeCell::new(0));
    thread::scope(|s| {
        for i in 0..8usize {
            let (n, locked) = (&n, &locked);
            s.spawn(move || (0..500).for_each(|round| locked(&|| n.add_slowly((round + i).is_multiple_of(16)))));
        }
    });
    assert_eq!(n.0.into_inner(), 4000);
}

const TYPES: [i32; 4] = [
    libc::PTHREAD_MUTEX_NORMAL,
    libc::PTHREAD_MUTEX_RECURSIVE,
    libc::PTHREAD_MUTEX_ERRORCHECK,
    libc::PTHREAD_MUTEX_ADAPTIVE_NP,
];

#[test]
fn mutexes_of_all_types_exclude() {
    for kind in TYPES {
        let mutex = CMutex::of_type(kind);
        add_up(|f| mutex.with(f));
        add_up(|f| {
            // As by a poll: most of the deadlines pass.
            while mutex.clock_lock(CLOCK_MONOTONIC, moment(CLOCK_MONOTONIC, Duration::from_micros(20))) == ETIMEDOUT {}
            f();
            assert_eq!(mutex.unlock(), 0);
        });
    }
}

#[test]
fn readers_writer_locks_exclude() {
    for kind in [READERS_FIRST, WRITERS_FIRST] {
        let lock = CRwLock::of_kind(kind);
        add_up(|f| {
            assert_eq!(lock.write(), 0);
            f();
            lock.unlock();
        });
        let (readers, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let n = Plain(UnsafeCell::new(0));
        thread::scope(|s| {
            for i in 0..8usize {
                let (lock, n, readers, most) = (&lock, &n, &readers, &most);
                s.spawn(move || {
                    for round in 0..300 {
                        if (round + i).is_multiple_of(5) {
                            assert_eq!(lock.write(), 0);
                            assert_eq!(readers.load(SeqCst), 0);
                            n.add_slowly(round % 10 == 0);
                        } else {
                            assert_eq!(lock.read(), 0);
                            most.fetch_max(readers.fetch_add(1, SeqCst) + 1, SeqCst);
                            thread::yield_now();
                            readers.fetch_sub(1, SeqCst);
                        }
                        lock.unlock();
                    }
                });
            }
        });
        assert_eq!(n.0.into_inner(), 8 * 60);
        assert!(most.into_inner() > 1, "readers never met");
    }
}

/// A lock that prefers writers does so also if the writer is a goroutine; and however many of them wait, one suffices.
#[test]
fn a_goroutine_that_wants_to_write_keeps_readers_out() {
    let (lock, written) = (CRwLock::of_kind(WRITERS_FIRST), AtomicUsize::new(0));
    assert_eq!(lock.read(), 0);
    let before = kernel_threads();
    thread::scope(|s| {
        for _ in 0..100 {
            s.spawn(|| {
                assert_eq!(lock.write(), 0);
                written.fetch_add(1, SeqCst);
                lock.unlock();
            });
        }
        assert!(eventually(LONG, || match lock.try_read() {
            0 => {
                lock.unlock();
                false
            }
            error => error == EBUSY,
        }));
        let late = s.spawn(|| {
            assert_eq!(lock.read(), 0);
            let written = written.load(SeqCst);
            lock.unlock();
            written
        });
        // Others tests in this process make threads as well, but not as many.
        assert!(goroutines_are_threads() || kernel_threads() < before + 60);
        assert_eq!(written.load(SeqCst), 0);
        lock.unlock();
        assert!(late.join().unwrap() > 0);
    });
    assert_eq!(written.into_inner(), 100);
}

#[test]
fn semaphores_and_spin_locks_exclude() {
    let sem = CSem::new(1);
    add_up(|f| {
        sem.wait();
        f();
        sem.post();
    });
    add_up(|f| {
        while sem.clock_wait(CLOCK_MONOTONIC, moment(CLOCK_MONOTONIC, Duration::from_micros(20))) == ETIMEDOUT {}
        f();
        sem.post();
    });
    let spin = AtomicI32::new(0);
    // SAFETY: room for a spin lock, which is initialised before it is used.
    assert_eq!(unsafe { libc::pthread_spin_init(spin.as_ptr(), libc::PTHREAD_PROCESS_PRIVATE) }, 0);
    add_up(|f| {
        // SAFETY: initialised above.
        assert_eq!(unsafe { libc::pthread_spin_lock(spin.as_ptr()) }, 0);
        f();
        // SAFETY: held.
        assert_eq!(unsafe { libc::pthread_spin_unlock(spin.as_ptr()) }, 0);
    });
}

/// Goroutines that wait for a lock of C's hold no kernel thread.
#[test]
fn a_thousand_wait_on_few_kernel_threads() {
    needs_goroutines!("kernel threads are counted");
    const NAME: &str = "a_thousand_wait_on_few_kernel_threads";
    const MANY: usize = 1000;
    if !with_one_p_and_two(NAME) {
        return;
    }
    struct All {
        mutex: CMutex,
        held: CMutex,
        cond: CCond,
        open: AtomicBool,
        sem: CSem,
        lock: CRwLock,
        barrier: CBarrier,
        full: Queue,
    }
    let all = Arc::new(All {
        mutex: CMutex::new(),
        held: CMutex::new(),
        cond: CCond::new(),
        open: AtomicBool::new(false),
        sem: CSem::new(0),
        lock: CRwLock::of_kind(READERS_FIRST),
        barrier: CBarrier::new(MANY as u32 + 1),
        full: Queue::cpp(),
    });
    (0..4).for_each(|_| all.full.put(0));
    type Wait = fn(&All);
    let kinds: [(Wait, Wait); 6] = [
        (|all| all.held.with(|| ()), |all| assert_eq!(all.held.unlock(), 0)),
        (
            |all| {
                all.mutex.with(|| {
                    while !all.open.load(SeqCst) {
                        assert_eq!(all.cond.wait(&all.mutex), 0);
                    }
                });
            },
            |all| {
                all.open.store(true, SeqCst);
                all.mutex.with(|| all.cond.broadcast());
            },
        ),
        (|all| all.sem.wait(), |all| (0..MANY).for_each(|_| all.sem.post())),
        (
            |all| {
                assert_eq!(all.lock.read(), 0);
                all.lock.unlock();
            },
            |all| all.lock.unlock(),
        ),
        (
            |all| {
                all.barrier.wait();
            },
            |all| {
                all.barrier.wait();
                all.barrier.destroy();
            },
        ),
        (|all| all.full.put(0), |all| (0..MANY).for_each(|_| assert_eq!(all.full.take(), 0))),
    ];
    assert_eq!((all.held.lock(), all.lock.write()), (0, 0));
    let before = kernel_threads();
    for (wait, release) in kinds {
        let (arrived, back) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let goroutines: Vec<_> = (0..MANY)
            .map(|_| {
                let (all, arrived, back) = (all.clone(), arrived.clone(), back.clone());
                thread::spawn(move || {
                    arrived.fetch_add(1, SeqCst);
                    wait(&all);
                    back.fetch_add(1, SeqCst);
                })
            })
            .collect();
        assert!(eventually(LONG, || arrived.load(SeqCst) == MANY));
        all_wait(0);
        let most = kernel_threads();
        assert!(most <= before + 60, "{most} kernel threads where there were {before}");
        assert_eq!(back.load(SeqCst), 0);
        release(&all);
        goroutines.into_iter().for_each(|g| g.join().unwrap());
    }
}

#[test]
fn once_runs_once() {
    static CONTROL: AtomicI32 = AtomicI32::new(libc::PTHREAD_ONCE_INIT);
    static RUNS: AtomicUsize = AtomicUsize::new(0);
    static READY: AtomicBool = AtomicBool::new(false);
    extern "C" fn routine() {
        RUNS.fetch_add(1, SeqCst);
        thread::sleep(SHORT);
        READY.store(true, SeqCst);
    }
    extern "C" {
        fn pthread_once(control: *mut i32, routine: extern "C" fn()) -> i32;
    }
    thread::scope(|s| {
        for _ in 0..8 {
            s.spawn(|| {
                // SAFETY: the control is initialised, and a static.
                assert_eq!(unsafe { pthread_once(CONTROL.as_ptr(), routine) }, 0);
                assert!(READY.load(SeqCst));
            });
        }
    });
    assert_eq!(RUNS.load(SeqCst), 1);
    everywhere(|| assert_eq!(c11_once(), 1));
    // Until 2.34 glibc's own `pthread_once` hangs after an exception, on any thread.
    if release::running() >= (2, 34) {
        on_goroutine(|| assert_eq!(cpp_once(), 12, "an exception comes through, and the flag is set afterwards"));
        assert_eq!(cpp_once(), 2);
    }
}

#[test]
fn the_locks_of_c11_and_of_cpp() {
    for queue in [Queue::c11(), Queue::cpp()] {
        let sum = AtomicUsize::new(0);
        thread::scope(|s| {
            for _ in 0..4 {
                s.spawn(|| (1..=250).for_each(|i| queue.put(i)));
                s.spawn(|| {
                    let taken: i64 = (0..250).map(|_| queue.take()).sum();
                    sum.fetch_add(taken as usize, SeqCst)
                });
            }
        });
        assert_eq!(sum.into_inner(), 4 * 250 * 251 / 2);
    }
    let queue = Queue::c11();
    everywhere(|| assert!(queue.is_held()));
    let pair = Pair::new();
    thread::scope(|s| {
        for _ in 0..8 {
            s.spawn(|| {
                for _ in 0..200 {
                    pair.add();
                    assert!(pair.read() > 0);
                }
            });
        }
    });
    assert_eq!(pair.read(), 1600);
}

/// Thread-local storage and the stack are as before, wherever a lock moved the goroutine.
#[test]
fn a_goroutine_stays_itself_while_it_waits() {
    thread_local!(static MINE: Cell<usize> = const { Cell::new(0) });
    let (mutex, cond) = (CMutex::new(), CCond::new());
    let turn = AtomicUsize::new(0);
    thread::scope(|s| {
        for i in 0..8usize {
            let (mutex, cond, turn) = (&mutex, &cond, &turn);
            s.spawn(move || {
                MINE.set(i);
                for round in 0..100 {
                    mutex.with(|| {
                        while turn.load(SeqCst) != round * 8 + i {
                            assert_eq!(cond.wait(mutex), 0);
                        }
                        assert_eq!(MINE.get(), i);
                        turn.fetch_add(1, SeqCst);
                        cond.broadcast();
                    });
                }
            });
        }
    });
    assert_eq!(turn.into_inner(), 800);
}
