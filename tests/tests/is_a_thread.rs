//! A goroutine is a thread to any code in it: thread-local storage, errno, identity, panics, files, child processes.

use gort::thread;
use gort_tests::measure::on_goroutine;
use gort_tests::needs_goroutines;
use gort_tests::subprocess::{role, Rerun};
use std::backtrace::{Backtrace, BacktraceStatus};
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::io::{Read, Seek, SeekFrom, Write};
use std::net::ToSocketAddrs;
use std::panic::catch_unwind;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{mpsc, Arc, Mutex};

/// Parks the caller and lets another goroutine wake it, so that it may go on on another kernel thread.
fn park_once() {
    let me = thread::current();
    let (to, from) = mpsc::channel::<()>();
    thread::spawn(move || {
        me.unpark();
        drop(to);
    });
    thread::park();
    from.recv().unwrap_err();
}

thread_local! {
    static COUNT: Cell<u32> = const { Cell::new(0) };
    static LIST: RefCell<Vec<u32>> = RefCell::new(vec![1000]);
}

#[test]
fn thread_locals_are_fresh_and_stay_over_parks() {
    COUNT.set(77);
    let all: Vec<_> = (0..200u32)
        .map(|i| {
            thread::spawn(move || {
                assert_eq!(COUNT.replace(i), 0, "fresh");
                LIST.with_borrow_mut(|list| {
                    assert_eq!(*list, [1000], "fresh");
                    list.push(i);
                });
                for _ in 0..5 {
                    park_once();
                    assert_eq!(COUNT.get(), i);
                    LIST.with_borrow(|list| assert_eq!(*list, [1000, i]));
                }
            })
        })
        .collect();
    all.into_iter().for_each(|g| g.join().unwrap());
    assert_eq!(COUNT.get(), 77);
}

/// Row P-06.
#[test]
fn a_live_borrow_of_a_thread_local_survives_migration() {
    needs_goroutines!("they do not migrate");
    if role().is_none() {
        for seed in 1..=5 {
            Rerun::of("a_live_borrow_of_a_thread_local_survives_migration", "child")
                .env("GORT_CHAOS", seed.to_string())
                .env("GORT_PROCS", "2")
                .run()
                .success();
        }
        return;
    }
    let moved = Arc::new(AtomicUsize::new(0));
    let all: Vec<_> = (0..100u32)
        .map(|i| {
            let moved = moved.clone();
            thread::spawn(move || {
                LIST.with(|list| {
                    let mut borrow = list.borrow_mut();
                    for round in 0..20 {
                        // SAFETY: no preconditions.
                        let before = unsafe { libc::syscall(libc::SYS_gettid) };
                        park_once();
                        // SAFETY: no preconditions.
                        if unsafe { libc::syscall(libc::SYS_gettid) } != before {
                            moved.fetch_add(1, SeqCst);
                        }
                        borrow.push(i + round);
                        LIST.with(|again| assert!(again.try_borrow().is_err(), "the same variable, still borrowed"));
                    }
                    assert_eq!(borrow.len(), 21);
                })
            })
        })
        .collect();
    all.into_iter().for_each(|g| g.join().unwrap());
    assert!(moved.load(SeqCst) > 0, "under chaos some park is followed by another kernel thread");
}

/// Row C-19.
#[test]
fn errno_is_the_goroutines_own() {
    let all: Vec<_> = (1..=100)
        .map(|i| {
            thread::spawn(move || {
                // SAFETY: the location is the goroutine's own; it is asked for anew each time.
                unsafe {
                    assert_eq!(*libc::__errno_location(), 0, "fresh");
                    *libc::__errno_location() = i;
                    for _ in 0..10 {
                        thread::yield_now();
                        assert_eq!(*libc::__errno_location(), i);
                    }
                }
            })
        })
        .collect();
    all.into_iter().for_each(|g| g.join().unwrap());
}

#[test]
fn stds_thread_id_is_unique_and_stable() {
    let ids = Arc::new(Mutex::new(HashSet::new()));
    let all: Vec<_> = (0..200)
        .map(|_| {
            let ids = ids.clone();
            thread::spawn(move || {
                let id = std::thread::current().id();
                assert!(ids.lock().unwrap().insert(id), "nobody else has it");
                for _ in 0..5 {
                    park_once();
                    assert_eq!(std::thread::current().id(), id);
                }
            })
        })
        .collect();
    all.into_iter().for_each(|g| g.join().unwrap());
    assert!(!ids.lock().unwrap().contains(&std::thread::current().id()));
}

#[test]
fn pthread_self_is_unique_and_stable() {
    // SAFETY: no preconditions.
    let me = || unsafe { libc::pthread_self() } as usize;
    let (to, from) = mpsc::channel();
    let all: Vec<_> = (0..50)
        .map(|_| {
            let to = to.clone();
            thread::spawn(move || {
                let before = me();
                to.send(before).unwrap();
                thread::park();
                assert_eq!(me(), before);
            })
        })
        .collect();
    let ids: HashSet<_> = from.iter().take(50).collect();
    assert_eq!(ids.len(), 50, "all live at once, each with its own");
    all.iter().for_each(|g| g.thread().unpark());
    all.into_iter().for_each(|g| g.join().unwrap());
}

#[test]
fn a_panic_under_way_is_no_other_goroutines_business() {
    struct ParkInDrop(mpsc::Sender<()>, mpsc::Receiver<()>);
    impl Drop for ParkInDrop {
        fn drop(&mut self) {
            assert!(std::thread::panicking());
            self.0.send(()).unwrap();
            self.1.recv().unwrap(); // parks in the middle of unwinding
            assert!(std::thread::panicking(), "still, on whatever kernel thread");
        }
    }
    let (to_us, unwinding) = mpsc::channel();
    let (go_on, wait) = mpsc::channel();
    let guard = ParkInDrop(to_us, wait);
    let g = thread::spawn(move || {
        let _guard = guard;
        panic!("on purpose");
    });
    unwinding.recv().unwrap();
    for _ in 0..100 {
        on_goroutine(|| {
            assert!(!std::thread::panicking());
            assert!(catch_unwind(|| panic!("another")).is_err(), "no double panic");
            let lock = Mutex::new(());
            drop(lock.lock().unwrap());
            assert!(!lock.is_poisoned());
        });
    }
    go_on.send(()).unwrap();
    assert_eq!(g.join().unwrap_err().downcast_ref::<&str>(), Some(&"on purpose"));
}

#[inline(never)]
fn backtrace_at_depth(n: u32) -> String {
    if n == 0 {
        let trace = Backtrace::force_capture();
        assert_eq!(trace.status(), BacktraceStatus::Captured);
        return trace.to_string();
    }
    std::hint::black_box(backtrace_at_depth(n - 1))
}

#[test]
fn backtraces_end_cleanly() {
    let text = on_goroutine(|| {
        park_once();
        backtrace_at_depth(20)
    });
    assert!(text.matches("backtrace_at_depth").count() >= 20, "{text}");
    assert!(text.lines().count() < 300, "it ends: {text}");
}

#[test]
fn maps_have_random_states() {
    let map = on_goroutine(|| {
        let mut map = HashMap::new();
        for i in 0..1000 {
            map.insert(i.to_string(), i);
        }
        park_once();
        map
    });
    assert!((0..1000).all(|i| map[&i.to_string()] == i));
}

#[test]
fn files_work() {
    on_goroutine(|| {
        let path = std::env::temp_dir().join(format!("gort-test-{}", std::process::id()));
        let mut options = std::fs::OpenOptions::new();
        let mut file = options.read(true).write(true).create(true).truncate(true).open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        for i in 0..1000 {
            writeln!(file, "line {i}").unwrap();
        }
        park_once();
        let mut text = String::new();
        file.seek(SeekFrom::Start(0)).unwrap();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text.lines().count(), 1000);
        assert_eq!(text.lines().last(), Some("line 999"));
        let e = std::fs::File::open("/nonexistent/file").unwrap_err();
        assert_eq!(e.raw_os_error(), Some(libc::ENOENT));
    });
}

#[test]
fn threads_can_be_made_and_joined() {
    let sum: u64 = on_goroutine(|| {
        let threads: Vec<_> = (0..10u64)
            .map(|i| {
                std::thread::spawn(move || {
                    assert_eq!(COUNT.get(), 0);
                    thread::spawn(move || i * i).join().unwrap()
                })
            })
            .collect();
        threads.into_iter().map(|t| t.join().unwrap()).sum()
    });
    assert_eq!(sum, 285);
    let n = on_goroutine(|| std::thread::scope(|s| s.spawn(|| 5).join().unwrap()));
    assert_eq!(n, 5);
}

#[test]
fn names_are_resolved() {
    let addresses: Vec<_> = on_goroutine(|| ("localhost", 80).to_socket_addrs().unwrap().collect());
    assert!(!addresses.is_empty() && addresses.iter().all(|a| a.ip().is_loopback()), "{addresses:?}");
}

#[test]
fn child_processes_work() {
    let all: Vec<_> = (0..8)
        .map(|i| {
            thread::spawn(move || {
                let out =
                    std::process::Command::new("sh").args(["-c", &format!("echo {i}; exit {i}")]).output().unwrap();
                assert_eq!(out.stdout, format!("{i}\n").into_bytes());
                assert_eq!(out.status.code(), Some(i));
            })
        })
        .collect();
    all.into_iter().for_each(|g| g.join().unwrap());
}

/// Row C-43, L-03.
#[test]
fn output_is_not_mixed_up_by_parks() {
    // stdout's lock is re-entrant and knows its owner by thread identity.
    let lock = std::io::stdout().lock();
    let g = thread::spawn(|| {
        let mut out = std::io::stdout().lock();
        let mut again = std::io::stdout().lock();
        writeln!(again, "from a goroutine").and_then(|()| writeln!(out, "once more")).unwrap();
    });
    thread::spawn(|| ()).join().unwrap();
    assert!(!g.is_finished(), "the lock is ours");
    drop(lock);
    g.join().unwrap();
}
