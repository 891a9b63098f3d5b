//! Dead goroutines whose memory has gone back to the kernel, and those that come after them.

use gort::thread;
use gort_tests::measure::{eventually, on_goroutine, resident_kib};
use gort_tests::needs_goroutines;
use gort_tests::subprocess::{role, Rerun};
use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::Arc;
use std::time::Duration;

/// Sizes that each goroutine allocates and frees: malloc keeps them for the thread, or for the goroutine, that freed them.
const SIZES: [usize; 4] = [24, 100, 400, 1000];

/// So many goroutines alive at a time, each with a cache of malloc's. When they are dead, all that can go cold does.
fn burst(n: usize) {
    let arrived = Arc::new(AtomicUsize::new(0));
    let all: Vec<_> = (0..n)
        .map(|_| {
            let arrived = arrived.clone();
            thread::spawn(move || {
                drop(black_box(SIZES.map(|size| vec![1u8; size])));
                arrived.fetch_add(1, SeqCst);
                thread::park();
            })
        })
        .collect();
    assert!(eventually(Duration::from_secs(30), || arrived.load(SeqCst) == n));
    all.iter().for_each(|g| g.thread().unpark());
    all.into_iter().for_each(|g| g.join().unwrap());
    gort::testing::all_go_cold();
}

#[test]
fn bursts_with_idle_time_between_them_lose_no_memory() {
    needs_goroutines!("stacks and what malloc keeps for them are libc's");
    const NAME: &str = "bursts_with_idle_time_between_them_lose_no_memory";
    let Some(role) = role() else {
        for procs in ["1", "2"] {
            Rerun::of(NAME, "4000").env("GORT_PROCS", procs).run().success();
        }
        return;
    };
    let n: usize = role.parse().expect("how many goroutines");
    const BURSTS: usize = 20;
    let rest = || {
        burst(n);
        resident_kib()
    };
    // What malloc's arenas settle at takes some rounds.
    let figures: Vec<_> = (0..BURSTS).map(|_| rest()).collect();
    println!("KiB after each burst: {figures:?}");
    let grown = figures[BURSTS - 1].saturating_sub(figures[4]);
    // A cache and what it holds is more than 2 KiB.
    assert!(grown < 2 * n, "{grown} KiB more after {} bursts: {figures:?}", BURSTS - 5);
    assert_eq!(on_goroutine(|| 5), 5);
}
