//! A global allocator that blocks, on std's own mutex: goroutines park in the middle of an allocation, wherever it is.

use gort::thread;
use gort_tests::subprocess::{role, Rerun};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{mpsc, Arc, Condvar, Mutex};
use std::time::Duration;

/// The system's allocator behind one lock, which is held over a yield now and then.
struct OneLock {
    lock: Mutex<()>,
    calls: AtomicUsize,
}

impl OneLock {
    fn locked<T>(&self, f: impl FnOnce() -> T) -> T {
        let guard = self.lock.lock();
        if self.calls.fetch_add(1, SeqCst).is_multiple_of(8) {
            thread::yield_now();
        }
        let value = f();
        drop(guard);
        value
    }
}

// SAFETY: System's methods, called with the same arguments, one at a time.
unsafe impl GlobalAlloc for OneLock {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise, passed on.
        self.locked(|| unsafe { System.alloc(layout) })
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise, passed on.
        self.locked(|| unsafe { System.dealloc(at, layout) });
    }
}

#[global_allocator]
static ALLOCATOR: OneLock = OneLock { lock: Mutex::new(()), calls: AtomicUsize::new(0) };

#[test]
fn goroutines_may_park_in_the_allocator() {
    const NAME: &str = "goroutines_may_park_in_the_allocator";
    if role().is_none() {
        for procs in ["1", "2"] {
            for chaos in ["", "1", "2"] {
                Rerun::of(NAME, "child").env("GORT_PROCS", procs).env("GORT_CHAOS", chaos).run().success();
            }
        }
        return;
    }
    let all: Vec<_> = (0..300usize)
        .map(|i| {
            thread::Builder::new()
                .name(format!("number {i}"))
                .spawn(move || {
                    let mut list: Vec<String> = Vec::new();
                    for j in 0..20 {
                        list.push(format!("{i} {j}"));
                    }
                    thread::spawn(move || list.len()).join().unwrap()
                })
                .unwrap()
        })
        .collect();
    assert_eq!(all.into_iter().map(|g| g.join().unwrap()).sum::<usize>(), 6000);
}

/// Timers keep their entries in memory that must come from somewhere: a wait with a deadline allocates now and then, and the
/// allocator may park the goroutine in the middle of its own wait.
#[test]
fn waits_with_deadlines_survive_a_parking_allocator() {
    const NAME: &str = "waits_with_deadlines_survive_a_parking_allocator";
    if role().is_none() {
        for procs in ["1", "2"] {
            for chaos in ["", "1", "2"] {
                Rerun::of(NAME, "child").env("GORT_PROCS", procs).env("GORT_CHAOS", chaos).run().success();
            }
        }
        return;
    }
    let stop = Arc::new(AtomicBool::new(false));
    let busy: Vec<_> = (0..4)
        .map(|i| {
            let stop = stop.clone();
            thread::spawn(move || {
                while !stop.load(SeqCst) {
                    std::hint::black_box(vec![i; 100]);
                }
            })
        })
        .collect();
    let all: Vec<_> = (0..2000u64)
        .map(|i| {
            thread::spawn(move || match i % 3 {
                0 => thread::sleep(Duration::from_millis(i % 50)),
                1 => thread::park_timeout(Duration::from_millis(i % 50)),
                _ => {
                    let (lock, never) = (Mutex::new(()), Condvar::new());
                    let time = Duration::from_millis(i % 50);
                    let result = never.wait_timeout_while(lock.lock().unwrap(), time, |()| true).unwrap().1;
                    assert!(result.timed_out());
                }
            })
        })
        .collect();
    // And waits that are woken long before their deadline.
    let woken: Vec<_> = (0..500)
        .map(|_| {
            let (to, from) = mpsc::sync_channel(0);
            let g = thread::spawn(move || from.recv_timeout(Duration::from_secs(3600)).unwrap());
            (to, g)
        })
        .collect();
    for (i, (to, g)) in woken.into_iter().enumerate() {
        to.send(i).unwrap();
        assert_eq!(g.join().unwrap(), i);
    }
    all.into_iter().for_each(|g| g.join().unwrap());
    stop.store(true, SeqCst);
    busy.into_iter().for_each(|g| g.join().unwrap());
}
