//! Mappings kept back for the rest of the process while guards take theirs.
//!
//! When a guard by `mprotect` finds no mapping left, `mmap` and even `brk` fail for everybody, and a program whose malloc
//! fails ends, though the spawn itself was refused with an error. So the first guard of that kind sets some mappings
//! aside: a range of pages whose rights alternate, each a mapping of its own. Who finds none left for a guard takes the
//! range down, which frees them for malloc, new kernel threads and the like; no further guard is made until the range
//! can be put up again, that is, until there is room for both.

use crate::os::mem;
use crate::sync::rawmutex::RawMutex;

/// Mappings that are kept back: stacks and heaps of some kernel threads that sysmon may start, and then some for malloc.
const MAPPINGS: usize = 128;

/// See the module's head.
pub(super) struct Reserve(RawMutex<Option<Range>>);

/// The start of a range of [`MAPPINGS`] pages.
struct Range(*mut u8);

// SAFETY: nobody reads or writes the pages.
unsafe impl Send for Range {}

impl Reserve {
    pub(super) const fn new() -> Reserve {
        Reserve(RawMutex::new(None))
    }

    /// Keeps the mappings back, if they are not yet. An error number if there is no room for them.
    pub(super) fn put_up(&self) -> Result<(), i32> {
        let mut range = self.0.lock();
        if range.is_some() {
            return Ok(());
        }
        let page = mem::page_size();
        let new = Range(mem::reserve(MAPPINGS * page)?);
        for n in (0..MAPPINGS).step_by(2) {
            // SAFETY: a page of the new range, which nobody uses.
            if let Err(errno) = unsafe { mem::protect_none(new.0.add(n * page), page) } {
                new.take_down();
                return Err(errno);
            }
        }
        *range = Some(new);
        Ok(())
    }

    /// Lets others have the mappings.
    pub(super) fn take_down(&self) {
        if let Some(range) = self.0.lock().take() {
            range.take_down();
        }
    }
}

impl Range {
    fn take_down(self) {
        let len = MAPPINGS * mem::page_size();
        // SAFETY: the range is ours and nobody uses it. The kernel takes rights away from its start on and joins mappings as
        // it goes, so there are free ones when it gets to the end, where it may have to cut. The address space may have to
        // stay, see `unreserve`.
        unsafe {
            let _ = mem::protect_none(self.0, len);
            mem::unreserve(self.0, len);
        }
    }
}
