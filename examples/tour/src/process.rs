//! What the kernel says about this process, from `/proc/self/status`.

use std::fs;

/// Bytes of memory in use: resident pages and the page tables that map them.
pub fn memory() -> u64 {
    (field("VmRSS:") + field("VmPTE:")) * 1024
}

/// Kernel threads in existence.
pub fn kernel_threads() -> u64 {
    field("Threads:")
}

/// The number behind `name`, or zero where there is no such file or line.
fn field(name: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let number = |line: &str| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok();
    status.lines().find_map(number).unwrap_or(0)
}
