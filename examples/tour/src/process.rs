//! What the kernel says about this process, mostly from `/proc/self/status`.

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long to wait for kernel threads to go away.
const PATIENCE: Duration = Duration::from_secs(1);

/// Between two looks.
const LOOK: Duration = Duration::from_millis(1);

/// Bytes of memory in use: resident pages and the page tables that map them.
pub fn memory() -> u64 {
    (field("VmRSS:") + field("VmPTE:")) * 1024
}

/// Kernel threads in existence.
pub fn kernel_threads() -> u64 {
    field("Threads:")
}

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

/// Raises the number of descriptors that the process may have as far as it is allowed to, and returns it.
pub fn allow_descriptors() -> usize {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the kernel writes just the struct.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) } != 0 {
        return 0;
    }
    let most = libc::rlimit { rlim_cur: limit.rlim_max, rlim_max: limit.rlim_max };
    // SAFETY: the kernel reads just the struct.
    let raised = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &most) } == 0;
    let allowed = if raised { most } else { limit }.rlim_cur;
    usize::try_from(allowed).unwrap_or(usize::MAX)
}

/// The number behind `name`, or zero where there is no such file or line.
fn field(name: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let number = |line: &str| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok();
    status.lines().find_map(number).unwrap_or(0)
}
