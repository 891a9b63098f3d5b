//! Where a library that calls `dlopen` has its own libraries.
//!
//! libc looks for a name without a slash among the loaded libraries, then along the caller's DT_RPATH, `LD_LIBRARY_PATH` and
//! the caller's DT_RUNPATH, then in its cache and in the system's directories. `dlinfo` tells the directories, for any object,
//! in this order and without the cache. So what a caller has and the executable has not is the difference of two lists: all
//! but their common end. Those directories are tried here, by full path; the rest is the same for both and left to libc.
//!
//! Not looked at are the subdirectories for kinds of processors (`glibc-hwcaps`) of those directories.

use core::ffi::CStr;
use core::mem::MaybeUninit;
use core::ptr;
use libc::{c_char, c_int, c_uint, c_void};

/// libc's `Dl_serinfo`.
#[repr(C)]
struct Header {
    /// Bytes of the list and all of its text.
    size: usize,
    count: c_uint,
}

/// libc's `Dl_serpath`. The list's first entry is at the header's end.
#[repr(C)]
struct Entry {
    directory: *const c_char,
    flags: c_uint,
}

/// Room for a list with its text. One that needs more is not looked at.
#[repr(C, align(16))]
struct Directories([MaybeUninit<u8>; 8192]);

impl Directories {
    const fn new() -> Directories {
        Directories([MaybeUninit::uninit(); 8192])
    }

    /// The directories that libc searches for `object`; none if there is no telling.
    fn of(&mut self, object: *mut c_void) -> &[Entry] {
        let mut header = Header { size: 0, count: 0 };
        let at = self.0.as_mut_ptr();
        // SAFETY: the object is loaded; the first call writes a header, and the second what the first has announced.
        unsafe {
            if libc::dlinfo(object, libc::RTLD_DI_SERINFOSIZE, (&raw mut header).cast()) != 0
                || header.size > self.0.len()
            {
                return &[];
            }
            at.cast::<Header>().write(Header { ..header });
            if libc::dlinfo(object, libc::RTLD_DI_SERINFO, at.cast()) != 0 {
                return &[];
            }
            core::slice::from_raw_parts(at.add(size_of::<Header>()).cast(), header.count as usize)
        }
    }
}

impl Entry {
    fn name(&self) -> &CStr {
        // SAFETY: libc has written the text behind the list.
        unsafe { CStr::from_ptr(self.directory) }
    }
}

/// Calls `open` with paths at which the library that the address `caller` lies in would find `name`, and with more flags,
/// until it opens one. Null: it did not; what remains to be tried is as for the executable.
///
/// # Safety
/// `name` is null or a C string.
pub(crate) unsafe fn search(
    name: *const c_char,
    caller: *const c_void,
    mut open: impl FnMut(*const c_char, c_int) -> *mut c_void,
) -> *mut c_void {
    if name.is_null() {
        return ptr::null_mut();
    }
    // SAFETY: the caller's promise.
    let text = unsafe { CStr::from_ptr(name) }.to_bytes();
    let (Some(object), false) = (library_at(caller), text.is_empty() || text.contains(&b'/')) else {
        return ptr::null_mut();
    };
    let (mut theirs, mut ours) = (Directories::new(), Directories::new());
    let theirs = theirs.of(object);
    let ours = ours.of(open(ptr::null(), 0)); // the executable, whose handle need not be closed
    let common = theirs.iter().rev().zip(ours.iter().rev()).take_while(|(a, b)| a.name() == b.name()).count();
    let own = &theirs[..theirs.len() - common];
    if own.is_empty() {
        return ptr::null_mut();
    }
    let loaded = open(name, libc::RTLD_NOLOAD);
    if !loaded.is_null() {
        return loaded;
    }
    let mut path = [0u8; libc::PATH_MAX as usize];
    for directory in own {
        let directory = directory.name().to_bytes();
        let len = directory.len() + 1 + text.len();
        if len >= path.len() {
            continue;
        }
        path[..directory.len()].copy_from_slice(directory);
        path[directory.len()] = b'/';
        path[directory.len() + 1..len].copy_from_slice(text);
        path[len] = 0;
        // SAFETY: a C string.
        if unsafe { libc::access(path.as_ptr().cast(), libc::F_OK) } == 0 {
            let found = open(path.as_ptr().cast(), 0);
            if !found.is_null() {
                return found;
            }
        }
    }
    ptr::null_mut()
}

/// The object that the address lies in, as a handle for `dlinfo`; None if it is the executable.
fn library_at(address: *const c_void) -> Option<*mut c_void> {
    /// `RTLD_DL_LINKMAP`.
    const LINK_MAP: c_int = 2;
    /// The public beginning of libc's `struct link_map`.
    #[repr(C)]
    struct LinkMap {
        base: usize,
        name: *const c_char,
        dynamic: *const c_void,
        next: *mut LinkMap,
        previous: *mut LinkMap,
    }
    let mut info = MaybeUninit::<libc::Dl_info>::uninit();
    let mut map = ptr::null_mut::<LinkMap>();
    // SAFETY: both results are ours to write. The object does not go while its code calls.
    unsafe {
        let found = libc::dladdr1(address, info.as_mut_ptr(), (&raw mut map).cast(), LINK_MAP) != 0;
        (found && !map.is_null() && !(*map).previous.is_null()).then_some(map.cast())
    }
}
