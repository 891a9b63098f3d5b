//! The process as the kernel sees it.

use crate::backend::goroutines_are_threads;
use crate::measure::eventually;
use std::fs;
use std::time::Duration;

/// A number from a line of `/proc/self/status`.
fn status(name: &str) -> usize {
    let text = fs::read_to_string("/proc/self/status").expect("/proc is mounted");
    let line = text.lines().find_map(|line| line.strip_prefix(name)).expect("the kernel writes this line");
    line.trim_start_matches(':').split_whitespace().next().and_then(|n| n.parse().ok()).expect("a number")
}

/// Resident memory of this process, in KiB.
pub fn resident_kib() -> usize {
    status("VmRSS")
}

/// Address space of this process, in KiB.
pub fn address_space_kib() -> usize {
    status("VmSize")
}

/// Kernel threads of this process, all of them.
pub fn kernel_threads() -> usize {
    status("Threads")
}

/// The kinds of guards that this kernel has, the best first, as values of `GORT_GUARD`.
pub fn guards() -> &'static [&'static str] {
    const MADV_GUARD_INSTALL: i32 = 102;
    const PAGE: usize = 4096;
    // SAFETY: a page of our own comes and goes.
    let markers = unsafe {
        let (rights, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        let page = libc::mmap(std::ptr::null_mut(), PAGE, rights, kind, -1, 0);
        assert_ne!(page, libc::MAP_FAILED);
        let taken = libc::madvise(page, PAGE, MADV_GUARD_INSTALL) == 0;
        libc::munmap(page, PAGE);
        taken
    };
    if markers {
        &["markers", "mprotect"]
    } else {
        &["mprotect"]
    }
}

/// Waits until every goroutine waits, that is, until all of the runtime's threads are asleep but `blocked` of them, which sit
/// in calls. For a thread that is no goroutine (which would be one that runs), in a process of the test's own; the goroutines
/// have begun.
///
/// # Panics
/// That takes more than half a minute.
pub fn all_wait(blocked: usize) {
    assert!(!gort::thread::is_goroutine(), "the caller would have to wait too");
    let all = || {
        let stats = gort::stats();
        if goroutines_are_threads() {
            others_sleep()
        } else {
            stats.kernel_threads == stats.idle_threads + blocked
        }
    };
    assert!(eventually(Duration::from_secs(30), all), "not all wait: {:?}", gort::stats());
}

/// Whether every thread of the process but the caller sleeps in the kernel.
fn others_sleep() -> bool {
    // SAFETY: no preconditions.
    let own = unsafe { libc::gettid() }.to_string();
    let tasks = fs::read_dir("/proc/self/task").expect("/proc is mounted");
    tasks.filter_map(Result::ok).filter(|task| task.file_name() != *own).all(|task| {
        // The state follows the name, which stands in parentheses and may hold any. A thread may be gone meanwhile.
        let stat = fs::read_to_string(task.path().join("stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('S'))
    })
}
