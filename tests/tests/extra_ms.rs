//! The extra Ms of C threads: one a thread, kept from its first callback to its exit, given back once, never lost.
//!
//! Each scenario runs in a process of its own, since the counts are the process's.

use gort::ffi;
use gort_tests::cthreads::{through_c, CThread};
use gort_tests::dumps::dumped;
use gort_tests::measure::resident_kib;
use gort_tests::subprocess::alone;
use std::collections::HashSet;
use std::ffi::c_void;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{mpsc, Arc, Barrier};

/// Extra Ms made, extra Ms in use, callbacks under way.
fn counts() -> (usize, usize, usize) {
    let stats = gort::stats();
    (stats.extra_ms, stats.extra_ms_in_use, stats.callbacks)
}

/// Row R-13.
#[test]
fn the_next_thread_gets_the_same_m() {
    alone("the_next_thread_gets_the_same_m", || {
        assert_eq!(counts(), (0, 0, 0));
        for _ in 0..5 {
            assert_eq!(CThread::spawn(|| ffi::callback(counts)).join(), (1, 1, 1));
            assert_eq!(counts(), (1, 0, 0), "given back");
        }
    });
}

/// Row R-50.
#[test]
fn a_thread_keeps_its_m() {
    alone("a_thread_keeps_its_m", || {
        /// The number of the one M that is in a callback.
        fn own() -> String {
            let dump = dumped();
            let lines: Vec<_> = dump.lines().filter(|line| line.starts_with("extra M ")).collect();
            assert_eq!(lines.len(), 1, "{dump}");
            lines[0].split(':').next().unwrap().to_owned()
        }
        let gate = Arc::new(Barrier::new(2));
        let body = |me: usize, gate: Arc<Barrier>| {
            move || {
                ffi::callback(|| ());
                let mut seen = HashSet::new();
                for turn in 0..200 {
                    gate.wait();
                    assert_eq!(counts().1, 2, "in C, both stay bound");
                    if turn % 2 == me {
                        seen.insert(ffi::callback(own));
                    }
                }
                gate.wait();
                for _ in 0..100 {
                    assert_eq!(ffi::callback(|| counts().1), 2, "no callback binds another");
                }
                gate.wait();
                assert_eq!(counts().0, 2);
                seen
            }
        };
        let threads = [0, 1].map(|me| CThread::spawn(body(me, gate.clone())));
        let seen = threads.map(CThread::join);
        assert!(
            seen.iter().all(|seen| seen.len() == 1) && seen[0] != seen[1],
            "each its own, always the same: {seen:?}"
        );
        assert_eq!(counts(), (2, 0, 0));
    });
}

#[test]
fn as_many_as_threads_at_one_time() {
    alone("as_many_as_threads_at_one_time", || {
        for crowd in [5, 3, 7, 7] {
            let gate = Arc::new(Barrier::new(crowd));
            let threads: Vec<_> = (0..crowd)
                .map(|_| {
                    let gate = gate.clone();
                    CThread::spawn(move || {
                        ffi::callback(|| {
                            gate.wait();
                            let now = counts();
                            gate.wait();
                            now
                        })
                    })
                })
                .collect();
            for thread in threads {
                let (_, in_use, inside) = thread.join();
                assert_eq!((in_use, inside), (crowd, crowd));
            }
        }
        assert_eq!(counts(), (7, 0, 0));
    });
}

/// Row.
#[test]
fn having_an_m_is_not_being_inside() {
    alone("having_an_m_is_not_being_inside", || {
        CThread::spawn(|| {
            assert_eq!(counts(), (0, 0, 0), "before the first callback");
            ffi::callback(|| {
                assert_eq!(counts(), (1, 1, 1));
                through_c(|| ffi::callback(|| assert_eq!(counts(), (1, 1, 1), "nested")));
                assert_eq!(counts(), (1, 1, 1), "a nested callback has returned, the outer one has not");
                let caught = through_c(|| ffi::try_callback(|| panic!("nested")));
                assert!(caught.is_err());
                assert_eq!(counts(), (1, 1, 1), "nor does a panic end the outer one");
            });
            assert_eq!(counts(), (1, 1, 0), "in C");
            assert_eq!(ffi::callback(counts), (1, 1, 1), "in the second callback");
            assert!(ffi::try_callback(|| panic!("outermost")).is_err());
            assert_eq!(counts(), (1, 1, 0), "in C again");
        })
        .join();
        assert_eq!(counts(), (1, 0, 0), "gone");
    });
}

#[test]
fn goroutines_need_none() {
    alone("goroutines_need_none", || {
        let seen = gort::thread::spawn(|| through_c(|| ffi::callback(counts))).join().unwrap();
        assert_eq!(seen, (0, 0, 0));
        let seen = gort::thread::spawn(|| ffi::on_system_stack(|| ffi::callback(counts))).join().unwrap();
        assert_eq!(seen, (0, 0, 0));
    });
}

/// Row X-29.
#[test]
fn without_a_key_an_m_is_bound_for_each_call() {
    alone("without_a_key_an_m_is_bound_for_each_call", || {
        let mut keys = 0;
        loop {
            let mut key = 0;
            // SAFETY: `key` is ours to write.
            if unsafe { libc::pthread_key_create(&raw mut key, None) } != 0 {
                break;
            }
            keys += 1;
        }
        assert!(keys > 100, "all keys of the process are used up");
        let body = || {
            for _ in 0..100 {
                let inner = ffi::callback(|| {
                    assert_eq!(counts(), (1, 1, 1));
                    through_c(|| ffi::callback(counts))
                });
                assert_eq!(inner, (1, 1, 1), "nested calls share the M");
                assert_eq!(counts(), (1, 0, 0), "given back after the call");
                assert!(ffi::try_callback(|| panic!()).is_err());
                assert_eq!(counts(), (1, 0, 0), "given back after a panic");
                assert!(gort::testing::is_none());
            }
        };
        CThread::spawn(body).join();
        CThread::spawn(body).join();
        assert_eq!(counts(), (1, 0, 0));
    });
}

/// A key of the host whose destructor calls in and, as long as `left` is not 0, sets the key again for another round.
struct Key {
    key: AtomicU32,
    left: AtomicUsize,
    calls: AtomicUsize,
    none_before: AtomicUsize,
}

static KEY: Key = Key {
    key: AtomicU32::new(0),
    left: AtomicUsize::new(0),
    calls: AtomicUsize::new(0),
    none_before: AtomicUsize::new(0),
};

impl Key {
    fn create() {
        let mut key = 0;
        // SAFETY: `key` is ours to write.
        assert_eq!(unsafe { libc::pthread_key_create(&raw mut key, Some(key_destructor)) }, 0);
        KEY.key.store(key, Ordering::Relaxed);
    }

    fn arm(rounds: usize) {
        KEY.left.store(rounds, Ordering::Relaxed);
        KEY.calls.store(0, Ordering::Relaxed);
        KEY.none_before.store(0, Ordering::Relaxed);
        Key::set();
    }

    fn set() {
        // SAFETY: the key exists; its value is any that is not null.
        assert_eq!(unsafe { libc::pthread_setspecific(KEY.key.load(Ordering::Relaxed), (&raw const KEY).cast()) }, 0);
    }
}

unsafe extern "C" fn key_destructor(_value: *mut c_void) {
    KEY.none_before.fetch_add(usize::from(gort::testing::is_none()), Ordering::Relaxed);
    ffi::callback(|| KEY.calls.fetch_add(1, Ordering::Relaxed));
    if KEY.left.fetch_sub(1, Ordering::Relaxed) > 1 {
        Key::set();
    }
}

/// Threads whose host key is set for `rounds` rounds of destructors; checks that each round called in, that nothing is
/// left over, and that the runtime's own destructor had run before all but `bound` of them.
fn key_rounds(bound: usize, calls_in_first: bool) {
    for rounds in 1..=4 {
        CThread::spawn(move || {
            if calls_in_first {
                ffi::callback(|| ());
            }
            Key::arm(rounds);
        })
        .join();
        assert_eq!(KEY.calls.load(Ordering::Relaxed), rounds);
        assert_eq!(KEY.none_before.load(Ordering::Relaxed), rounds - bound, "of {rounds}");
        assert_eq!(counts(), (1, 0, 0), "after {rounds} rounds");
    }
}

/// Row X-07.
#[test]
fn a_key_destructor_after_ours_calls_in() {
    alone("a_key_destructor_after_ours_calls_in", || {
        CThread::spawn(|| ffi::callback(|| ())).join(); // makes the runtime's key
        Key::create(); // glibc runs destructors in the order of the keys
        key_rounds(0, true);
    });
}

#[test]
fn a_key_destructor_before_ours_calls_in() {
    alone("a_key_destructor_before_ours_calls_in", || {
        Key::create();
        CThread::spawn(|| ffi::callback(|| ())).join();
        key_rounds(1, true);
    });
}

#[test]
fn the_first_callback_of_a_thread_is_in_a_key_destructor() {
    alone("the_first_callback_of_a_thread_is_in_a_key_destructor", || {
        Key::create();
        CThread::spawn(|| ffi::callback(|| ())).join();
        // The runtime's destructor runs right behind the host's, in each round.
        for rounds in 1..=4 {
            CThread::spawn(move || Key::arm(rounds)).join();
            assert_eq!(KEY.calls.load(Ordering::Relaxed), rounds);
            assert_eq!(counts(), (1, 0, 0), "after {rounds} rounds");
        }
    });
}

/// Row C-27, X-02.
#[test]
fn twelve_thousand_threads_in_turn_leave_nothing() {
    const NAME: &str = "twelve_thousand_threads_in_turn_leave_nothing";
    /// What the process has: extra Ms made and in use, kernel threads, mappings, descriptors, KiB of memory.
    fn inventory() -> [usize; 6] {
        let entries = |path| std::fs::read_dir(path).unwrap().count();
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap().lines().count();
        let (made, in_use, _) = counts();
        [made, in_use, entries("/proc/self/task"), maps, entries("/proc/self/fd"), resident_kib()]
    }
    alone(NAME, || {
        let woken = Arc::new(AtomicUsize::new(0));
        let in_turn = |n: usize| {
            for i in 0..n {
                let woken = woken.clone();
                CThread::spawn(move || match i % 4 {
                    // A call, several, one that waits for a goroutine, one that is left by a panic.
                    0 => ffi::callback(|| _ = woken.fetch_add(1, Ordering::Relaxed)),
                    1 => (0..3).for_each(|_| ffi::callback(|| assert!(!gort::thread::is_goroutine()))),
                    2 => ffi::callback(|| {
                        gort::thread::spawn(move || woken.fetch_add(1, Ordering::Relaxed)).join().unwrap();
                    }),
                    _ => assert!(ffi::try_callback(|| std::panic::resume_unwind(Box::new(i))).is_err()),
                })
                .join();
            }
        };
        in_turn(400);
        let before = inventory();
        in_turn(12_000);
        let after = inventory();
        assert_eq!(woken.load(Ordering::Relaxed), 12_400 / 2);
        assert_eq!(after[..2], [1, 0], "each gets the same M, and gives it back");
        // The kernel threads that run goroutines come and go, at most one a P and some that chaos or a busy machine adds, each
        // with about eight mappings, which libc keeps. What one thread in a hundred left would be 120 of its kind.
        let grown = before.iter().zip(&after).zip([0, 0, 8, 100, 0, 2048]).any(|((b, a), most)| *a > b + most);
        assert!(!grown, "{before:?}, then {after:?}");
    });
}

/// How many threads more this process may have, as far as files tell: of the process's own group, and of the machine.
fn threads_allowed() -> usize {
    let number = |path: &str| std::fs::read_to_string(path).ok()?.trim().parse::<usize>().ok();
    let group = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let group = group.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/").to_string();
    let path = format!("/sys/fs/cgroup{group}");
    let of_group = number(&format!("{path}/pids.max"))
        .map(|most| most.saturating_sub(number(&format!("{path}/pids.current")).unwrap_or(most)));
    // SAFETY: the record is ours to write.
    let own = unsafe {
        let mut limit: libc::rlimit = std::mem::zeroed();
        assert_eq!(libc::getrlimit(libc::RLIMIT_NPROC, &raw mut limit), 0);
        limit.rlim_cur as usize
    };
    // A stack takes two mappings, and its guard splits one.
    let mappings = number("/proc/sys/vm/max_map_count").unwrap_or(65_530) / 3;
    let machine = number("/proc/sys/kernel/threads-max").unwrap_or(usize::MAX) / 2;
    let numbers = number("/proc/sys/kernel/pid_max").unwrap_or(32_768) / 2;
    [of_group.unwrap_or(usize::MAX), own, mappings, machine, numbers].into_iter().min().expect("some")
}

/// Row X-02. All of them are in a callback, and wait for the same goroutine.
#[test]
fn twelve_thousand_threads_alive_at_once() {
    const NAME: &str = "twelve_thousand_threads_alive_at_once";
    alone(NAME, || {
        let crowd = 12_000.min(threads_allowed().saturating_sub(300));
        if crowd < 12_000 {
            eprintln!("{crowd} threads in place of 12,000: the system's limits");
        }
        let (inside, all_inside) = mpsc::channel();
        let go = Arc::new(std::sync::RwLock::new(0));
        let held = go.write().unwrap();
        let threads: Vec<_> = (0..crowd)
            .map(|_| {
                let (inside, go) = (inside.clone(), go.clone());
                CThread::sized(libc::PTHREAD_STACK_MIN.max(64 << 10), move || {
                    ffi::callback(|| {
                        inside.send(()).unwrap();
                        *go.read().unwrap()
                    })
                })
            })
            .collect();
        gort::thread::spawn(move || all_inside.into_iter().take(crowd).count()).join().unwrap();
        assert_eq!(counts(), (crowd, crowd, crowd));
        drop(held);
        assert_eq!(threads.into_iter().map(CThread::join).max(), Some(0));
        assert_eq!(counts(), (crowd, 0, 0));
        assert_eq!(CThread::spawn(|| ffi::callback(counts)).join(), (crowd, 1, 1), "one of those that there are");
    });
}

#[test]
fn a_blocked_callback_holds_nobody_up() {
    alone("a_blocked_callback_holds_nobody_up", || {
        let (go, gone) = mpsc::channel::<()>();
        let (inside, is_inside) = mpsc::channel();
        let blocked = CThread::spawn(move || {
            ffi::callback(|| {
                inside.send(()).unwrap();
                gone.recv().unwrap();
            });
        });
        is_inside.recv().unwrap();
        assert_eq!(counts(), (1, 1, 1));
        for _ in 0..20 {
            CThread::spawn(|| ffi::callback(|| ())).join();
            assert_eq!(gort::thread::spawn(|| 1).join().unwrap(), 1);
        }
        assert_eq!(counts(), (2, 1, 1));
        go.send(()).unwrap();
        blocked.join();
        assert_eq!(counts(), (2, 0, 0));
    });
}
