//! Why there is no stack, in words that tell the user what to do.

use core::fmt;
use std::io;

use super::{arena, GUARD};
use crate::os::code;

/// Why a stack could not be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AllocError {
    /// More than the largest size class holds.
    TooLarge { usable: usize },
    /// The kernel does not give any more address space.
    NoAddressSpace { slot: usize, stacks: usize, errno: i32 },
    /// The system has no memory for the first pages of a stack.
    NoMemory { errno: i32 },
    /// The arena's table of chunks is full.
    TooMany { stacks: usize },
    /// Another guard by `mprotect` would come too close to the limit on mappings.
    MapLimit { max_map_count: usize, guards: usize },
    /// Marker guards were demanded, but the kernel has none.
    NoMarkers,
    /// The kernel refused a guard for another reason.
    Guard { errno: i32 },
}

impl AllocError {
    /// The errno value that libc's functions would give for this.
    pub(crate) fn errno(&self) -> i32 {
        match *self {
            Self::TooLarge { .. } | Self::NoMarkers => code::INVALID,
            Self::NoAddressSpace { .. } => code::NO_MEMORY,
            Self::TooMany { .. } | Self::MapLimit { .. } => code::AGAIN,
            Self::NoMemory { errno } | Self::Guard { errno } => errno,
        }
    }
}

impl fmt::Display for AllocError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::TooLarge { usable } => write!(
                f,
                "a goroutine stack of {usable} bytes is too large: the most is {} GiB; \
                 check Builder::stack_size and GORT_STACK_SIZE",
                (arena::MAX_SLOT - GUARD) >> 30
            ),
            Self::NoAddressSpace { slot, stacks, errno } => write!(
                f,
                "no address space for another goroutine stack of {} KiB, after {stacks} stacks: {}; raise the limits \
                 on the process's address space and data (ulimit -v, ulimit -d), allow overcommit (vm.overcommit_memory is not 2), or use \
                 smaller stacks (Builder::stack_size, GORT_STACK_SIZE)",
                slot / 1024,
                io::Error::from_raw_os_error(errno)
            ),
            Self::NoMemory { errno } => write!(
                f,
                "no memory for another goroutine stack: {}; run fewer goroutines at a time, or raise the memory limit",
                io::Error::from_raw_os_error(errno)
            ),
            Self::TooMany { stacks } => write!(
                f,
                "too many goroutine stacks: {stacks} exist, and there is room for no more; run fewer goroutines at a \
                 time, or fewer with stacks of a GiB and more"
            ),
            Self::MapLimit { max_map_count, guards } => write!(
                f,
                "cannot guard another goroutine stack: {guards} are guarded by mprotect, each takes two mappings, and \
                 vm.max_map_count is {max_map_count}; raise it (sysctl -w vm.max_map_count={}), use Linux 6.13 or later, \
                 whose guards take no mappings, or run fewer goroutines at a time",
                suggested(max_map_count)
            ),
            Self::NoMarkers => write!(
                f,
                "GORT_GUARD=markers needs Linux 6.13 or later, and memory that is not locked; unset GORT_GUARD, or set \
                 it to mprotect"
            ),
            Self::Guard { errno } => write!(
                f,
                "the kernel refused to guard a goroutine stack: {}; run fewer goroutines at a time, or raise the memory \
                 limit",
                io::Error::from_raw_os_error(errno)
            ),
        }
    }
}

impl std::error::Error for AllocError {}

/// A value of `vm.max_map_count` worth trying: room for a million stacks, or ten times what there is.
fn suggested(max_map_count: usize) -> usize {
    max_map_count.saturating_mul(10).max(2_200_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_say_what_to_do() {
        let limit = AllocError::MapLimit { max_map_count: 65_530, guards: 24_573 }.to_string();
        for part in ["vm.max_map_count is 65530", "24573 are guarded", "sysctl -w vm.max_map_count=2200000"] {
            assert!(limit.contains(part), "{limit}");
        }
        let space = AllocError::NoAddressSpace { slot: 1 << 18, stacks: 12, errno: code::NO_MEMORY }.to_string();
        let systems = io::Error::from_raw_os_error(code::NO_MEMORY).to_string();
        for part in ["256 KiB", "12 stacks", "ulimit -v", &systems] {
            assert!(space.contains(part), "{space}");
        }
        assert!(AllocError::TooLarge { usable: 1 << 60 }.to_string().contains("1152921504606846976 bytes"));
        assert!(AllocError::TooMany { stacks: 7 }.to_string().contains("7 exist"));
        assert!(AllocError::NoMarkers.to_string().contains("GORT_GUARD=markers"));
        assert!(AllocError::Guard { errno: code::NO_MEMORY }.to_string().contains(&systems));
        assert!(AllocError::NoMemory { errno: code::NO_MEMORY }.to_string().contains(&systems));
        assert_eq!(AllocError::MapLimit { max_map_count: 1, guards: 1 }.errno(), code::AGAIN);
    }
}
