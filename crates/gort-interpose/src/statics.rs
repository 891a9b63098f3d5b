//! Static variables: memory that no other process has, without anybody having to say so.
//!
//! A futex call that does not say `PRIVATE` may be about memory shared with other processes, and then only the kernel knows who
//! waits. But a variable of the program's, or of a loaded library's, lies in a private mapping. libstdc++ waits in this way,
//! without the flag, while another thread makes a static variable of a function; a crowd of goroutines that needs the same one
//! would cost a kernel thread each.
//!
//! glibc tells which object an address belongs to without a lock, since 2.35, for those who unwind stacks. Where it does not,
//! such calls go to the kernel.

use crate::next::Next;
use core::ffi::{c_int, c_void};
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicBool, Ordering};

/// The beginning of glibc's public `struct dl_find_object`, and room for the rest, which is smaller on every platform.
#[repr(C)]
struct Object {
    flags: u64,
    start: *mut c_void,
    end: *mut c_void,
    rest: [usize; 16],
}

type Find = unsafe extern "C" fn(*mut c_void, *mut Object) -> c_int;

/// Whether there is a program or a library, loaded now, to which this address belongs. False as well where libc does not tell.
///
/// Takes no lock. May be called in a signal handler.
pub(crate) fn contain(address: usize) -> bool {
    static FIND: Next = Next::new(c"_dl_find_object");
    static MISSING: AtomicBool = AtomicBool::new(false);
    if MISSING.load(Ordering::Relaxed) {
        return false;
    }
    let find = FIND.get();
    if find.is_null() {
        MISSING.store(true, Ordering::Relaxed);
        return false;
    }
    let mut object = MaybeUninit::<Object>::uninit();
    // SAFETY: the name has this type; it looks at no memory but the loader's own, and writes to no more than a
    // `dl_find_object`, for which there is room.
    unsafe { core::mem::transmute::<*mut c_void, Find>(find)(address as *mut c_void, object.as_mut_ptr()) == 0 }
}
