//! The runtime's mutex: `sync/rawmutex.rs`, on the kernel of `os`.
//!
//! Asserted: what the mutex guards is touched by one thread at a time, each sees what the one before it wrote, and
//! nobody sleeps for ever.

use crate::engine::{keep, spawn, Tracked};
use crate::sync::rawmutex::RawMutex;

/// Three threads that each take the mutex once; one of them only tries to first.
pub(super) fn three_threads() {
    let mutex = keep(RawMutex::new(()));
    let guarded = keep(Tracked::new(0));
    let others = [true, false].map(|tries| {
        spawn(move || {
            if tries {
                if let Some(_held) = mutex.try_lock() {
                    return guarded.write(|n| *n += 1);
                }
            }
            let _held = mutex.lock();
            guarded.write(|n| *n += 1);
        })
    });
    {
        let _held = mutex.lock();
        guarded.write(|n| *n += 1);
    }
    for other in others {
        other.join().expect("it has not panicked");
    }
    let _held = mutex.lock();
    assert_eq!(guarded.read(|n| *n), 3);
}
