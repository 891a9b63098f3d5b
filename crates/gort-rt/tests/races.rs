//! What one goroutine has done before another knows of it, each time through memory that nothing else orders.
//!
//! In every scenario plain memory is handed from one thread of execution to another, and only the runtime's own
//! operations lie between: spawn, join, the end of a scope, unpark, a callback. The values are checked; but above all these
//! run under ThreadSanitizer (`ci/race.sh`), with a kernel thread for each goroutine, which reports a hand-over that the
//! runtime's atomics do not order, whether or not the processor made anything of it.

use gort_rt::{ffi, thread};
use std::cell::{Cell, RefCell, UnsafeCell};
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Barrier};
use std::time::Duration;

/// Plain memory that anybody may get at: the scenario vouches that the runtime orders it.
#[derive(Default)]
struct Plain<T>(UnsafeCell<T>);

// SAFETY: it is what these scenarios are about that each access is ordered with the one before.
unsafe impl<T: Send> Sync for Plain<T> {}

impl<T: Copy> Plain<T> {
    fn get(&self) -> T {
        // SAFETY: the scenario orders the accesses.
        unsafe { *self.0.get() }
    }

    fn set(&self, value: T) {
        // SAFETY: as above.
        unsafe { *self.0.get() = value }
    }
}

const ROUNDS: u32 = 200;

/// The first goroutines of the process, from many threads at a time.
fn begin() {
    let gate = Barrier::new(4);
    std::thread::scope(|s| {
        for i in 0..4u64 {
            let gate = &gate;
            s.spawn(move || {
                gate.wait();
                assert_eq!(thread::spawn(move || i * i).join().unwrap(), i * i);
                assert!(gort_rt::Config::new().start().is_err());
            });
        }
    });
}

/// Row T-01.
#[test]
fn spawn_hands_over_and_join_hands_back() {
    begin();
    for i in 0..ROUNDS {
        let there = Arc::new(Plain::default());
        there.set(i);
        let theirs = there.clone();
        let goroutine = thread::spawn(move || {
            theirs.set(theirs.get() + 1);
            Box::new(theirs.get())
        });
        // Whoever joins sees it, not only who spawned.
        let joiner = thread::spawn(move || *goroutine.join().unwrap());
        assert_eq!((joiner.join().unwrap(), there.get()), (i + 1, i + 1));
    }
}

#[test]
fn a_payload_is_handed_back() {
    for i in 0..ROUNDS {
        let payload = thread::spawn(move || resume_unwind(Box::new(vec![i]))).join().map(|()| 0).unwrap_err();
        assert_eq!(*payload.downcast::<Vec<u32>>().unwrap(), [i]);
    }
}

#[test]
fn the_end_of_a_scope_hands_back() {
    for i in 0..ROUNDS / 4 {
        let each: [Plain<u32>; 8] = Default::default();
        let inner = Plain::default();
        thread::scope(|s| {
            for cell in &each {
                s.spawn(move || cell.set(i + 1));
            }
            s.spawn(|| {
                thread::scope(|s| _ = s.spawn(|| inner.set(i)));
                inner.set(inner.get() + 2);
            });
        });
        assert!(each.iter().all(|cell| cell.get() == i + 1));
        assert_eq!(inner.get(), i + 2);
    }
}

/// Each park is the first of its goroutine, so that it returns for nothing else than the token.
#[test]
fn unpark_hands_over() {
    for i in 0..ROUNDS {
        let there = Arc::new(Plain::default());
        let theirs = there.clone();
        let timed = i % 2 == 0;
        let goroutine = thread::spawn(move || {
            match timed {
                true => thread::park_timeout(Duration::from_secs(600)),
                false => thread::park(),
            }
            theirs.get()
        });
        if i % 3 == 0 {
            thread::yield_now();
        }
        there.set(i);
        goroutine.thread().unpark();
        assert_eq!(goroutine.join().unwrap(), i);
    }
}

#[test]
fn destructors_come_before_join() {
    struct Adds(Arc<Plain<u32>>);
    impl Drop for Adds {
        fn drop(&mut self) {
            self.0.set(self.0.get() + 1);
        }
    }
    thread_local!(static ADDS: RefCell<Option<Adds>> = const { RefCell::new(None) });
    let there = Arc::new(Plain::default());
    for i in 0..ROUNDS {
        let theirs = there.clone();
        thread::spawn(move || ADDS.set(Some(Adds(theirs)))).join().unwrap();
        assert_eq!(there.get(), i + 1);
    }
}

/// A handle that goes while its goroutine ends: one of the two drops the result.
#[test]
fn a_result_that_nobody_wants_is_dropped_once() {
    let kept = Arc::new(());
    for _ in 0..ROUNDS {
        let theirs = kept.clone();
        let goroutine = thread::spawn(move || theirs);
        thread::yield_now();
        drop(goroutine);
    }
    while Arc::strong_count(&kept) > 1 {
        thread::yield_now();
    }
}

/// One after the other: each thread has the M of the last, and leaves something in thread-local storage of its own.
///
/// Row T-02.
#[test]
fn threads_that_call_in_take_turns_at_ms() {
    thread_local!(static CALLS: Cell<u32> = const { Cell::new(0) });
    std::thread::scope(|s| {
        let crowd: Vec<_> = (0..4u32)
            .map(|i| {
                s.spawn(move || {
                    for n in 0..ROUNDS {
                        // A thread each time, which binds an M and gives it back at its end.
                        let calls = || {
                            ffi::callback(|| CALLS.set(CALLS.get() + i));
                            ffi::callback_or(|| CALLS.get(), || 0)
                        };
                        let calls = std::thread::scope(|s| s.spawn(calls).join().unwrap());
                        assert_eq!(calls, i, "round {n}");
                    }
                })
            })
            .collect();
        while !crowd.iter().all(std::thread::ScopedJoinHandle::is_finished) {
            let stats = gort_rt::stats();
            assert!(stats.extra_ms <= 8, "the crowd's, and those of this test's threads: {stats:?}");
            // A goroutine that a callback spawns, and awaits.
            ffi::callback(|| thread::spawn(|| ()).join().unwrap());
        }
    });
}

#[test]
fn calls_out_and_sleeps_pass_nothing_by() {
    let there = Plain::default();
    thread::scope(|s| {
        let goroutine = s.spawn(|| {
            ffi::lock_os_thread();
            ffi::blocking(|| there.set(1));
            ffi::on_system_stack(|| there.set(there.get() + 1));
            thread::sleep(Duration::from_micros(100));
            ffi::unlock_os_thread();
            there.set(there.get() + 1);
        });
        goroutine.join().unwrap();
        assert_eq!(there.get(), 3);
    });
}

#[test]
#[ignore = "for ci/race.sh, to see that the tool sees: nothing orders these accesses"]
fn a_race_on_purpose() {
    let there = Plain::<u64>::default();
    // All have begun, which orders nothing: else one may be over before the next begins, and what a thread's end and a thread's
    // beginning share would order the two.
    let begun = AtomicUsize::new(0);
    thread::scope(|s| {
        for i in 0..4 {
            let (there, begun) = (&there, &begun);
            s.spawn(move || {
                begun.fetch_add(1, Relaxed);
                while begun.load(Relaxed) < 4 {
                    std::thread::yield_now();
                }
                (0..1000).for_each(|n| there.set(there.get() + n * i));
            });
        }
    });
    assert_ne!(there.get(), u64::MAX);
}
