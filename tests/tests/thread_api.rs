//! The mirror of `std::thread`: names, results and promises are std's, for callers on goroutines and on plain threads.

use gort::thread::{self, Builder};
use gort_tests::measure::{eventually, everywhere, on_goroutine};
use gort_tests::needs_goroutines;
use gort_tests::subprocess::{role, Rerun};
use std::collections::HashSet;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{mpsc, Arc, Mutex};
use std::time::Duration;

const LONG: Duration = Duration::from_secs(30);

#[test]
fn spawn_and_join_give_the_result() {
    everywhere(|| {
        let base = 40;
        assert_eq!(thread::spawn(move || base + 2).join().unwrap(), 42);
        let text: String = thread::spawn(|| "a".repeat(1000)).join().unwrap();
        assert_eq!(text.len(), 1000);
        let big: [u64; 400] = thread::spawn(|| [7; 400]).join().unwrap();
        assert_eq!(big.iter().sum::<u64>(), 2800);
        thread::spawn(|| ()).join().unwrap();
    });
}

#[test]
fn names_are_kept() {
    everywhere(|| {
        let g = Builder::new().name("reader".into()).spawn(|| thread::current().name().map(str::to_owned)).unwrap();
        assert_eq!(g.thread().name(), Some("reader"));
        assert_eq!(g.join().unwrap().as_deref(), Some("reader"));
        let g = Builder::new().spawn(|| thread::current().name().map(str::to_owned)).unwrap();
        assert_eq!(g.thread().name(), None);
        assert_eq!(g.join().unwrap(), None);
    });
    let plain = std::thread::Builder::new().name("plain".into());
    let name = plain.spawn(|| thread::current().name().map(str::to_owned)).unwrap().join().unwrap();
    assert_eq!(name.as_deref(), Some("plain"), "the handle of a plain thread has the name that std knows");
}

#[test]
fn a_zero_byte_in_a_name_panics() {
    everywhere(|| {
        let started = Arc::new(AtomicBool::new(false));
        let flag = started.clone();
        let result = catch_unwind(AssertUnwindSafe(|| {
            Builder::new().name("a\0b".into()).spawn(move || flag.store(true, SeqCst)).map(drop)
        }));
        let payload = result.unwrap_err();
        let text = payload.downcast_ref::<&str>().copied().unwrap_or_default();
        assert!(text.contains("zero byte"), "{text:?}");
        assert_eq!(Arc::strong_count(&started), 1, "the closure was dropped");
        assert!(!started.load(SeqCst));
    });
}

#[inline(never)]
fn touch_stack(depth: usize) -> usize {
    let block = std::hint::black_box([depth as u8; 4096]);
    if depth == 0 {
        usize::from(block[7])
    } else {
        touch_stack(depth - 1) + usize::from(block[4095] == depth as u8)
    }
}

#[test]
fn stack_size_is_what_was_asked_for() {
    everywhere(|| {
        for (size, depth) in [(64 << 10, 4), (1 << 20, 100), (16 << 20, 1700)] {
            let g = Builder::new().stack_size(size).spawn(move || touch_stack(depth)).unwrap();
            assert!(g.join().unwrap() >= depth.min(255));
        }
        let tiny = Builder::new().stack_size(1).spawn(|| 5).unwrap();
        assert_eq!(tiny.join().unwrap(), 5, "as with std, a small wish is raised to what is possible");
    });
    let e = Builder::new().stack_size(usize::MAX / 2).spawn(|| ()).unwrap_err();
    assert!(!e.to_string().is_empty());
    assert_eq!(thread::spawn(|| 1).join().unwrap(), 1, "a refused spawn leaves no damage");
}

/// A donor's stack must be large enough for a real thread.
#[test]
fn a_small_wish_is_raised_for_donors_too() {
    const NAME: &str = "a_small_wish_is_raised_for_donors_too";
    if role().is_none() {
        Rerun::of(NAME, "child").env("GORT_IDENTITY", "donor").run().success();
        return;
    }
    for size in [1, 16 << 10, 64 << 10] {
        assert_eq!(Builder::new().stack_size(size).spawn(|| 5).unwrap().join().unwrap(), 5);
    }
}

#[test]
fn join_returns_the_payload_of_a_panic() {
    struct Payload(u32);
    everywhere(|| {
        let e = thread::spawn(|| panic!("text")).join().unwrap_err();
        assert_eq!(e.downcast_ref::<&str>(), Some(&"text"));
        let n = 5;
        let e = thread::spawn(move || panic!("number {n}")).join().unwrap_err();
        assert_eq!(e.downcast_ref::<String>().map(String::as_str), Some("number 5"));
        let e = thread::spawn(|| std::panic::panic_any(Payload(9))).join().unwrap_err();
        assert_eq!(e.downcast::<Payload>().ok().map(|p| p.0), Some(9));
        let e = thread::spawn(|| std::panic::resume_unwind(Box::new(3u8))).join().unwrap_err();
        assert_eq!(e.downcast_ref::<u8>(), Some(&3));
    });
}

#[test]
fn panicking_is_true_while_a_goroutine_unwinds() {
    struct Look(mpsc::Sender<(bool, bool)>);
    impl Drop for Look {
        fn drop(&mut self) {
            self.0.send((thread::panicking(), thread::is_goroutine())).unwrap();
        }
    }
    everywhere(|| {
        let (to, from) = mpsc::channel();
        let look = Look(to.clone());
        thread::spawn(move || drop(look)).join().unwrap();
        assert_eq!(from.recv(), Ok((false, true)));
        let look = Look(to);
        thread::spawn(move || {
            let _look = look;
            panic!("on purpose")
        })
        .join()
        .unwrap_err();
        assert_eq!(from.recv(), Ok((true, true)));
    });
}

#[test]
fn is_finished_turns_true_at_the_end() {
    everywhere(|| {
        let (to, from) = mpsc::channel::<()>();
        let g = thread::spawn(move || from.recv());
        assert!(!g.is_finished(), "it waits for us");
        drop(to);
        assert!(eventually(LONG, || g.is_finished()));
        assert!(g.join().unwrap().is_err());
    });
}

#[test]
fn the_handle_names_the_goroutine() {
    everywhere(|| {
        let g = thread::spawn(|| thread::current().id());
        let id = g.thread().id();
        assert_ne!(id, thread::current().id());
        assert_eq!(thread::current().id(), thread::current().id());
        assert_eq!(g.join().unwrap(), id);
        thread::scope(|s| {
            let g = s.spawn(|| thread::current().id());
            let id = g.thread().id();
            assert_eq!(g.join().unwrap(), id);
        });
    });
}

#[test]
fn a_dropped_handle_lets_the_goroutine_run_on() {
    everywhere(|| {
        let (to, from) = mpsc::channel();
        let (go, wait) = mpsc::channel();
        drop(thread::spawn(move || {
            wait.recv().unwrap();
            to.send(11).unwrap();
        }));
        go.send(()).unwrap();
        assert_eq!(from.recv(), Ok(11));
    });
}

#[test]
fn a_scope_lends_what_outlives_it() {
    everywhere(|| {
        let words = vec!["a", "bb", "ccc"];
        let mut numbers = vec![1u64; 1000];
        let total = AtomicUsize::new(0);
        thread::scope(|s| {
            for word in &words {
                s.spawn(|| total.fetch_add(word.len(), SeqCst));
            }
            for part in numbers.chunks_mut(10) {
                s.spawn(move || part.iter_mut().for_each(|n| *n += 1));
            }
            // A goroutine of the scope spawns in it too.
            s.spawn(|| {
                for _ in 0..10 {
                    s.spawn(|| total.fetch_add(100, SeqCst));
                }
            });
        });
        assert_eq!(total.load(SeqCst), 1006, "all have ended when the scope ends");
        assert_eq!(numbers.iter().sum::<u64>(), 2000);
        drop(words);
    });
}

#[test]
fn scopes_nest_and_return_values() {
    everywhere(|| {
        let n = thread::scope(|outer| {
            let left = outer.spawn(|| thread::scope(|inner| inner.spawn(|| 20).join().unwrap()));
            let right = Builder::new().name("right".into()).spawn_scoped(outer, || 22).unwrap();
            assert_eq!(right.thread().name(), Some("right"));
            left.join().unwrap() + right.join().unwrap()
        });
        assert_eq!(n, 42);
    });
}

fn text_of(payload: &(dyn std::any::Any + Send)) -> &str {
    payload.downcast_ref::<&str>().copied().or(payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("")
}

#[test]
fn a_scope_panics_for_a_panic_nobody_looked_at() {
    everywhere(|| {
        let others = AtomicUsize::new(0);
        let result = catch_unwind(AssertUnwindSafe(|| {
            thread::scope(|s| {
                s.spawn(|| panic!("unseen"));
                for _ in 0..20 {
                    s.spawn(|| {
                        thread::yield_now();
                        others.fetch_add(1, SeqCst)
                    });
                }
            })
        }));
        assert_eq!(text_of(&*result.unwrap_err()), "a scoped goroutine panicked");
        assert_eq!(others.load(SeqCst), 20, "the others were waited for");
    });
}

#[test]
fn a_scope_does_not_panic_for_a_panic_that_was_joined() {
    everywhere(|| {
        let value = thread::scope(|s| {
            let e = s.spawn(|| panic!("seen")).join().unwrap_err();
            text_of(&*e).to_owned()
        });
        assert_eq!(value, "seen");
    });
}

#[test]
fn a_panic_of_the_scopes_body_waits_for_the_goroutines() {
    everywhere(|| {
        let done = AtomicBool::new(false);
        let result = catch_unwind(AssertUnwindSafe(|| {
            thread::scope(|s| {
                s.spawn(|| {
                    (0..100).for_each(|_| thread::yield_now());
                    done.store(true, SeqCst);
                });
                panic!("body")
            })
        }));
        assert_eq!(text_of(&*result.unwrap_err()), "body");
        assert!(done.load(SeqCst));
    });
}

#[test]
fn ids_are_never_the_same() {
    let ids = Arc::new(Mutex::new(HashSet::new()));
    let insert = |ids: &Mutex<HashSet<_>>| assert!(ids.lock().unwrap().insert(thread::current().id()));
    for _ in 0..10 {
        let batch: Vec<_> = (0..1000)
            .map(|_| {
                let ids = ids.clone();
                thread::spawn(move || insert(&ids))
            })
            .collect();
        batch.into_iter().for_each(|g| g.join().unwrap());
        let ids = ids.clone();
        std::thread::spawn(move || insert(&ids)).join().unwrap();
    }
    assert_eq!(ids.lock().unwrap().len(), 10_010);
}

#[test]
fn available_parallelism_is_the_number_of_ps() {
    let Some(role) = role() else {
        for n in ["1", "3", "7"] {
            let name = "available_parallelism_is_the_number_of_ps";
            Rerun::of(name, n).env("GORT_PROCS", n).run().success();
        }
        return;
    };
    let n: usize = role.parse().unwrap();
    assert_eq!(thread::available_parallelism().unwrap().get(), n, "before the start");
    everywhere(|| assert_eq!(thread::available_parallelism().unwrap().get(), n));
    assert_eq!(gort::stats().procs, n);
}

#[test]
fn a_hundred_thousand_at_once() {
    needs_goroutines!("more are alive than the system has threads");
    const N: usize = 100_000;
    if role().is_none() {
        for (procs, identity) in [("1", "built"), ("2", "built")] {
            Rerun::of("a_hundred_thousand_at_once", "child")
                .env("GORT_PROCS", procs)
                .env("GORT_IDENTITY", identity)
                .inherit("GORT_CHAOS")
                .run()
                .success();
        }
        return;
    }
    let arrived = Arc::new(AtomicUsize::new(0));
    let main = thread::current();
    let all: Vec<_> = (0..N)
        .map(|i| {
            let (arrived, main) = (arrived.clone(), main.clone());
            thread::spawn(move || {
                if arrived.fetch_add(1, SeqCst) == N - 1 {
                    main.unpark();
                }
                thread::park();
                i
            })
        })
        .collect();
    while arrived.load(SeqCst) != N {
        thread::park();
    }
    assert_eq!(gort::stats().goroutines, N);
    all.iter().for_each(|g| g.thread().unpark());
    let sum: usize = all.into_iter().map(|g| g.join().unwrap()).sum();
    assert_eq!(sum, N * (N - 1) / 2);
}

#[test]
fn handles_say_who_they_are() {
    let g = Builder::new().name("shown".into()).spawn(|| ()).unwrap();
    let text = format!("{g:?}");
    assert!(text.contains("shown") && text.contains(&format!("{:?}", g.thread().id())), "{text}");
    assert!(!thread::is_goroutine());
    assert!(on_goroutine(thread::is_goroutine));
    g.join().unwrap();
}
