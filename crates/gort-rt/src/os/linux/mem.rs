//! Address space. All addresses and lengths are multiples of [`page_size`]; the kernel refuses others.

use super::file::read_file;
use super::syscall::syscall;

/// `MADV_GUARD_INSTALL`, Linux 6.13: the pages fault on any access, at the cost of a page-table entry each.
const MADV_GUARD_INSTALL: usize = 102;

/// Bytes per page.
pub(crate) fn page_size() -> usize {
    // SAFETY: getauxval reads a table that the kernel left for the process; any key is allowed.
    unsafe { libc::getauxval(libc::AT_PAGESZ) as usize }
}

/// Reserves `len` bytes of zeroed memory that takes up no room until it is touched, and then one small page at a time.
pub(crate) fn reserve(len: usize) -> Result<*mut u8, i32> {
    let rights = (libc::PROT_READ | libc::PROT_WRITE) as usize;
    let flags = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE) as usize;
    // SAFETY: a new mapping at an address of the kernel's choice touches none that exists.
    let start = unsafe { syscall(libc::SYS_mmap, [0, len, rights, flags, usize::MAX, 0]) }?;
    // A huge page would make one touched byte cost 2 MiB. A kernel without them refuses the advice, and needs none.
    // SAFETY: the advice changes no content, and the mapping is ours.
    let _ = unsafe { syscall(libc::SYS_madvise, [start, len, libc::MADV_NOHUGEPAGE as usize, 0, 0, 0]) };
    Ok(start as *mut u8)
}

/// Where stacks start: at a multiple of what one page of the last level of page tables covers, so that no two runs of stacks share
/// one.
const STACKS_ALIGN: usize = 2 << 20;

/// Reserves `len` bytes for stacks, as [`reserve`] does.
pub(crate) fn reserve_stacks(len: usize) -> Result<*mut u8, i32> {
    let all = len + STACKS_ALIGN;
    let start = reserve(all)?;
    let before = start.align_offset(STACKS_ALIGN);
    let after = all - before - len;
    // SAFETY: the parts in front of and behind the aligned range belong to the reservation just made and are unused.
    unsafe {
        if before > 0 {
            unreserve(start, before);
        }
        if after > 0 {
            unreserve(start.add(before + len), after);
        }
        Ok(start.add(before))
    }
}

/// Makes the stack from `lo` to `hi` ready for use. Its pages come when they are touched, in any order, so there is nothing to do.
///
/// # Safety
/// None that this would need.
pub(crate) unsafe fn commit_stack(_lo: *mut u8, _hi: *mut u8) -> Result<(), i32> {
    Ok(())
}

/// Gives the memory of the stack from `lo` to `hi` back: it reads as zero afterwards. Memory that the application has locked cannot
/// be given back, and is overwritten; so is any where `locked` says so.
///
/// # Safety
/// The range is part of a [`reserve_stacks`]d one, without guards, and its contents are no longer needed.
pub(crate) unsafe fn empty_stack(lo: *mut u8, hi: *mut u8, locked: bool) {
    let len = hi as usize - lo as usize;
    // SAFETY: the caller promises that the range is ours and its contents dead.
    unsafe {
        if locked || release_pages(lo, len).is_err() {
            lo.write_bytes(0, len);
        }
    }
}

/// Gives the lowest `len` bytes of a stack that begins at `lo` back, as far as that can be.
///
/// # Safety
/// Nobody runs on the stack, and what is there is no longer needed.
pub(crate) unsafe fn trim_stack(lo: *mut u8, len: usize) {
    // Memory that the application has locked stays: nothing depends on it.
    // SAFETY: the caller promises that the range is ours and its contents dead.
    let _ = unsafe { release_pages(lo, len) };
}

/// Gives address space back; unless it lies amid other address space and the process may not have the further mapping that a
/// hole takes: then it stays reserved.
///
/// # Safety
/// The range is part of a [`reserve`]d one and nothing refers to it any more.
pub(crate) unsafe fn unreserve(start: *mut u8, len: usize) {
    // SAFETY: the caller promises that the range is ours and unused.
    let result = unsafe { syscall(libc::SYS_munmap, [start as usize, len, 0, 0, 0, 0]) };
    debug_assert!(matches!(result, Ok(_) | Err(libc::ENOMEM)), "munmap failed with errno {result:?}");
}

/// Gives the memory of a range back to the system. The range stays reserved and reads as zero. `EINVAL` when the
/// application has locked it (`mlockall`), in which case nothing has changed.
///
/// # Safety
/// The range is part of a [`reserve`]d one and its contents are no longer needed.
pub(crate) unsafe fn release_pages(start: *mut u8, len: usize) -> Result<(), i32> {
    // SAFETY: the caller promises that the range is ours and its contents dead.
    unsafe { syscall(libc::SYS_madvise, [start as usize, len, libc::MADV_DONTNEED as usize, 0, 0, 0]) }.map(drop)
}

/// Makes every access to a range fault, without splitting the mapping. `EINVAL` when the kernel is older than 6.13.
///
/// # Safety
/// The range is part of a [`reserve`]d one and nothing refers to it any more.
pub(crate) unsafe fn guard_install(start: *mut u8, len: usize) -> Result<(), i32> {
    // SAFETY: the caller promises that the range is ours and unused.
    unsafe { syscall(libc::SYS_madvise, [start as usize, len, MADV_GUARD_INSTALL, 0, 0, 0]) }.map(drop)
}

/// Makes every access to a range fault by taking its rights away, which splits the mapping in up to three. `ENOMEM` when
/// the process would have more than `vm.max_map_count` mappings.
///
/// # Safety
/// The range is part of a [`reserve`]d one and nothing refers to it any more.
pub(crate) unsafe fn protect_none(start: *mut u8, len: usize) -> Result<(), i32> {
    // SAFETY: the caller promises that the range is ours and unused.
    unsafe { syscall(libc::SYS_mprotect, [start as usize, len, libc::PROT_NONE as usize, 0, 0, 0]) }.map(drop)
}

/// Whether the kernel can read the zero word at `start`. (It is asked by a call whose argument valgrind does not read itself.)
pub(crate) fn is_readable(start: *const u8) -> bool {
    let at_once = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    let op = (libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG) as usize;
    // SAFETY: the kernel looks the address up itself, and does not wait, since the word is not 1.
    let asked = unsafe { syscall(libc::SYS_futex, [start as usize, op, 1, &raw const at_once as usize, 0, 0]) };
    asked != Err(libc::EFAULT)
}

/// The most mappings that a process may have (`vm.max_map_count`); `None` where `/proc` is not mounted.
pub(crate) fn max_mappings() -> Option<usize> {
    let mut buffer = [0; 32];
    let text = read_file(c"/proc/sys/vm/max_map_count", &mut buffer).ok()?;
    core::str::from_utf8(text).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_memory_is_zero_again_after_release() {
        let len = 16 * page_size();
        let start = reserve(len).unwrap();
        // SAFETY: the range was reserved above and is used by this test alone.
        unsafe {
            assert_eq!(start.read(), 0);
            start.add(len - 1).write(7);
            release_pages(start, len).unwrap();
            assert_eq!(start.add(len - 1).read(), 0);
            unreserve(start, len);
        }
    }

    #[test]
    fn errors_are_errno_values() {
        assert_eq!(reserve(0), Err(libc::EINVAL));
        assert!(reserve(1 << 60).is_err());
        let start = reserve(page_size()).unwrap();
        // SAFETY: the first range is misaligned, which the kernel refuses before it does anything; the rest is ours.
        unsafe {
            assert_eq!(protect_none(start.add(1), page_size()), Err(libc::EINVAL));
            protect_none(start, page_size()).unwrap();
            unreserve(start, page_size());
        }
    }
}
