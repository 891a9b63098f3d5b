//! What a thread runs when it ends: destructors of thread-local variables, then those of pthread keys.
//!
//! glibc's own code for the keys is reachable only by ending a thread, so it is done here, from the tables that
//! `libthread_db` reads: the process has an array of keys (sequence number, destructor), each thread an array of pointers to
//! blocks of values (sequence number, datum). A value counts if its sequence number is its key's: deleting a key changes
//! that number, so values under a deleted key are dropped. As POSIX says, values are nulled before their destructor is
//! called, and destructors that set values again get [`ROUNDS`] rounds in all.
//!
//! [`check`] makes sure at start-up, with the public functions, that these tables mean what is said here.

use core::ffi::c_void;
use core::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

use super::glibc::{Glibc, KeyTables};
use super::Error;
use crate::arch;

/// `PTHREAD_DESTRUCTOR_ITERATIONS`.
const ROUNDS: usize = 4;

type Destructor = unsafe extern "C" fn(*mut c_void);

/// Runs all destructors of the calling goroutine.
///
/// # Safety
/// As for [`super::run_destructors`].
pub(super) unsafe fn run(glibc: &Glibc) {
    let tp = arch::thread_pointer();
    // SAFETY: runs what was registered on this thread pointer, on it.
    unsafe { (glibc.call_tls_dtors)() };
    // SAFETY: nobody else runs on our block.
    if unsafe { glibc.keys.unused(tp) } {
        return;
    }
    for _ in 0..ROUNDS {
        // SAFETY: the caller runs on the block at `tp`, so its tables are stable but for what destructors do.
        if !unsafe { glibc.keys.round(tp) } {
            return;
        }
        // A key's destructor may have touched a thread-local variable for the first time.
        // SAFETY: as above.
        unsafe { (glibc.call_tls_dtors)() };
    }
    // SAFETY: as above.
    unsafe { glibc.keys.wipe(tp) };
}

impl KeyTables {
    /// Calls `visit` with each entry that has a value: the key and pointers to its sequence number and its datum.
    ///
    /// # Safety
    /// `tp` is the thread pointer of a complete block, and nobody else runs on it.
    #[inline]
    unsafe fn each(&self, tp: usize, mut visit: impl FnMut(usize, *mut usize, *mut *mut c_void)) {
        for first in 0..self.first_len {
            // SAFETY: the tables say that so many pointers lie there; the values they lead to belong to this thread.
            unsafe {
                let block = (tp.wrapping_add_signed(self.first_level) as *const *mut u8).add(first).read();
                if block.is_null() {
                    continue;
                }
                for second in 0..self.second_len {
                    let value = block.add(second * self.value_size);
                    let datum = value.add(self.value_data).cast::<*mut c_void>();
                    if !datum.read().is_null() {
                        visit(first * self.second_len + second, value.add(self.value_seq).cast(), datum);
                    }
                }
            }
        }
    }

    /// True if no key has a value: the quick answer for nearly every goroutine. May be false without need.
    ///
    /// # Safety
    /// As for `each`.
    #[inline]
    unsafe fn unused(&self, tp: usize) -> bool {
        /// What every 64-bit glibc so far has: pairs of sequence number and datum. A loop over pairs is vectorised.
        type Pair = [usize; 2];
        if self.value_size != size_of::<Pair>() || self.value_data != size_of::<usize>() {
            return false;
        }
        // SAFETY: as in `each`; a pair has the size of a value.
        unsafe {
            let pointers =
                core::slice::from_raw_parts(tp.wrapping_add_signed(self.first_level) as *const usize, self.first_len);
            let [first, others @ ..] = pointers else { return true };
            if *first == 0 || others.iter().fold(0, |all, pointer| all | pointer) != 0 {
                return false;
            }
            let pairs = core::slice::from_raw_parts(*first as *const Pair, self.second_len);
            pairs.iter().fold(0, |all, [_, datum]| all | datum) == 0
        }
    }

    /// One round over all keys with a value; false if there was none.
    ///
    /// # Safety
    /// The caller runs on the block at `tp`.
    unsafe fn round(&self, tp: usize) -> bool {
        let mut any = false;
        // SAFETY: the caller's promise, passed on.
        unsafe {
            self.each(tp, |key, seq, datum| {
                any = true;
                let value = datum.replace(core::ptr::null_mut());
                if let Some(destructor) = self.destructor(key, seq.read()) {
                    // SAFETY: whoever made the key gave it this function for its values.
                    destructor(value);
                }
            });
        }
        any
    }

    /// Forgets values that are left after the last round.
    ///
    /// # Safety
    /// As for `each`.
    unsafe fn wipe(&self, tp: usize) {
        // SAFETY: the caller's promise; `datum` is a valid entry.
        unsafe { self.each(tp, |_, _, datum| datum.write(core::ptr::null_mut())) };
    }

    /// The destructor of a key, if the key still is the one that had this sequence number.
    fn destructor(&self, key: usize, seq: usize) -> Option<Destructor> {
        // SAFETY: the table is as long as there can be keys, lives as long as libc, and is only ever read and written in
        // words; a null function pointer is `None`.
        unsafe {
            let entry = self.keys.add(key * self.key_size);
            let now = AtomicUsize::from_ptr(entry.add(self.key_seq).cast_mut().cast());
            let function = AtomicPtr::<c_void>::from_ptr(entry.add(self.key_destructor).cast_mut().cast());
            // As glibc orders it: a key made anew between the two loads has another number.
            let function = function.load(Ordering::Acquire);
            (now.load(Ordering::Acquire) == seq)
                .then(|| core::mem::transmute::<*mut c_void, Option<Destructor>>(function))
                .flatten()
        }
    }

    /// See [`super::forget_keys`].
    ///
    /// # Safety
    /// As there.
    pub(super) unsafe fn forget(&self, is_ours: fn(*const c_void) -> bool) {
        for key in 0..self.first_len * self.second_len {
            // SAFETY: the table has so many entries, of words.
            let function = unsafe {
                let entry = self.keys.add(key * self.key_size);
                // A key that is free (its number is even) keeps the destructor of its last owner, and may be somebody's at any moment.
                let seq = AtomicUsize::from_ptr(entry.add(self.key_seq).cast_mut().cast());
                if seq.load(Ordering::Acquire).is_multiple_of(2) {
                    continue;
                }
                AtomicPtr::<c_void>::from_ptr(entry.add(self.key_destructor).cast_mut().cast()).load(Ordering::Acquire)
            };
            if !function.is_null() && is_ours(function) {
                // SAFETY: nobody uses the key any more. (If it is not one now, the call does nothing.)
                unsafe { libc::pthread_key_delete(key as libc::pthread_key_t) };
            }
        }
    }

    /// Frees the blocks of values beyond the first, which is part of the TCB.
    ///
    /// # Safety
    /// `tp` is the thread pointer of a block that nobody runs on or ever will again.
    pub(super) unsafe fn free_blocks(&self, tp: usize) {
        for first in 1..self.first_len {
            // SAFETY: glibc allocates these blocks with calloc and would free them at the thread's end.
            unsafe {
                let slot = (tp.wrapping_add_signed(self.first_level) as *mut *mut c_void).add(first);
                libc::free(slot.replace(core::ptr::null_mut()));
            }
        }
    }
}

/// Checks on the calling thread, with a key of our own, that the tables read as expected.
pub(super) fn check(glibc: &Glibc) -> Result<(), Error> {
    unsafe extern "C" fn probe(_: *mut c_void) {}
    let tables = &glibc.keys;
    let marker = tables as *const KeyTables as *mut c_void;
    let mut key = 0;
    // SAFETY: `key` is written by the call.
    let code = unsafe { libc::pthread_key_create(&mut key, Some(probe)) };
    if code != 0 {
        return Err(Error::Os("pthread_key_create", code));
    }
    let mut seen = false;
    // SAFETY: the key is live; the thread pointer is our own.
    unsafe {
        if libc::pthread_setspecific(key, marker) == 0 {
            tables.each(arch::thread_pointer(), |at, seq, datum| {
                seen |= at == key as usize
                    && datum.read() == marker
                    && tables
                        .destructor(at, seq.read())
                        .is_some_and(|found| core::ptr::fn_addr_eq(found, probe as Destructor))
                    && tables.destructor(at, seq.read().wrapping_add(2)).is_none();
            });
        }
        libc::pthread_setspecific(key, core::ptr::null());
        libc::pthread_key_delete(key);
    }
    if seen {
        Ok(())
    } else {
        Err(Error::Layout("the tables of pthread keys are not where libthread_db looks for them".into()))
    }
}
