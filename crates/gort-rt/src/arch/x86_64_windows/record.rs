//! What a thread's block says of the stack and the code that runs, and how it goes along with a context.
//!
//! The thread's block (TEB, at `gs`) is the kernel thread's, and cannot be another one. But some of its words are about the stack
//! or the code that runs, and these go with the context. They lie in its [`Record`], whose address is the *thread pointer* of the
//! runtime's other files: a goroutine's is the beginning of its identity, a kernel thread has one while goroutines run on it
//! ([`Native`]). What else is the goroutine's own is found through the record.
//!
//! | Word | Whose business |
//! |---|---|
//! | `StackBase`, `StackLimit`, `DeallocationStack`, `GuaranteedStackBytes` | the system: where exceptions may be handled, which pages of the stack are there, where it may grow. It lowers `StackLimit` itself |
//! | `ExceptionList` | what is left of how 32-bit programs find handlers, a chain along the stack. None on a stack of ours: Wine compares its addresses with those of frames |
//! | `LastErrorValue` | `GetLastError` |
//! | a slot of ours, [`WORD`] | the runtime's thread-local word, `tls` |
//! | another, [`HERE`] | the thread pointer itself |
//! | where the module's thread-local storage is, [`STORAGE`], on targets that have such | compilers and std |
//!
//! And one that is not in the block, but with the C runtime: `errno`, at an address that is constant for a kernel thread. Each
//! switch passes that on from the record that it leaves to the one that it goes to.
//!
//! A [`switch`](super::switch) is no place for the system to look at a stack: between the two moments when `rsp` and the bounds change, nothing is
//! touched that could fault. (What the system runs on a thread of its own accord, asynchronous procedure calls, it runs only in
//! waits that ask for it.)

use crate::os::{self, Place, Slot};
use crate::tls;
use core::cell::UnsafeCell;
use core::ffi::c_int;
use core::ptr;
use core::sync::atomic::{AtomicU32, Ordering};

/// See the module's head. A goroutine's own, or a kernel thread's: written by whoever leaves or enters a context of it.
#[repr(C)]
pub(crate) struct Record {
    /// The runtime's thread-local word.
    pub(super) word: usize,
    /// The module's thread-local storage, where [`STORAGE`] is known. Constant.
    pub(super) storage: usize,
    /// Where the kernel thread's `errno` is; known while the record's owner runs.
    pub(super) errno_at: *mut c_int,
    pub(super) exception_list: usize,
    pub(super) stack_base: usize,
    pub(super) stack_limit: usize,
    pub(super) deallocation_stack: usize,
    pub(super) guaranteed: u32,
    pub(super) last_error: u32,
    pub(super) errno: c_int,
    /// Whether the owner is a goroutine: then an identity lies here.
    pub(super) goroutine: bool,
}

impl Record {
    /// That of a goroutine whose stack may grow from `base` down to `end`, and is there from `limit` up. `guaranteed`: how many
    /// bytes at the end are for whoever handles an overflow. `storage`: its copy of the module's thread-local storage, or 0.
    pub(crate) const fn goroutine(base: usize, limit: usize, end: usize, guaranteed: u32, storage: usize) -> Record {
        Record {
            word: 0,
            storage,
            errno_at: ptr::null_mut(),
            exception_list: usize::MAX,
            stack_base: base,
            stack_limit: limit,
            deallocation_stack: end,
            guaranteed,
            last_error: 0,
            errno: 0,
            goroutine: true,
        }
    }

    /// The goroutine's copy of the module's thread-local storage, or 0.
    pub(crate) fn storage(&self) -> usize {
        self.storage
    }

    /// Makes errors those of a new thread; while the owner does not run.
    pub(crate) fn forget_errors(&mut self) {
        (self.last_error, self.errno) = (0, 0);
    }
}

/// The slot whose word is the thread pointer. 0: no goroutine has ever run on the thread.
static HERE_SLOT: Slot = Slot::new();

/// Where the word of that slot is, as two numbers for the assembly; see [`Place`]. All zero until [`init`].
pub(super) static HERE: [AtomicU32; 2] = [const { AtomicU32::new(0) }; 2];
/// The same for the runtime's thread-local word.
pub(super) static WORD: [AtomicU32; 2] = [const { AtomicU32::new(0) }; 2];

/// The same for the entry of this module in the thread's array of modules' thread-local storage; zero where that is nobody's
/// business.
pub(super) static STORAGE: [AtomicU32; 2] = [const { AtomicU32::new(0) }; 2];

/// Each context has its own copy of the thread-local storage of the module with this number, from now on: before the first kernel
/// thread is adopted.
pub(crate) fn set_storage(module: u32) {
    /// `ThreadLocalStoragePointer`, from `gs`.
    const ARRAY: u32 = 0x58;
    STORAGE[1].store(module * 8, Ordering::Relaxed);
    STORAGE[0].store(ARRAY, Ordering::Release);
}

/// The calling kernel thread's copy; 0 where that is nobody's business.
fn native_storage() -> usize {
    let base = STORAGE[0].load(Ordering::Acquire);
    if base == 0 {
        return 0;
    }
    let entry = Place { base, offset: STORAGE[1].load(Ordering::Relaxed) }.word();
    // SAFETY: the loader has made the array before the thread began, and this module has an entry in it.
    unsafe { entry.as_ref() }.map_or(0, |&storage| storage)
}

/// Asks for the slots.
pub(crate) fn init() {
    for (at, place) in [(&WORD, tls::place()), (&HERE, HERE_SLOT.place())] {
        at[1].store(place.offset, Ordering::Relaxed);
        at[0].store(place.base, Ordering::Release);
    }
}

/// The thread pointer of the calling goroutine, or of a kernel thread that runs goroutines; 0 on any other thread.
#[inline]
pub(crate) fn thread_pointer() -> usize {
    let base = HERE[0].load(Ordering::Acquire);
    if base == 0 {
        return 0;
    }
    let word = Place { base, offset: HERE[1].load(Ordering::Relaxed) }.word();
    // SAFETY: null or the thread's own word.
    unsafe { word.as_ref() }.map_or(0, |&word| word)
}

/// The thread pointer of the calling goroutine; 0 on a kernel thread.
#[inline]
pub(crate) fn goroutine() -> usize {
    let tp = thread_pointer();
    // SAFETY: a thread pointer is 0 or leads to the record of the code that runs, which lives as long.
    match unsafe { ptr::with_exposed_provenance::<Record>(tp).as_ref() } {
        Some(record) if record.goroutine => tp,
        _ => 0,
    }
}

/// What a kernel thread keeps of itself while goroutines run on it.
pub(crate) struct Native(UnsafeCell<Record>);

impl Native {
    pub(crate) const fn new() -> Native {
        let record = Record::goroutine(0, 0, 0, 0, 0);
        Native(UnsafeCell::new(Record { goroutine: false, ..record }))
    }

    /// Prepares the calling kernel thread for goroutines, and returns its thread pointer. It counts until this is dropped.
    ///
    /// # Safety
    /// This is dropped on the calling thread, and does not move before. [`init`] has been called.
    pub(crate) unsafe fn adopt(&self) -> usize {
        let record = self.0.get();
        // SAFETY: no goroutine runs on the thread yet, so nobody else looks at the record.
        unsafe {
            (*record).errno_at = errno_at();
            (*record).storage = native_storage();
        }
        enter(record.expose_provenance());
        record.addr()
    }
}

impl Drop for Native {
    fn drop(&mut self) {
        enter(0);
    }
}

/// Sets the calling kernel thread's thread pointer.
fn enter(tp: usize) {
    if !HERE_SLOT.set(tp) {
        os::write_stderr(b"gort: out of memory for a word of a thread\n");
        std::process::abort();
    }
}

/// Where the calling kernel thread's `errno` is.
pub(super) fn errno_at() -> *mut c_int {
    extern "C" {
        fn _errno() -> *mut c_int;
    }
    // SAFETY: the C runtime's function has no preconditions.
    unsafe { _errno() }
}
