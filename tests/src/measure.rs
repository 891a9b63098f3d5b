//! What a test looks at from outside, and code that runs on threads of all kinds.

pub use crate::process::*;
use std::time::{Duration, Instant};

/// Looks at `condition` again and again until it holds; false if it does not within `limit`.
///
/// For what gives no notice: memory that goes back to the kernel, threads that end, a goroutine that is about to park.
pub fn eventually(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + limit;
    loop {
        if condition() {
            return true;
        }
        if Instant::now() > end {
            return false;
        }
        gort::thread::sleep(Duration::from_millis(1));
    }
}

/// Runs `f` on the calling thread, on another plain thread, and on a goroutine.
pub fn everywhere(f: impl Fn() + Sync) {
    f();
    std::thread::scope(|s| s.spawn(&f).join().expect("on a plain thread"));
    gort::thread::scope(|s| s.spawn(&f).join().expect("on a goroutine"));
}

/// Runs `f` on a goroutine, and passes its result or its panic on.
pub fn on_goroutine<T: Send>(f: impl FnOnce() -> T + Send) -> T {
    gort::thread::scope(|s| s.spawn(f).join()).unwrap_or_else(|payload| std::panic::resume_unwind(payload))
}
