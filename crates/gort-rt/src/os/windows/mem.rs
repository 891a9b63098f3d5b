//! Address space. All addresses and lengths are multiples of [`page_size`].
//!
//! Before memory is used it is *committed*: the system promises it, which counts against a limit, and gives each page when it is
//! first touched. What is [`reserve`]d is committed at once.
//!
//! # Stacks
//!
//! The stacks of a chunk would take a GiB of that limit, so they are committed as they grow, by the way that the system has for
//! the stacks of threads and of fibers:
//!
//! ```text
//!   |<------------- not committed ------------->|  guard page  |<---- committed ---->|
//!   start of the slot (DeallocationStack)                      StackLimit            hi (StackBase)
//! ```
//!
//! The guard page (`PAGE_GUARD`) faults once, when it is touched. If it lies between the two bounds that the thread's block (TEB)
//! names, the system commits it, makes the page below the next guard page, lowers `StackLimit` and goes on. So a switch takes these
//! words along, see `arch`. Compilers touch a frame of more than a page from above, page by page (`__chkstk`), so none steps
//! over the guard page.
//!
//! This is the system's own doing: no handler is called, and no code of the program's knows of it. Others have committed
//! a page of their own accord in a vectored handler; but what the system itself writes to a stack, the record of an exception above
//! all, is written before any handler can be called.
//!
//! The growth ends before the lowest pages of the slot, where the arena's guard is: what is touched there is a stack overflow
//! (`STATUS_STACK_OVERFLOW`), and the thread's `GuaranteedStackBytes` say how much of the guard is committed at that moment for
//! whoever reports it.
//!
//! Wine makes a page of a stack accessible with the rights that it had been reserved with, so they are reserved as writable.

use super::code;
use super::error::{self, kept};
use crate::stack::GUARD;
use core::mem::{size_of, MaybeUninit};
use core::ptr;
use core::sync::atomic::{AtomicUsize, Ordering};
use windows_sys::Win32::System::Memory::{
    VirtualAlloc, VirtualFree, VirtualQuery, MEMORY_BASIC_INFORMATION, MEM_COMMIT, MEM_DECOMMIT, MEM_RELEASE,
    MEM_RESERVE, PAGE_GUARD, PAGE_NOACCESS, PAGE_READWRITE,
};
use windows_sys::Win32::System::SystemInformation::GetSystemInfo;

/// Bytes per page; 0: not asked yet.
static PAGE: AtomicUsize = AtomicUsize::new(0);

/// Bytes per page.
pub(crate) fn page_size() -> usize {
    match PAGE.load(Ordering::Relaxed) {
        0 => {
            let mut info = MaybeUninit::zeroed();
            // SAFETY: the record is ours to write, and the call fills it in.
            let page = unsafe {
                GetSystemInfo(info.as_mut_ptr());
                info.assume_init().dwPageSize as usize
            };
            PAGE.store(page, Ordering::Relaxed);
            page
        }
        known => known,
    }
}

/// Reserves `len` bytes of zeroed memory, of which a page takes up room once it is touched.
pub(crate) fn reserve(len: usize) -> Result<*mut u8, i32> {
    // SAFETY: a new range at an address of the system's choice touches none that exists.
    let start = unsafe { VirtualAlloc(ptr::null(), len, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE) };
    if start.is_null() {
        Err(error::last())
    } else {
        Ok(start.cast())
    }
}

/// Bytes at the top of a stack that are committed before it is used: for the goroutine's identity and its first frames, so
/// that few goroutines touch the guard page.
pub(crate) const STACK_COMMIT: usize = 16 << 10;

/// Reserves `len` bytes of address space for stacks.
pub(crate) fn reserve_stacks(len: usize) -> Result<*mut u8, i32> {
    // SAFETY: a new range at an address of the system's choice touches none that exists.
    let start = unsafe { VirtualAlloc(ptr::null(), len, MEM_RESERVE, PAGE_READWRITE) };
    if start.is_null() {
        Err(error::last())
    } else {
        Ok(start.cast())
    }
}

/// Makes the stack from `lo` to `hi` ready for use: commits its upper [`STACK_COMMIT`] bytes, and the guard page below.
///
/// # Safety
/// The range is part of a [`reserve_stacks`]d one, unused, and so is the page in front of it.
pub(crate) unsafe fn commit_stack(lo: *mut u8, hi: *mut u8) -> Result<(), i32> {
    let committed = STACK_COMMIT.min(hi as usize - lo as usize);
    let (page, limit) = (page_size(), hi.wrapping_sub(committed));
    // SAFETY: the caller promises that the range is ours and unused.
    let done = unsafe {
        !VirtualAlloc(limit.cast(), committed, MEM_COMMIT, PAGE_READWRITE).is_null()
            && !VirtualAlloc(limit.wrapping_sub(page).cast(), page, MEM_COMMIT, PAGE_READWRITE | PAGE_GUARD).is_null()
    };
    if done {
        return Ok(());
    }
    let error = error::last();
    // SAFETY: as above.
    unsafe { empty_stack(lo, hi, false) };
    Err(error)
}

/// Takes the memory of the stack from `lo` to `hi` away, and of the guard below that, where an overflow may have been.
///
/// # Safety
/// The range is part of a [`reserve_stacks`]d one, and its contents are no longer needed.
pub(crate) unsafe fn empty_stack(lo: *mut u8, hi: *mut u8, _locked: bool) {
    let start = lo.wrapping_sub(GUARD);
    // SAFETY: the caller promises that the range is ours and its contents dead.
    let done = unsafe { VirtualFree(start.cast(), hi as usize - start as usize, MEM_DECOMMIT) };
    debug_assert_ne!(done, 0, "VirtualFree failed with error {}", error::last());
}

/// Does nothing: the guard page, and what the goroutine keeps for the thread's block, would have to follow. The memory stays until
/// all of the stack is emptied.
///
/// # Safety
/// None that this would need.
pub(crate) unsafe fn trim_stack(_lo: *mut u8, _len: usize) {}

/// Gives address space back; unless it is a part only of what was reserved at once: then the memory goes, and the addresses
/// stay reserved.
///
/// # Safety
/// The range is part of a [`reserve`]d one and nothing refers to it any more.
pub(crate) unsafe fn unreserve(start: *mut u8, len: usize) {
    // SAFETY: the caller promises that the range is ours and unused.
    let done = unsafe {
        if whole(start) == Some(len) {
            VirtualFree(start.cast(), 0, MEM_RELEASE)
        } else {
            VirtualFree(start.cast(), len, MEM_DECOMMIT)
        }
    };
    debug_assert_ne!(done, 0, "VirtualFree failed with error {}", error::last());
}

/// Bytes of the reservation that begins at `start`; None: none begins there.
fn whole(start: *mut u8) -> Option<usize> {
    let mut end = start;
    while let Some(region) = query(end).filter(|region| ptr::eq(region.AllocationBase, start.cast())) {
        end = end.wrapping_add(region.RegionSize);
    }
    Some(end as usize - start as usize).filter(|&len| len > 0)
}

/// What the system knows of the pages from `at` on that are alike.
fn query(at: *const u8) -> Option<MEMORY_BASIC_INFORMATION> {
    let mut region = MaybeUninit::uninit();
    // SAFETY: the record is ours to write; any address may be asked about.
    let bytes = unsafe { VirtualQuery(at.cast(), region.as_mut_ptr(), size_of::<MEMORY_BASIC_INFORMATION>()) };
    // SAFETY: a call that succeeded has filled it in.
    (bytes != 0).then(|| unsafe { region.assume_init() })
}

/// Makes every access to a range fault. Windows has no limit on how often.
///
/// # Safety
/// The range is part of a [`reserve`]d one, or of stacks, and nothing refers to it any more.
pub(crate) unsafe fn guard_install(start: *mut u8, len: usize) -> Result<(), i32> {
    // SAFETY: the same contract.
    unsafe { protect_none(start, len) }
}

/// Makes every access to a range fault by taking its memory away.
///
/// # Safety
/// The range is part of a [`reserve`]d one, or of stacks, and nothing refers to it any more.
pub(crate) unsafe fn protect_none(start: *mut u8, len: usize) -> Result<(), i32> {
    if !(start as usize).is_multiple_of(page_size()) {
        return Err(code::INVALID); // the system would take the whole page
    }
    // SAFETY: the caller promises that the range is ours and unused.
    if unsafe { VirtualFree(start.cast(), len, MEM_DECOMMIT) } != 0 {
        Ok(())
    } else {
        Err(error::last())
    }
}

/// Whether the word at `start` can be read.
pub(crate) fn is_readable(start: *const u8) -> bool {
    kept(|| query(start))
        .is_some_and(|region| region.State == MEM_COMMIT && region.Protect & (PAGE_NOACCESS | PAGE_GUARD) == 0)
}

/// The most mappings that a process may have: there is no limit.
pub(crate) fn max_mappings() -> Option<usize> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use windows_sys::Win32::System::Memory::MEM_FREE;

    #[test]
    fn a_stack_is_zero_again_after_it_was_emptied() {
        let len = 256 << 10;
        let start = reserve_stacks(len).unwrap();
        let (lo, hi) = (start.wrapping_add(GUARD), start.wrapping_add(len));
        for _ in 0..2 {
            // SAFETY: the range was reserved above and is used by this test alone.
            unsafe {
                assert!(!is_readable(hi.sub(8)));
                commit_stack(lo, hi).unwrap();
                assert_eq!(hi.sub(STACK_COMMIT).read(), 0);
                hi.sub(STACK_COMMIT).write(7);
                assert!(!is_readable(hi.sub(STACK_COMMIT + 8)), "the guard page");
                assert!(!is_readable(lo));
                empty_stack(lo, hi, false);
            }
        }
        // SAFETY: as above.
        unsafe { unreserve(start, len) };
        assert_eq!(query(start).unwrap().State, MEM_FREE);
    }

    #[test]
    fn the_smallest_stack_is_committed_from_end_to_end() {
        let len = 2 * GUARD;
        let start = reserve_stacks(len).unwrap();
        let (lo, hi) = (start.wrapping_add(GUARD), start.wrapping_add(len));
        // SAFETY: as above.
        unsafe {
            commit_stack(lo, hi).unwrap();
            lo.write(1);
            assert!(!is_readable(lo.sub(8)));
            unreserve(start, len);
        }
    }

    #[test]
    fn errors_are_numbers_of_the_systems() {
        assert!(reserve(0).is_err());
        assert!(reserve(1 << 60).is_err());
        let start = reserve(page_size()).unwrap();
        // SAFETY: the first range is misaligned, which is refused before anything is done; the rest is ours.
        unsafe {
            assert_eq!(protect_none(start.add(1), page_size()), Err(code::INVALID));
            protect_none(start, page_size()).unwrap();
            assert!(!is_readable(start));
            unreserve(start, page_size());
        }
    }

    #[test]
    fn a_whole_reservation_goes_and_a_part_stays_reserved() {
        let page = page_size();
        let start = reserve(4 * page).unwrap();
        // SAFETY: ours, and used by this test alone.
        unsafe {
            protect_none(start, page).unwrap(); // another region of the same reservation
            unreserve(start.add(2 * page), page);
            assert!(is_readable(start.add(page)) && !is_readable(start.add(2 * page)));
            assert_eq!(whole(start), Some(4 * page));
            assert_eq!(whole(start.add(page)), None);
            unreserve(start, 4 * page);
        }
        assert_eq!(query(start).unwrap().State, MEM_FREE);
    }

    #[test]
    fn what_can_be_read() {
        let word = 0usize;
        assert!(is_readable((&raw const word).cast()));
        assert!(!is_readable(ptr::null()));
        assert!(!is_readable(ptr::without_provenance(usize::MAX & !7)));
    }
}
