//! The three blocks that the recipe is learnt from.

use rustix::mm::{mmap_anonymous, munmap, MapFlags, ProtFlags};

use super::block;
use super::donor::Model;
use super::glibc::Glibc;
use super::recipe::{Recipe, Snapshot};
use super::Error;
use crate::arch;

/// A block of ours as `_dl_allocate_tls` makes it, and those of two threads.
#[derive(Debug, Clone)]
pub(super) struct Evidence {
    pub(super) raw: Snapshot,
    pub(super) models: [Snapshot; 2],
}

/// Memory for one stack, unmapped at the end.
struct Mapping {
    lo: *mut u8,
    len: usize,
}

impl Mapping {
    fn new(len: usize) -> Result<Mapping, Error> {
        // SAFETY: a new private mapping disturbs nobody.
        let lo = unsafe {
            mmap_anonymous(core::ptr::null_mut(), len, ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE)
        };
        let lo = lo.map_err(|e| Error::Os("mmap", e.raw_os_error()))?.cast();
        Ok(Mapping { lo, len })
    }

    fn hi(&self) -> *mut u8 {
        self.lo.wrapping_add(self.len)
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and whoever ran on it has ended. That this can fail does no harm.
        let _ = unsafe { munmap(self.lo.cast(), self.len) };
    }
}

impl Evidence {
    /// Makes the blocks, copies them and takes everything down again.
    pub(super) fn collect(glibc: &Glibc) -> Result<Evidence, Error> {
        // Different sizes, so that sizes and addresses computed from them can be told apart.
        const STACKS: [usize; 3] = [256 << 10, 320 << 10, 448 << 10];
        const PAGE: usize = 4096;
        let room = glibc.layout.size().next_multiple_of(PAGE);
        let [ours, one, two] = STACKS.map(|stack| Mapping::new(stack + room));
        let (ours, one, two) = (ours?, one?, two?);
        // SAFETY: the mappings are fresh and outlive the block and the threads.
        unsafe {
            let tp = block::build_raw(glibc, ours.lo, ours.hi())?;
            let raw = Snapshot::take(glibc, tp, ours.lo as usize, ours.hi() as usize, 0);
            (glibc.deallocate_tls)(tp as *mut _, false);
            let first = Model::start(one.lo, one.hi())?;
            let second = Model::start(two.lo, two.hi());
            let models = second.map(|second| {
                let models = [first.snapshot(glibc), second.snapshot(glibc)];
                second.finish();
                models
            });
            first.finish();
            Ok(Evidence { raw, models: models? })
        }
    }

    /// Checks what we take for granted of a block, then compares the rest.
    pub(super) fn recipe(mut self, glibc: &Glibc) -> Result<Recipe, Error> {
        for model in &self.models {
            let tp = model.tp as u64;
            if arch::SELF_WORDS.iter().any(|&offset| model.word(offset.cast_signed()) != tp) {
                return Err(Error::Layout("a thread's block does not have its own address".into()));
            }
            if model.tp != glibc.thread_pointer(model.hi) {
                return Err(Error::Layout("a thread's block is not at the top of its stack".into()));
            }
            if model.half(glibc.tid) != model.tid {
                return Err(Error::Layout(format!("no thread id at offset {}", glibc.tid)));
            }
            let list = glibc.list;
            if model.word(list) == 0 || model.word(list + 8) == 0 {
                return Err(Error::Layout(format!("no links at offset {list}")));
            }
            if arch::STACK_GUARD.is_some_and(|offset| model.word(offset.cast_signed()) != own_word(offset)) {
                return Err(Error::Layout("threads differ in the stack protector's word".into()));
            }
        }
        self.raw.erase_named(glibc);
        self.models.iter_mut().for_each(|model| model.erase_named(glibc));
        let [one, two] = &self.models;
        Ok(Recipe::learn(&self.raw, one, two))
    }
}

/// The word at an offset from the calling thread's thread pointer.
fn own_word(offset: usize) -> u64 {
    let at = arch::thread_pointer() + offset;
    // SAFETY: the ABI has such a word in every thread's block.
    unsafe { (at as *const u64).read() }
}
