//! What the system says about this process.
//!
//! # Required items
//!
//! | Item | Contract |
//! |---|---|
//! | [`memory`] | bytes of memory in use, with what the system needs to map them where it tells |
//! | [`kernel_threads`] | kernel threads in existence |
//! | [`allow_descriptors`] | raises the number of descriptors that the process may have as far as it is allowed to, and returns it |
//! | [`crowd`] | how many of so many threads of any kind, or of their connections, the system bears at once |
//! | [`sockets_park`] | whether a goroutine that waits for a socket leaves its kernel thread to others; else why not |

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
use linux as system;
#[cfg(windows)]
mod windows;
#[cfg(windows)]
use windows as system;

pub use system::{allow_descriptors, crowd, kernel_threads, memory, sockets_park};

use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long to wait for kernel threads to go away.
const PATIENCE: Duration = Duration::from_secs(1);

/// Between two looks.
const LOOK: Duration = Duration::from_millis(1);

/// Waits a while for the number of kernel threads to come down to `target`, and returns what it is then.
pub fn settle(target: u64) -> u64 {
    let start = Instant::now();
    loop {
        let threads = kernel_threads();
        if threads <= target || start.elapsed() > PATIENCE {
            return threads;
        }
        sleep(LOOK);
    }
}
