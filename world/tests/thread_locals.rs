//! Crates that are about thread-local storage: `thread_local`, whose numbers of threads are given out again, and `scoped-tls`.
//! Their own test-suites, and rayon-core's, run in `tests/suites.rs`.

use gort_world::crowd::{crowd, scaled, Watch};
use scoped_tls::scoped_thread_local;
use std::cell::{Cell, RefCell};
use std::panic::{catch_unwind, AssertUnwindSafe};
use thread_local::ThreadLocal;

/// Goroutines.
const CLIENTS: usize = 1_000;

#[test]
fn a_value_for_each_goroutine() {
    const ROUNDS: usize = 5;
    let n = scaled(CLIENTS);
    let watch = Watch::start("thread_local");
    let (counts, names) = (ThreadLocal::<Cell<usize>>::new(), ThreadLocal::<RefCell<String>>::new());
    for _ in 0..ROUNDS {
        crowd(n, |i| {
            let name = i.to_string();
            let own = names.get_or_default();
            // A value stays where its thread's number stays: with whoever gets the number next.
            own.replace(name.clone());
            let before = counts.get_or_default().get();
            for step in 1..=10 {
                counts.get().expect("there").set(before + step);
                gort::thread::yield_now();
                assert!(std::ptr::eq(own, names.get().expect("there")));
                assert_eq!((counts.get().expect("there").get(), &*own.borrow()), (before + step, &name));
            }
        });
    }
    let counts: Vec<_> = counts.into_iter().map(Cell::into_inner).collect();
    assert_eq!(counts.iter().sum::<usize>(), ROUNDS * n * 10);
    // Numbers are given back when goroutines end, as when threads end.
    assert!(counts.len() <= n, "{} values for {n} goroutines at a time", counts.len());
    watch.few();
}

struct Scope {
    owner: usize,
    depth: usize,
}

scoped_thread_local!(static SCOPE: Scope);

fn nest(owner: usize, depth: usize) {
    SCOPE.set(&Scope { owner, depth }, || {
        let here = || SCOPE.with(|scope| (scope.owner, scope.depth));
        gort::thread::yield_now();
        assert_eq!(here(), (owner, depth));
        if depth < 5 {
            nest(owner, depth + 1);
        } else if owner.is_multiple_of(2) {
            std::panic::resume_unwind(Box::new(owner));
        }
        gort::thread::yield_now();
        assert_eq!(here(), (owner, depth));
        // One that is spawned inside is another thread, with no scope.
        assert!(depth > 0 || !gort::thread::scope(|s| s.spawn(|| SCOPE.is_set()).join().expect("no panic")));
    });
}

#[test]
fn scopes() {
    let watch = Watch::start("scoped-tls");
    crowd(scaled(CLIENTS), |i| {
        assert!(!SCOPE.is_set());
        let nested = catch_unwind(AssertUnwindSafe(|| nest(i, 0)));
        assert_eq!(nested.err().and_then(|owner| owner.downcast_ref().copied()), i.is_multiple_of(2).then_some(i));
        assert!(!SCOPE.is_set(), "a panic takes the scopes away");
    });
    watch.few();
}
