//! What we ask of glibc beyond its public interface, found by name at run time.
//!
//! Two families of symbols carry the version `GLIBC_PRIVATE`: functions that glibc exports to itself (and that sanitizers
//! and debuggers have relied on for many releases), and the `_thread_db_*` tables, by which `libthread_db` tells a
//! debugger where things lie in `struct pthread`. The tables are data made for readers of another glibc build, so they are
//! the right source for offsets: none is written down here. Nothing is linked; a missing name is an [`Error`], and the
//! runtime then uses real threads. Where libpthread is a library of its own (before 2.34) the tables are in its file
//! ([`super::symtab`]).

use core::ffi::{c_void, CStr};
use core::ops::Range;

use super::symtab::SymbolFile;
use super::{Error, Layout};
use crate::arch;

/// What a dynamic thread vector holds for a module whose block this thread has not needed yet.
pub(super) const DTV_UNALLOCATED: usize = usize::MAX;

/// Functions and offsets of the glibc in this process.
#[derive(Debug, Clone)]
pub(super) struct Glibc {
    /// Makes a thread vector for the block at the given thread pointer and copies every module's static image into it.
    pub(super) allocate_tls: unsafe extern "C" fn(*mut c_void) -> *mut c_void,
    /// Frees the thread vector and what it owns; the flag says whether to free the block as well.
    pub(super) deallocate_tls: unsafe extern "C" fn(*mut c_void, bool),
    /// Runs the destructors that `__cxa_thread_atexit_impl` registered on this thread pointer.
    pub(super) call_tls_dtors: unsafe extern "C" fn(),
    /// The shape of a block.
    pub(super) layout: Layout,
    /// Offset from the thread pointer of the 32-bit thread id.
    pub(super) tid: isize,
    /// Offset from the thread pointer of the two links by which glibc chains threads.
    pub(super) list: isize,
    /// Where the values of pthread keys lie.
    pub(super) keys: KeyTables,
    /// Offsets from the thread pointer of the area that the kernel writes the CPU number to, if glibc has one.
    pub(super) rseq: Option<Range<isize>>,
    /// What closes a thread's state of the resolver, if it is part of libc itself.
    pub(super) resolver: Option<Resolver>,
}

/// The resolver's public functions.
#[derive(Debug, Clone)]
pub(super) struct Resolver {
    /// `__res_state`: where the state of the thread pointer that it is called on lies.
    pub(super) state: unsafe extern "C" fn() -> *mut c_void,
    /// `res_nclose`: closes and frees what a state owns.
    pub(super) close: unsafe extern "C" fn(*mut c_void),
}

/// Layout of the tables behind `pthread_getspecific`.
#[derive(Debug, Clone)]
pub(super) struct KeyTables {
    /// The process's table of keys.
    pub(super) keys: *const u8,
    /// Bytes per key, and the offsets of its sequence number and destructor.
    pub(super) key_size: usize,
    pub(super) key_seq: usize,
    pub(super) key_destructor: usize,
    /// Offset from the thread pointer of the pointers to blocks of values, and their number.
    pub(super) first_level: isize,
    pub(super) first_len: usize,
    /// Values in one block; bytes per value; offsets of its sequence number and datum.
    pub(super) second_len: usize,
    pub(super) value_size: usize,
    pub(super) value_seq: usize,
    pub(super) value_data: usize,
}

// SAFETY: `keys` points at a table that lives as long as libc; all reads of it are atomic.
unsafe impl Send for Glibc {}
// SAFETY: as above.
unsafe impl Sync for Glibc {}

impl Glibc {
    /// Looks everything up.
    pub(super) fn find() -> Result<Glibc, Error> {
        let tables = Tables::find();
        let (word, field) = (|name| tables.word(name), |name| tables.field(name));
        let layout = layout(&tables)?;
        // The tables count from the beginning of `struct pthread`.
        let from_tp = |offset: usize| layout.number.wrapping_add_unsigned(offset);
        let [first_bits, first_count, first_level] = field(c"_thread_db_pthread_specific")?;
        let [level_bits, second_len, _] = field(c"_thread_db_pthread_key_data_level2_data")?;
        let value_size = word(c"_thread_db_sizeof_pthread_key_data")?;
        if level_bits != 8 * value_size {
            return Err(Error::Layout(format!("{level_bits} bits per key value, but {value_size} bytes")));
        }
        // SAFETY: these names have had these signatures in every glibc that exports them; `init` compares what they
        // build with what `pthread_create` builds before anything relies on it.
        let (allocate_tls, deallocate_tls, call_tls_dtors) = unsafe {
            (
                core::mem::transmute::<*mut c_void, unsafe extern "C" fn(*mut c_void) -> *mut c_void>(symbol(
                    c"_dl_allocate_tls",
                )?),
                core::mem::transmute::<*mut c_void, unsafe extern "C" fn(*mut c_void, bool)>(symbol(
                    c"_dl_deallocate_tls",
                )?),
                core::mem::transmute::<*mut c_void, unsafe extern "C" fn()>(symbol(c"__call_tls_dtors")?),
            )
        };
        Ok(Glibc {
            allocate_tls,
            deallocate_tls,
            call_tls_dtors,
            layout,
            tid: from_tp(field(c"_thread_db_pthread_tid")?[2]),
            list: from_tp(field(c"_thread_db_pthread_list")?[2]),
            keys: KeyTables {
                keys: tables.symbol(c"__pthread_keys")?.cast(),
                key_size: word(c"_thread_db_sizeof_pthread_key_struct")?,
                key_seq: field(c"_thread_db_pthread_key_struct_seq")?[2],
                key_destructor: field(c"_thread_db_pthread_key_struct_destr")?[2],
                first_level: from_tp(first_level),
                // Depending on the release the table calls it one field or an array; either way it is all pointers.
                first_len: first_bits * first_count / usize::BITS as usize,
                second_len,
                value_size,
                value_seq: field(c"_thread_db_pthread_key_data_seq")?[2],
                value_data: field(c"_thread_db_pthread_key_data_data")?[2],
            },
            rseq: rseq(),
            resolver: resolver(),
        })
    }

    /// The thread pointer that `pthread_create` would choose for a stack that ends at `hi`.
    pub(super) fn thread_pointer(&self, hi: usize) -> usize {
        self.layout.thread_pointer(hi)
    }
}

/// The address of a symbol in libc or ld.so.
pub(super) fn symbol(name: &'static CStr) -> Result<*mut c_void, Error> {
    optional(name).ok_or(Error::MissingSymbol(name))
}

/// The address of a symbol that older releases lack.
fn optional(name: &'static CStr) -> Option<*mut c_void> {
    // SAFETY: dlsym only reads the string; the default handle searches the objects loaded at start.
    let address = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
    (!address.is_null()).then_some(address)
}

/// Runs the destructors of thread-local variables that the calling thread, which ends, has registered after libc ran them, as
/// destructors of pthread keys may. Where the C library is none that has to be told so, nothing.
///
/// # Safety
/// What the destructors drop is used no more.
pub(crate) unsafe fn run_late_destructors() {
    if let Some(address) = optional(c"__call_tls_dtors") {
        // SAFETY: the function has this type.
        let call_tls_dtors = unsafe { core::mem::transmute::<*mut c_void, unsafe extern "C" fn()>(address) };
        // SAFETY: the caller's promise.
        unsafe { call_tls_dtors() };
    }
}

/// The shape of a block: as `pthread_create` computes it.
fn layout(tables: &Tables) -> Result<Layout, Error> {
    let (size, align) = static_info()?;
    let tcb = tables.word(c"_thread_db_sizeof_pthread")?;
    let total = size.next_multiple_of(align);
    // SAFETY: no preconditions.
    let own = unsafe { libc::pthread_self() } as usize;
    let number = own.wrapping_sub(arch::thread_pointer()).cast_signed();
    // The ABI's two variants. In the one the loader's size includes `struct pthread`, in the other it does not.
    if number == 0 && total >= tcb {
        Ok(Layout { below: total - tcb, above: tcb, align, number })
    } else if number == -tcb.cast_signed() {
        Ok(Layout { below: tcb, above: total, align, number })
    } else {
        let what = format!("static TLS of {size} bytes, and a TCB of {tcb} at {number} from the thread pointer");
        Err(Error::Layout(what))
    }
}

/// Size and alignment of static TLS.
fn static_info() -> Result<(usize, usize), Error> {
    let address = symbol(c"_dl_get_tls_static_info")?;
    let (mut size, mut align) = (0usize, 0usize);
    // SAFETY: the function stores two sizes through its arguments; the sanitizers call it in the same way.
    unsafe {
        let get: unsafe extern "C" fn(*mut usize, *mut usize) = core::mem::transmute(address);
        get(&mut size, &mut align);
    }
    if size == 0 || !align.is_power_of_two() {
        return Err(Error::Layout(format!("static TLS of {size} bytes, aligned to {align}")));
    }
    Ok((size, align.max(16)))
}

/// The tables for debuggers.
struct Tables {
    /// Where to look for names that the loader does not know.
    file: Option<SymbolFile>,
}

impl Tables {
    fn find() -> Tables {
        // Either the loader knows all of them or none.
        let file = match optional(c"_thread_db_sizeof_pthread") {
            Some(_) => None,
            // A function of libpthread's that is nobody else's.
            None => optional(c"pthread_key_create").and_then(|function| SymbolFile::of(function)),
        };
        Tables { file }
    }

    fn symbol(&self, name: &'static CStr) -> Result<*mut c_void, Error> {
        let local = || self.file.as_ref()?.find(name);
        optional(name).or_else(local).ok_or(Error::MissingSymbol(name))
    }

    /// A `_thread_db_sizeof_*` value.
    fn word(&self, name: &'static CStr) -> Result<usize, Error> {
        // SAFETY: every `_thread_db_sizeof_*` symbol is one constant 32-bit number.
        Ok(unsafe { self.symbol(name)?.cast::<u32>().read() } as usize)
    }

    /// A `_thread_db_*` field: its size in bits, its number of elements, its offset in bytes.
    fn field(&self, name: &'static CStr) -> Result<[usize; 3], Error> {
        // SAFETY: every `_thread_db_*` field symbol is an array of three constant 32-bit numbers.
        let [bits, len, offset] = unsafe { self.symbol(name)?.cast::<[u32; 3]>().read() };
        Ok([bits as usize, len as usize, offset as usize])
    }
}

/// The restartable-sequence area, from the public symbols of glibc 2.35 and later.
fn rseq() -> Option<Range<isize>> {
    /// What the kernel's first ABI registers; later ones are announced by a larger size.
    const ORIGINAL_SIZE: isize = 32;
    let offset = optional(c"__rseq_offset")?.cast::<isize>();
    let size = optional(c"__rseq_size")?.cast::<u32>();
    // SAFETY: both are public constants of these types, set before any code of the program runs.
    let (offset, size) = unsafe { (offset.read(), size.read() as isize) };
    // A size of zero means that registration is switched off; every thread then carries the same constants.
    (size > 0).then(|| offset..offset + size.max(ORIGINAL_SIZE))
}

/// The resolver's functions, which are libc's since 2.34.
fn resolver() -> Option<Resolver> {
    let (state, close) = (optional(c"__res_state")?, optional(c"__res_nclose")?);
    // SAFETY: both are public functions of these types.
    unsafe {
        Some(Resolver {
            state: core::mem::transmute::<*mut c_void, unsafe extern "C" fn() -> *mut c_void>(state),
            close: core::mem::transmute::<*mut c_void, unsafe extern "C" fn(*mut c_void)>(close),
        })
    }
}
