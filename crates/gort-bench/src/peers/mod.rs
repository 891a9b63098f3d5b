//! The peers: the same workloads on other runtimes, each in its own idiom.

pub mod bare;
pub mod go;
pub mod may;
pub mod std;
pub mod tokio;

use ::std::mem::{size_of, zeroed};

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
