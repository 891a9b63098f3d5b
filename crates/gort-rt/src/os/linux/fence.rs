//! The asymmetric fence: the rare side pays for a fence on all threads, so that the frequent side needs none.

use super::syscall::syscall;

const QUERY: usize = 0;
const PRIVATE_EXPEDITED: usize = 1 << 3;
const REGISTER_PRIVATE_EXPEDITED: usize = 1 << 4;

/// Announces that this process uses [`membarrier`]. To be called once, before the first one.
///
/// False when the kernel or the sandbox has no such call, or the environment says `GORT_MEMBARRIER=0`; the frequent side
/// must then use real fences.
pub(crate) fn membarrier_register() -> bool {
    if std::env::var_os("GORT_MEMBARRIER").is_some_and(|v| v == "0") {
        return false;
    }
    let both = PRIVATE_EXPEDITED | REGISTER_PRIVATE_EXPEDITED;
    command(QUERY).is_ok_and(|supported| supported & both == both) && command(REGISTER_PRIVATE_EXPEDITED).is_ok()
}

/// Makes every thread of the process execute a full memory fence before this returns, and is one itself.
///
/// A few microseconds. Only after [`membarrier_register`] returned true.
pub(crate) fn membarrier() {
    if let Err(errno) = command(PRIVATE_EXPEDITED) {
        panic!("membarrier failed with errno {errno} although it was registered");
    }
}

fn command(command: usize) -> Result<usize, i32> {
    // SAFETY: the commands used here take no pointers.
    unsafe { syscall(libc::SYS_membarrier, [command, 0, 0, 0, 0, 0]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn register_then_use() {
        if membarrier_register() {
            membarrier();
        }
    }
}
