//! Linux.

use crate::wire::MESSAGE;
use std::io;
use std::mem::{size_of, zeroed};
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::time::Duration;

/// As many as there is memory for.
pub fn most_goroutines() -> usize {
    usize::MAX
}

/// It does.
pub fn short_sleeps() -> Result<(), String> {
    Ok(())
}

/// Bytes of memory the process holds: resident pages and page tables.
///
/// # Panics
/// If `/proc/self/status` cannot be read or lacks a field.
pub fn held_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc/self/status");
    let kib = |name: &str| -> u64 {
        let line = status
            .lines()
            .find_map(|l| l.strip_prefix(name))
            .unwrap_or_else(|| panic!("/proc/self/status has no {name}"));
        let number = line.trim().trim_end_matches(" kB");
        number.parse().expect("a number of kB")
    };
    (kib("VmRSS:") + kib("VmPTE:")) * 1024
}

/// What the process has used so far, all its threads together.
pub struct Usage {
    /// CPU time, in the kernel and outside.
    pub cpu: Duration,
    /// How often a thread gave up its CPU because it waited.
    pub voluntary_switches: u64,
}

impl Usage {
    /// Asks the kernel.
    ///
    /// # Panics
    /// If the kernel refuses.
    pub fn now() -> Self {
        // SAFETY: a rusage is plain numbers, for which zero is a value; the kernel writes just that.
        let (usage, result) = unsafe {
            let mut usage: libc::rusage = zeroed();
            let result = libc::getrusage(libc::RUSAGE_SELF, &mut usage);
            (usage, result)
        };
        assert_eq!(result, 0, "getrusage");
        let time = |t: libc::timeval| Duration::new(t.tv_sec as u64, t.tv_usec as u32 * 1000);
        Self { cpu: time(usage.ru_utime) + time(usage.ru_stime), voluntary_switches: usage.ru_nvcsw as u64 }
    }
}

/// CPU time of the process that started this one, in the kernel and outside, to a hundredth of a second.
///
/// # Panics
/// If `/proc` does not tell.
pub fn parents_cpu() -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", std::os::unix::process::parent_id())).expect("/proc");
    // Behind the name in brackets, which may contain anything, user and system time are the 12th and 13th field.
    let (_, fields) = stat.rsplit_once(')').expect("a name in brackets");
    let ticks: u64 = fields.split_whitespace().skip(11).take(2).map(|n| n.parse::<u64>().expect("a number")).sum();
    // SAFETY: takes a number and returns one.
    let per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    Duration::from_secs_f64(ticks as f64 / per_second as f64)
}

/// Descriptors that a process has open apart from connections, with some to spare.
const OTHER_DESCRIPTORS: u64 = 100;

/// Makes sure that this process may have `connections` open, by raising its soft limit to the hard one. Says what is missing if
/// that is not enough.
pub fn need_descriptors(connections: usize) -> Result<(), String> {
    let need = connections as u64 + OTHER_DESCRIPTORS;
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the kernel writes, then reads, just the struct.
    let raised = unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) == 0 && {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &limit) == 0
        }
    };
    if raised && limit.rlim_max >= need {
        return Ok(());
    }
    let have = limit.rlim_max;
    Err(format!("the hard limit of open files (RLIMIT_NOFILE, `ulimit -Hn`) is {have}; {need} are needed"))
}

/// Lets this thread, and those it will start, use all CPUs that the system grants, whatever was inherited.
///
/// # Panics
/// If the kernel refuses.
pub fn use_all_cpus() {
    // SAFETY: a cpu_set_t is a plain array of bits, for which zero is a value; CPU_SET stays below CPU_SETSIZE, and the kernel reads
    // just the set, with its true size. 0 names the calling thread.
    let result = unsafe {
        let mut all: libc::cpu_set_t = zeroed();
        (0..libc::CPU_SETSIZE as usize).for_each(|cpu| libc::CPU_SET(cpu, &mut all));
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &all)
    };
    assert_eq!(result, 0, "sched_setaffinity");
}

/// Restricts the process to the first `procs` of the CPUs it may use, for runtimes whose scheduler is the kernel's.
///
/// # Panics
/// If the kernel refuses, or there are fewer CPUs.
pub fn use_cpus(procs: usize) {
    // SAFETY: a cpu_set_t is a plain array of bits, for which zero is a value; the calls read and write just the set they are
    // given, with its true size, and 0 names the calling thread. CPU_SET and CPU_ISSET stay below CPU_SETSIZE.
    unsafe {
        let mut allowed: libc::cpu_set_t = zeroed();
        let size = size_of::<libc::cpu_set_t>();
        assert_eq!(libc::sched_getaffinity(0, size, &mut allowed), 0);
        let mut chosen: libc::cpu_set_t = zeroed();
        let cpus = (0..libc::CPU_SETSIZE as usize).filter(|&cpu| libc::CPU_ISSET(cpu, &allowed));
        let mut count = 0;
        for cpu in cpus.take(procs) {
            libc::CPU_SET(cpu, &mut chosen);
            count += 1;
        }
        assert_eq!(count, procs, "fewer CPUs than asked for");
        assert_eq!(libc::sched_setaffinity(0, size, &chosen), 0);
    }
}

/// Sends a message by one system call.
pub fn send(stream: &TcpStream, message: &[u8; MESSAGE]) {
    // SAFETY: the descriptor is open, and the kernel reads just the array, whose length is given.
    let sent = unsafe { libc::send(stream.as_raw_fd(), message.as_ptr().cast(), MESSAGE, 0) };
    assert_eq!(sent, MESSAGE as isize, "send: {}", io::Error::last_os_error());
}

/// Receives a message by one system call.
pub fn receive(stream: &TcpStream, message: &mut [u8; MESSAGE]) {
    // SAFETY: the descriptor is open, and the kernel writes just the array, whose length is given.
    let received = unsafe { libc::recv(stream.as_raw_fd(), message.as_mut_ptr().cast(), MESSAGE, 0) };
    assert_eq!(received, MESSAGE as isize, "recv: {}", io::Error::last_os_error());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parent_has_used_the_cpu() {
        assert!(parents_cpu() < Duration::from_secs(1 << 32));
    }

    #[test]
    fn too_many_descriptors_are_refused_by_name() {
        assert_eq!(need_descriptors(1), Ok(()));
        assert!(need_descriptors(1 << 40).unwrap_err().contains("RLIMIT_NOFILE"));
    }
}
