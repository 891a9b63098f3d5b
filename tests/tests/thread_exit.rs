//! The end of goroutines, of threads that used them, and of the process.

use gort::thread;
use gort_tests::measure::{everywhere, on_goroutine};
use gort_tests::subprocess::{role, Rerun};
use std::cell::RefCell;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{mpsc, Arc, Mutex};
use std::time::Duration;

const SCENARIO: &str = env!("CARGO_BIN_EXE_scenario");

/// Runs a closure when it is dropped.
struct AtEnd(Option<Box<dyn FnOnce()>>);

impl Drop for AtEnd {
    fn drop(&mut self) {
        (self.0.take().expect("dropped once"))();
    }
}

thread_local! {
    static FIRST: RefCell<Option<AtEnd>> = const { RefCell::new(None) };
    static SECOND: RefCell<Option<AtEnd>> = const { RefCell::new(None) };
}

fn at_end(f: impl FnOnce() + 'static) -> Option<AtEnd> {
    Some(AtEnd(Some(Box::new(f))))
}

fn add(to: &AtomicUsize, n: usize) {
    to.fetch_add(n, SeqCst);
}

#[test]
fn destructors_have_run_when_join_returns() {
    everywhere(|| {
        let ended = Arc::new(AtomicUsize::new(0));
        for _ in 0..200 {
            let count = ended.clone();
            let before = ended.load(SeqCst);
            let g = thread::spawn(move || {
                let late = count.clone();
                FIRST.set(at_end(move || {
                    thread::yield_now();
                    late.fetch_add(1, SeqCst);
                    // A variable that is used for the first time in a destructor gets its destructor run too.
                    SECOND.set(at_end(move || add(&late, 1)));
                }));
            });
            g.join().unwrap();
            assert_eq!(ended.load(SeqCst), before + 2);
        }
        // By the scope too, without a join.
        let n = AtomicUsize::new(0);
        thread::scope(|s| {
            for _ in 0..50 {
                s.spawn(|| {
                    let ended = ended.clone();
                    FIRST.set(at_end(move || {
                        thread::sleep(Duration::from_micros(100));
                        ended.fetch_add(1, SeqCst);
                    }));
                    n.fetch_add(1, SeqCst);
                });
            }
        });
        assert_eq!(ended.load(SeqCst), 450);
    });
}

#[test]
fn destructors_may_do_what_goroutines_do() {
    everywhere(|| {
        let (to, from) = mpsc::channel();
        let g = thread::spawn(move || {
            let id = thread::current().id();
            FIRST.set(at_end(move || {
                assert!(thread::is_goroutine());
                assert_eq!(thread::current().id(), id);
                let n = thread::spawn(|| 20).join().unwrap();
                thread::sleep(Duration::from_micros(50));
                std::thread::sleep(Duration::from_micros(50));
                thread::current().unpark();
                thread::park();
                let lock = Mutex::new(22);
                to.send(n + *lock.lock().unwrap()).unwrap();
            }));
        });
        g.join().unwrap();
        assert_eq!(from.try_recv(), Ok(42));
    });
}

#[test]
fn the_next_goroutine_on_a_stack_finds_nothing_of_the_last() {
    on_goroutine(|| {
        for i in 0..500 {
            let g = thread::spawn(move || {
                assert!(FIRST.with_borrow(Option::is_none), "round {i}");
                assert!(SECOND.with_borrow(Option::is_none), "round {i}");
                FIRST.set(at_end(|| ()));
                SECOND.set(at_end(|| ()));
                if i % 5 == 0 {
                    std::panic::resume_unwind(Box::new("an end by panic runs them too"));
                }
            });
            assert_eq!(g.join().is_err(), i % 5 == 0);
        }
    });
}

#[test]
fn pthread_keys_are_destroyed_with_the_goroutine() {
    static DESTROYED: AtomicUsize = AtomicUsize::new(0);
    extern "C" fn destroy(value: *mut libc::c_void) {
        DESTROYED.fetch_add(value as usize, SeqCst);
    }
    let mut key = 0;
    // SAFETY: the key is written to a live variable.
    assert_eq!(unsafe { libc::pthread_key_create(&mut key, Some(destroy)) }, 0);
    let all: Vec<_> = (1..=100usize)
        .map(|i| {
            thread::spawn(move || {
                // SAFETY: the key lives as long as the process.
                unsafe {
                    assert!(libc::pthread_getspecific(key).is_null(), "fresh");
                    assert_eq!(libc::pthread_setspecific(key, i as *const libc::c_void), 0);
                    thread::yield_now();
                    assert_eq!(libc::pthread_getspecific(key) as usize, i);
                }
            })
        })
        .collect();
    all.into_iter().for_each(|g| g.join().unwrap());
    assert_eq!(DESTROYED.load(SeqCst), 5050);
}

#[test]
fn threads_that_used_goroutines_come_and_go() {
    let sum = Arc::new(AtomicUsize::new(0));
    for _ in 0..200 {
        let sum = sum.clone();
        std::thread::spawn(move || {
            let theirs = sum.clone();
            // Used again while the thread's own destructors run.
            FIRST.set(at_end(move || add(&theirs, thread::spawn(|| 2).join().unwrap())));
            sum.fetch_add(thread::spawn(|| 1).join().unwrap(), SeqCst);
            let me = thread::current();
            let waker = thread::spawn(move || me.unpark());
            thread::park();
            waker.join().unwrap();
        })
        .join()
        .unwrap();
    }
    assert_eq!(sum.load(SeqCst), 600);
}

/// Row C-34.
#[test]
fn handles_outlive_what_they_name() {
    let (dead_goroutine, dead_thread) =
        (thread::spawn(thread::current).join().unwrap(), std::thread::spawn(thread::current).join().unwrap());
    for _ in 0..100 {
        dead_goroutine.unpark();
        dead_thread.unpark();
    }
    assert_ne!(dead_goroutine.id(), dead_thread.id());
}

#[test]
fn a_panic_in_a_destructor_aborts_as_with_std() {
    const NAME: &str = "a_panic_in_a_destructor_aborts_as_with_std";
    let Some(role) = role() else {
        let outcome = |role| Rerun::of(NAME, role).run();
        let (std, ours) = (outcome("std"), outcome("gort"));
        std.died_of(libc::SIGABRT).says("thread local panicked on drop");
        ours.died_of(libc::SIGABRT).says("thread local panicked on drop");
        return;
    };
    let f = || FIRST.set(at_end(|| panic!("in a destructor")));
    match role.as_str() {
        "std" => drop(std::thread::spawn(f).join()),
        _ => drop(thread::spawn(f).join()),
    }
}

#[test]
fn the_process_ends_with_its_main_function() {
    for procs in ["1", "2"] {
        for chaos in ["", "1", "2"] {
            let rerun = Rerun::scenario(SCENARIO, "exit_with_goroutines");
            let outcome = rerun.env("GORT_PROCS", procs).env("GORT_CHAOS", chaos).run();
            assert_eq!(outcome.success().stdout, "main returns\n");
            assert_eq!(outcome.stderr, "");
        }
    }
}

#[test]
fn a_goroutine_may_end_the_process() {
    const NAME: &str = "a_goroutine_may_end_the_process";
    let Some(role) = role() else {
        for (role, code) in [("exit", 7), ("exit in a destructor", 8)] {
            for procs in ["1", "2"] {
                let outcome = Rerun::of(NAME, role).env("GORT_PROCS", procs).run();
                assert_eq!(outcome.status.code(), Some(code), "{outcome:?}");
            }
        }
        return;
    };
    let g = match role.as_str() {
        "exit" => thread::spawn(|| std::process::exit(7)),
        _ => thread::spawn(|| FIRST.set(at_end(|| std::process::exit(8)))),
    };
    let _ = g.join();
}
