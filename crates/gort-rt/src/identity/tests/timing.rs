//! What things cost. Run with `cargo test --release -- --ignored --nocapture timing`.

use std::hint::black_box;
use std::time::Instant;

use super::*;

/// Nanoseconds per call, the least of several runs.
fn time(label: &str, count: u32, mut f: impl FnMut()) {
    let run = |f: &mut dyn FnMut()| {
        let start = Instant::now();
        (0..count).for_each(|_| f());
        start.elapsed().as_nanos() as f64 / f64::from(count)
    };
    let least = (0..5).map(|_| run(&mut f)).fold(f64::INFINITY, f64::min);
    println!("{label:32} {least:8.1} ns");
}

#[test]
#[ignore = "prints numbers, checks nothing"]
fn timing() {
    let state = state();
    let block = Block::new(Way::Built);
    let (lo, hi) = (block.lo, block.lo.wrapping_add(Block::SIZE));
    // SAFETY: the block is made anew each time, and nobody runs on it but us.
    unsafe {
        time("create and destroy, built", 10_000, || {
            assert!(crate::identity::destroy(block.tp));
            black_box(state.create(&Mode::Built, lo, hi, 1 << 23).unwrap());
        });
        time("reset", 100_000, || assert!(crate::identity::reset(block.tp)));
    }
    time("call on the block", 100_000, || block.call(|| ()));
    // SAFETY: on the block.
    time("call, start", 100_000, || block.call(|| unsafe { crate::identity::start() }));
    // SAFETY: on the block.
    time("call, destructors", 100_000, || block.call(|| unsafe { crate::identity::run_destructors() }));
    time("whole life", 100_000, || block.live(|| ()));
    time("create, donor", 200, || drop(Block::new(Way::Donor)));
    time("create and unmap, built", 1000, || drop(Block::new(Way::Built)));
    time("find (start-up)", 50, || drop(black_box(State::find(None))));
}
