//! What the activities share.

use gort::thread::{Builder, JoinHandle};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

/// A sequence of pseudo-random numbers (xorshift64*).
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Rng {
        Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    /// A number below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
}

/// How often a spawn failed.
pub static REFUSED: AtomicUsize = AtomicUsize::new(0);

/// Whether the environment asks for failures.
fn faults() -> bool {
    std::env::var("GORT_CHAOS").is_ok_and(|v| v.ends_with(",faults"))
}

/// A goroutine that runs `f`. Where spawning may fail it is tried until it does not; what was given to one that failed must
/// have been dropped by then.
pub fn spawn<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    spawn_with(Builder::new, f)
}

/// The same, of a builder that `builder` makes for each try.
pub fn spawn_with<T, F>(builder: impl Fn() -> Builder, f: F) -> JoinHandle<T>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    let kept = Arc::new(Mutex::new(Some(f)));
    loop {
        let theirs = kept.clone();
        let body = move || {
            let f = theirs.lock().unwrap().take();
            drop(theirs);
            f.expect("spawned once")()
        };
        match builder().spawn(body) {
            Ok(g) => return g,
            Err(e) => {
                assert!(faults(), "spawn: {e}");
                assert_eq!(Arc::strong_count(&kept), 1, "what was not spawned was dropped");
                REFUSED.fetch_add(1, SeqCst);
            }
        }
    }
}

/// Joins all, and adds up what they return.
pub fn total(all: impl IntoIterator<Item = JoinHandle<u64>>) -> u64 {
    all.into_iter().map(|g| g.join().expect("the hook has ended the program")).sum()
}
