//! Identities on Windows: what makes code that runs on a goroutine a thread to Rust, and to C that is linked with it.
//!
//! A thread's block (TEB) cannot be exchanged: the system's own libraries find their state for the kernel thread through it, and it
//! must be the one of the kernel thread that runs. So a goroutine does not get a block of its own. It gets its own copy of what
//! the code of *this module* keeps in the block: the program, or the library, that the runtime is linked into. An identity is a
//! [`Block`] at the top of the goroutine's stack:
//!
//! ```text
//!   lo                          tp                                     hi
//!   | stack, grows down <- |  G  | record | values of 64 keys | the rest |
//! ```
//!
//! The *record* (`arch`) holds the words that each switch puts into the kernel thread's block: bounds of the stack, the last error,
//! the runtime's own word; and `errno`.
//!
//! # Thread-local variables
//!
//! For `x86_64-pc-windows-gnu` the Rust compiler has no thread-local storage of the module's: std keeps each variable under a key of
//! `TlsAlloc`'s, and so does libgcc for C's `__thread` (one key for all of them). Keys are the process's, shared with the system's
//! libraries. Two ways lead to values of one's own:
//!
//! * To *exchange the values* of the keys that are ours at each switch, in the block. Every switch costs a load and two stores for each
//!   key, and a Rust program has dozens: 30 keys take about as long as all the rest of a switch. And who adds a key must find
//!   every goroutine that is suspended.
//! * To *redirect the functions*: the module's imports of `TlsGetValue` and its kin lead to functions of ours ([`keys`],
//!   `os::imports`), which look at the goroutine's block if the caller is one. A switch costs nothing. A read costs what finding the
//!   thread pointer costs, three loads more than the system's function; Wine's own takes longer than ours.
//!
//! The second is what is done here. Other modules' imports are left alone: a system's library on a goroutine finds the kernel
//! thread's values, which is what it expects. What redirection does not reach is at the end of this text.
//!
//! With native thread-local storage, which `-gnullvm` and `-msvc` have, variables lie in a copy of the module's image that the loader
//! makes for each thread, and an array in the thread's block leads to it. There each goroutine has a copy of its own ([`storage`]),
//! and each switch stores its address in this module's entry of the array. C compiled by GCC has its key there too, so the
//! functions are redirected on all targets.
//!
//! # Life of a block
//!
//! [`create`], then any number of times: [`start`] on the block, user code, [`run_destructors`] on the block, [`reset`] by anyone.
//! At last [`destroy`]. The beginning and the end of a goroutine are told to the module as the loader tells it of a thread's: by the
//! callbacks of its TLS directory ([`callbacks`]), from which std and the C runtime run the destructors of thread-local variables.
//!
//! # Known limits
//!
//! * Libraries that are not the system's keep their thread-local state with the kernel thread too, if they are modules of their own
//!   (`.dll`): C code that is linked into this module does not.
//! * Functions of these names that are found at run time (`GetProcAddress`) are the system's.
//! * `FlsAlloc` and its kin are left alone, and so is thread-local storage of the module's (`__declspec(thread)`), which neither std
//!   nor GCC uses for this target.
//! * What else is keyed on the kernel thread stays with it: its id, and thus the owner of a `CRITICAL_SECTION`; the stack of activation
//!   contexts; impersonation; COM's apartments; windows and their messages; the state of the C runtime's functions, but for `errno`.
//!   A goroutine that holds on to such a thing across a wait locks itself to its thread (`ffi::lock_os_thread`).

mod callbacks;
mod keys;
mod storage;

use crate::arch::{self, Record};
use crate::os::imports;
use crate::os::mem::{self, STACK_COMMIT};
use crate::stack::GUARD;
use core::mem::size_of;
use core::ptr;
use keys::Values;
use std::fmt;
use windows_sys::Win32::System::SystemServices::{DLL_THREAD_ATTACH, DLL_THREAD_DETACH};

/// Whether goroutines can have identities on this target: those that are tried.
pub(crate) const SUPPORTED: bool = cfg!(target_env = "gnu");
/// Whether they have them unless somebody says otherwise: not with native thread-local storage, since nobody who loads a library keeps
/// the promise that this takes ([`storage`]) by himself; the system's functions load some.
pub(crate) const USUAL: bool = SUPPORTED && !storage::IS_USED;

/// Bytes at the end of a stack that are committed when it overflows, for who reports it: the system's record of the exception, and
/// our handler. With a page that is never committed, all of a guard.
const GUARANTEED: usize = 12 << 10;

/// See [`least`].
const LEAST: usize = 12 << 10;

/// An identity; see the module's head.
#[repr(C, align(64))]
struct Block {
    record: Record,
    values: Values,
}

/// Why goroutines cannot have identities here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Error {
    /// The target keeps thread-local variables in another way.
    Unsupported,
    /// The imports of this module are not to be changed.
    Imports(i32),
    /// The stack has fewer bytes than an identity and a little stack need.
    TooSmall { needed: usize },
    /// No memory for the module's thread-local storage.
    NoMemory,
}

impl Error {
    /// Whether the environment asks for what has no meaning.
    pub(crate) fn is_setting(&self) -> bool {
        false
    }

    /// Whether goroutines can be kernel threads in place of that.
    pub(crate) fn leaves_threads(&self) -> bool {
        !matches!(self, Error::TooSmall { .. } | Error::NoMemory)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Unsupported => {
                write!(f, "goroutines cannot have thread-local storage of their own on this target yet")
            }
            Error::Imports(code) => {
                let error = std::io::Error::from_raw_os_error(*code);
                write!(f, "the system's functions for thread-local storage cannot be replaced: {error}")
            }
            Error::TooSmall { needed } => write!(f, "a goroutine's stack needs {needed} bytes at least"),
            Error::NoMemory => write!(f, "no memory for thread-local storage"),
        }
    }
}

impl std::error::Error for Error {}

/// How blocks are made.
#[derive(PartialEq, Eq)]
pub(crate) enum Mode {
    /// Each for itself.
    Built,
}

/// The shape of a block.
#[derive(Clone, Copy)]
pub(crate) struct Layout {
    /// Bytes of the block below the thread pointer.
    pub(crate) below: usize,
    /// Bytes of the block from the thread pointer up.
    pub(crate) above: usize,
    /// Alignment of the thread pointer, a power of two.
    pub(crate) align: usize,
}

impl Layout {
    /// The thread pointer of a block at the top of a mapping that ends at `hi`.
    pub(crate) fn thread_pointer(&self, hi: usize) -> usize {
        (hi - self.above) & !(self.align - 1)
    }
}

/// Takes what may be needed of the loader; nothing is.
pub(crate) fn look_up() {}

/// Redirects this module's imports. Once it has succeeded, later calls do nothing.
pub(crate) fn init() -> Result<(), Error> {
    if !SUPPORTED {
        return Err(Error::Unsupported);
    }
    if storage::IS_USED {
        storage::init();
    }
    imports::redirect(&keys::FUNCTIONS).map_err(Error::Imports)
}

/// The shape of blocks.
pub(crate) fn layout() -> Layout {
    Layout { below: 0, above: size_of::<Block>(), align: align_of::<Block>() }
}

/// Bytes that a stack must have for a block to be made in it: what the first frames of user code may need, besides the block.
pub(crate) fn least() -> usize {
    LEAST
}

/// How blocks are made.
pub(crate) fn mode() -> &'static Mode {
    &Mode::Built
}

/// Makes a block at the top of the stack from `lo` to `hi`, and returns its thread pointer.
///
/// # Safety
/// The stack is committed (`mem::commit_stack`) and the caller's; `hi` is less than a page below its end.
pub(crate) unsafe fn create(lo: *mut u8, hi: *mut u8, _tid: u32) -> Result<usize, Error> {
    if (hi as usize - lo as usize) < least() {
        return Err(Error::TooSmall { needed: least() });
    }
    let base = (hi as usize).next_multiple_of(mem::page_size());
    let limit = base - STACK_COMMIT.min(base - lo as usize);
    let tp = layout().thread_pointer(hi as usize);
    let block = hi.wrapping_sub(hi as usize - tp).cast::<Block>();
    block.expose_provenance();
    let storage = if storage::IS_USED { storage::make().ok_or(Error::NoMemory)? } else { 0 };
    let record = Record::goroutine(base, limit, lo as usize - GUARD, GUARANTEED as u32, storage);
    // SAFETY: the memory is the caller's, committed, and large enough; the block stays where it is until `destroy`.
    unsafe {
        block.write(Block { record, values: Values::new() });
        keys::enter(&(*block).values);
    }
    Ok(tp)
}

/// The block with this thread pointer.
fn block(tp: usize) -> *mut Block {
    ptr::with_exposed_provenance_mut(tp)
}

/// Tells the module that a thread begins: the calling goroutine.
///
/// # Safety
/// Runs on a block of ours.
pub(crate) unsafe fn start() {
    // SAFETY: the goroutine begins, which is a thread to this module.
    unsafe { callbacks::call(DLL_THREAD_ATTACH) };
}

/// Runs the destructors of the goroutine's thread-local variables.
///
/// # Safety
/// Runs on a block of ours.
pub(crate) unsafe fn run_destructors() {
    // SAFETY: the goroutine ends, which is a thread to this module. Its values are its own.
    unsafe {
        callbacks::call(DLL_THREAD_DETACH);
        // What the C runtime has freed it leaves where it is, since threads are told of their end once.
        (*block(arch::goroutine())).values.clear();
    }
}

/// Runs destructors of thread-local variables that were first used after the others' had run: nobody does that for threads
/// here, as with any thread of std's.
///
/// # Safety
/// The thread ends.
pub(crate) unsafe fn run_late_destructors() {}

/// Gives all thread-local variables their first values again.
///
/// # Safety
/// `tp` came from [`create`], and nobody runs on the block.
#[must_use]
pub(crate) unsafe fn reset(tp: usize) -> bool {
    // SAFETY: the caller's promise.
    unsafe {
        (*block(tp)).values.clear();
        (*block(tp)).record.forget_errors();
        if storage::IS_USED {
            storage::reset((*block(tp)).record.storage());
        }
    }
    true
}

/// Frees what a block owns.
///
/// # Safety
/// `tp` came from [`create`], and nobody runs on the block, or will.
#[must_use]
pub(crate) unsafe fn destroy(tp: usize) -> bool {
    // SAFETY: the caller's promise.
    unsafe {
        keys::leave(&(*block(tp)).values);
        if storage::IS_USED {
            storage::free((*block(tp)).record.storage());
        }
    }
    true
}

/// Learns of libraries that came or went: nothing in a block is theirs.
pub(crate) fn catch_up() {}

/// Waits until what [`catch_up`] has begun is done.
pub(crate) fn caught_up() {}

/// In a forked child, on a goroutine: there are no forks.
pub(crate) fn forget_native(_native: usize) {}

/// Makes what changes credentials work while kernel threads run goroutines: nobody signals threads for that here.
///
/// # Safety
/// None that this would need.
pub(crate) unsafe fn guard_credentials(_native: fn() -> usize) -> Result<(), Error> {
    Ok(())
}

/// Undoes [`guard_credentials`].
pub(crate) fn unguard_credentials(_and_wait: bool) -> bool {
    true
}
