//! `PerThread` around an allocator that keeps something per thread: one each for kernel threads, not for goroutines.

use gort::alloc::PerThread;
use gort::thread;
use gort_tests::measure::eventually;
use gort_tests::needs_goroutines;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Heaps made: threads, by their thread-local storage, that have allocated.
static HEAPS: AtomicUsize = AtomicUsize::new(0);
/// Calls under way and calls made.
static CALLS: AtomicUsize = AtomicUsize::new(0);

thread_local!(static HAS_HEAP: Cell<bool> = const { Cell::new(false) });

/// The system's allocator, with a "heap" for each thread.
struct Heaps;

impl Heaps {
    fn count() {
        CALLS.fetch_add(1, SeqCst);
        if !HAS_HEAP.replace(true) {
            HEAPS.fetch_add(1, SeqCst);
        }
    }
}

// SAFETY: System's methods, called with the same arguments.
unsafe impl GlobalAlloc for Heaps {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Heaps::count();
        // SAFETY: the caller's promise, passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        Heaps::count();
        // SAFETY: the caller's promise, passed on.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: PerThread<Heaps> = PerThread::new(Heaps);

/// One test, since it counts for the whole process.
#[test]
fn goroutines_share_the_heaps_of_kernel_threads() {
    needs_goroutines!("each has a heap of its own");
    const N: usize = 1000;
    let before = HEAPS.load(SeqCst);
    let kept = Arc::new(Mutex::new(Vec::new()));
    for round in 0..3 {
        let all: Vec<_> = (0..N)
            .map(|i| {
                let kept = kept.clone();
                thread::spawn(move || {
                    let mut text = String::new();
                    for j in 0..20 {
                        text += &format!("{i} {j},"); // grows: alloc, realloc, dealloc
                        if j % 5 == 0 {
                            thread::yield_now();
                        }
                    }
                    assert!(!HAS_HEAP.get(), "a goroutine's own storage is not the allocator's");
                    let zeros = vec![0u8; 5000];
                    assert!(zeros.iter().all(|b| *b == 0));
                    kept.lock().unwrap().push(text);
                })
            })
            .collect();
        all.into_iter().for_each(|g| g.join().unwrap());
        assert_eq!(kept.lock().unwrap().len(), (round + 1) * N);
    }
    // What goroutines made may be freed by anybody.
    let whole: usize = kept.lock().unwrap().drain(..).map(|text| text.matches(',').count()).sum();
    assert_eq!(whole, 3 * N * 20);
    let made = HEAPS.load(SeqCst) - before;
    assert!(made <= 64, "{made} heaps for {N} goroutines");
    assert!(CALLS.load(SeqCst) > 60_000, "the allocator was used");

    // Without the wrapper each goroutine makes a heap: that is what the wrapper is for, and what this test would see.
    let before = HEAPS.load(SeqCst);
    let all: Vec<_> = (0..100).map(|_| thread::spawn(Heaps::count)).collect();
    all.into_iter().for_each(|g| g.join().unwrap());
    assert!(HEAPS.load(SeqCst) - before >= 100);
    assert!(eventually(Duration::from_secs(30), || gort::stats().goroutines == 0));
}
