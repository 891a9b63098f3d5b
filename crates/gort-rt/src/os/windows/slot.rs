//! A word for each thread, in one of the slots that `TlsAlloc` hands out.
//!
//! The first 64 slots lie in the thread's own block (TEB), at a distance from `gs` that is part of Windows' ABI: reading one is
//! one load. The rest lie in a table that the system makes when a thread first stores there; its address is in the block too, also by
//! the ABI. A slot is asked for when somebody first stores, so that the runtime works from the first constructor on; a program
//! that has taken 64 slots before is one whose words take a few loads more.
//!
//! So no function of the system's stands between a word and who reads or writes it, but for a thread's first word in that table.
//! That matters on goroutines, where the system's functions for slots are other ones for this module (`identity`).
//!
//! Slots belong to kernel threads, whatever fiber runs on them. The shared words of a thread's block, such as
//! `ArbitraryUserPointer`, are left alone.

use super::error::kept;
use super::real::real;
use core::arch::asm;
use core::ffi::c_void;
use core::ptr;
use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering};
use windows_sys::core::BOOL;
use windows_sys::Win32::System::Threading::{TlsAlloc, TlsFree, TLS_OUT_OF_INDEXES};

/// Where the block's own address is, from `gs`.
const SELF: u32 = 0x30;
/// Where the first slot is, from the block's address.
const FIRST: u32 = 0x1480;
/// How many lie there.
const NEAR: u32 = 64;
/// Where the address of the table of the rest is, from `gs`; null on a thread that has stored in none of them.
const TABLE: u32 = 0x1780;

/// See the module's head.
pub(crate) struct Slot {
    /// The slot's number plus 1; 0: none has been asked for.
    number: AtomicU32,
    /// Where it is from `gs`; 0: not known, or it is not there.
    near: AtomicU32,
    /// The slot that was asked for before this one.
    older: AtomicPtr<Slot>,
}

/// How to find the words of a slot: the address at `gs:[base]`, plus `offset`.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    pub(crate) base: u32,
    pub(crate) offset: u32,
}

real! {
    fn TlsSetValue(slot: u32, value: *const c_void) -> BOOL;
}

/// All slots that have been asked for, the latest first.
static TAKEN: AtomicPtr<Slot> = AtomicPtr::new(ptr::null_mut());

impl Slot {
    pub(crate) const fn new() -> Slot {
        Slot { number: AtomicU32::new(0), near: AtomicU32::new(0), older: AtomicPtr::new(ptr::null_mut()) }
    }

    /// The calling thread's word, if that takes one load; else 0. It is 0 too where nothing was stored.
    #[inline(always)]
    pub(crate) fn near(&self) -> usize {
        let near = self.near.load(Ordering::Relaxed);
        if near == 0 {
            return 0;
        }
        let word;
        // SAFETY: the slot is ours, and lies within the block that `gs` leads to on every thread.
        unsafe {
            asm!("mov {}, gs:[{}]", out(reg) word, in(reg) u64::from(near), options(nostack, preserves_flags, readonly));
        }
        word
    }

    /// The calling thread's word; 0 where nothing was stored.
    #[inline]
    pub(crate) fn get(&self) -> usize {
        match self.near() {
            0 => self.far(),
            word => word,
        }
    }

    /// The word of a slot in the table.
    fn far(&self) -> usize {
        match self.number.load(Ordering::Acquire) {
            0 => 0,
            // Whoever asked for it may not have said yet that it is near.
            number => {
                let word = place(number - 1).word();
                // SAFETY: a word of the thread's own table, which stays as long as the thread.
                unsafe { word.as_ref() }.map_or(0, |&word| word)
            }
        }
    }

    /// Stores the calling thread's word. False: there is no memory for it.
    #[inline]
    pub(crate) fn set(&'static self, word: usize) -> bool {
        let at = self.place().word();
        if at.is_null() {
            return self.set_first(word);
        }
        // SAFETY: the slot is ours, and the thread's word of it is there.
        unsafe { at.write(word) };
        true
    }

    /// Stores the calling thread's first word in its table, which the system makes then. By the system's own function, whatever
    /// this module's import of it leads to.
    #[cold]
    fn set_first(&'static self, word: usize) -> bool {
        // SAFETY: the slot is ours.
        kept(|| unsafe { TlsSetValue(self.number(), ptr::without_provenance(word)) != 0 })
    }

    /// Where the words of the slot are.
    pub(crate) fn place(&'static self) -> Place {
        place(self.number())
    }

    /// The slot's number. Asks for one if that was not done.
    fn number(&'static self) -> u32 {
        match self.number.load(Ordering::Acquire) {
            0 => self.take(),
            known => known - 1,
        }
    }

    #[cold]
    fn take(&'static self) -> u32 {
        // SAFETY: no preconditions.
        let number = kept(|| unsafe { TlsAlloc() });
        if number == TLS_OUT_OF_INDEXES {
            super::write_stderr(b"gort: the process has no slot for thread-local storage left (TlsAlloc)\n");
            std::process::abort();
        }
        if let Err(known) = self.number.compare_exchange(0, number + 1, Ordering::AcqRel, Ordering::Acquire) {
            // SAFETY: it is ours, and nobody else knows it.
            unsafe { TlsFree(number) };
            return known - 1;
        }
        if number < NEAR {
            self.near.store(FIRST + number * 8, Ordering::Relaxed);
        }
        let this = ptr::from_ref(self).cast_mut();
        let mut newest = TAKEN.load(Ordering::Relaxed);
        loop {
            self.older.store(newest, Ordering::Relaxed);
            match TAKEN.compare_exchange_weak(newest, this, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return number,
                Err(now) => newest = now,
            }
        }
    }
}

/// Where the words of the slot with this number are.
fn place(number: u32) -> Place {
    match number.checked_sub(NEAR) {
        None => Place { base: SELF, offset: FIRST + number * 8 },
        Some(far) => Place { base: TABLE, offset: far * 8 },
    }
}

impl Place {
    /// The calling thread's word; null on a thread that has no table for it.
    #[inline(always)]
    pub(crate) fn word(self) -> *mut usize {
        let base: *mut u8;
        // SAFETY: both words are part of the thread's block, on every thread.
        unsafe {
            asm!("mov {}, gs:[{}]", out(reg) base, in(reg) u64::from(self.base), options(nostack, preserves_flags, readonly));
        }
        if base.is_null() {
            return ptr::null_mut();
        }
        base.wrapping_add(self.offset as usize).cast()
    }
}

/// Gives all slots back.
///
/// # Safety
/// Nobody looks at one any more.
pub(super) unsafe fn give_back() {
    let mut next = TAKEN.swap(ptr::null_mut(), Ordering::Acquire);
    // SAFETY: the chain holds statics.
    while let Some(slot) = unsafe { next.as_ref() } {
        slot.near.store(0, Ordering::Relaxed);
        // SAFETY: it is ours; the caller's promise.
        unsafe { TlsFree(slot.number.swap(0, Ordering::Relaxed) - 1) };
        next = slot.older.load(Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_thread_has_its_own_word() {
        static SLOT: Slot = Slot::new();
        assert_eq!((SLOT.near(), SLOT.get()), (0, 0));
        assert!(SLOT.set(7));
        assert_eq!(SLOT.get(), 7);
        std::thread::spawn(|| {
            assert_eq!(SLOT.get(), 0);
            assert!(SLOT.set(8));
            assert_eq!(SLOT.get(), 8);
        })
        .join()
        .unwrap();
        assert_eq!(SLOT.get(), 7);
        if SLOT.number() < NEAR {
            assert_eq!(SLOT.near(), 7, "the ABI's place");
        }
    }

    /// A program may have taken the slots of a thread's block before us.
    #[test]
    fn a_slot_beyond_the_first_64() {
        static SLOT: Slot = Slot::new();
        let mut before = Vec::new();
        loop {
            // SAFETY: no preconditions.
            let number = unsafe { TlsAlloc() };
            assert_ne!(number, TLS_OUT_OF_INDEXES);
            before.push(number);
            if number >= NEAR {
                break;
            }
        }
        assert_eq!(SLOT.get(), 0);
        assert!(SLOT.set(9));
        assert!(SLOT.number() >= NEAR);
        for number in before {
            // SAFETY: made above, used by nobody.
            unsafe { TlsFree(number) };
        }
        assert_eq!((SLOT.near(), SLOT.get()), (0, 9));
        std::thread::spawn(|| {
            assert_eq!(SLOT.get(), 0);
            assert!(SLOT.set(10));
            assert_eq!(SLOT.get(), 10);
        })
        .join()
        .unwrap();
        assert_eq!(SLOT.get(), 9);
    }
}
