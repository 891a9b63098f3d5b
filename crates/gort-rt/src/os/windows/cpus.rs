//! How many processors this process may keep busy.

use windows_sys::Win32::System::Threading::{
    GetActiveProcessorCount, GetCurrentProcess, GetProcessAffinityMask, ALL_PROCESSOR_GROUPS,
};

/// Number of processors in the process's affinity mask; of all there are, for a process whose threads are in several groups
/// of processors, which has no mask. At least 1.
pub(crate) fn available_cpus() -> usize {
    let (mut process, mut system) = (0, 0);
    // SAFETY: the two masks are ours to write.
    let known = unsafe { GetProcessAffinityMask(GetCurrentProcess(), &raw mut process, &raw mut system) } != 0;
    if known && process != 0 {
        return process.count_ones() as usize;
    }
    // SAFETY: no preconditions.
    (unsafe { GetActiveProcessorCount(ALL_PROCESSOR_GROUPS) } as usize).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_as_std_says_at_most() {
        assert!((1..=std::thread::available_parallelism().unwrap().get()).contains(&available_cpus()));
    }
}
