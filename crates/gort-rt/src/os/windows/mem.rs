//! Address space. All addresses and lengths are multiples of [`page_size`].
//!
//! What is reserved is committed at once: the system promises memory for all of it, which counts against its limit, and gives
//! each page when it is first touched.

use super::code;
use super::error::{self, kept};
use core::mem::{size_of, MaybeUninit};
use core::ptr;
use core::sync::atomic::{AtomicUsize, Ordering};
use windows_sys::Win32::System::Memory::{
    VirtualAlloc, VirtualFree, VirtualProtect, VirtualQuery, MEMORY_BASIC_INFORMATION, MEM_COMMIT, MEM_DECOMMIT,
    MEM_RELEASE, MEM_RESERVE, PAGE_GUARD, PAGE_NOACCESS, PAGE_READWRITE,
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

/// Gives the memory of a range back to the system. The range stays reserved and reads as zero.
///
/// # Safety
/// The range is part of a [`reserve`]d one, without guards, and its contents are no longer needed.
pub(crate) unsafe fn release_pages(start: *mut u8, len: usize) -> Result<(), i32> {
    // SAFETY: the caller promises that the range is ours and its contents dead.
    let done = unsafe {
        VirtualFree(start.cast(), len, MEM_DECOMMIT) != 0
            && !VirtualAlloc(start.cast(), len, MEM_COMMIT, PAGE_READWRITE).is_null()
    };
    if done {
        Ok(())
    } else {
        Err(error::last())
    }
}

/// Makes every access to a range fault. Windows has no limit on how often.
///
/// # Safety
/// The range is part of a [`reserve`]d one and nothing refers to it any more.
pub(crate) unsafe fn guard_install(start: *mut u8, len: usize) -> Result<(), i32> {
    // SAFETY: the same contract.
    unsafe { protect_none(start, len) }
}

/// Makes every access to a range fault by taking its rights away.
///
/// # Safety
/// The range is part of a [`reserve`]d one and nothing refers to it any more.
pub(crate) unsafe fn protect_none(start: *mut u8, len: usize) -> Result<(), i32> {
    if !(start as usize).is_multiple_of(page_size()) {
        return Err(code::INVALID); // the system would take the whole page
    }
    let mut before = 0;
    // SAFETY: the caller promises that the range is ours and unused.
    if unsafe { VirtualProtect(start.cast(), len, PAGE_NOACCESS, &raw mut before) } != 0 {
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
