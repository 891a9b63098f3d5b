//! Files: what may wait for a disk, or for whoever holds a lock.
//!
//! Hooked is what can take long on a healthy local file system: writing back what is cached, locks, and what allocates or
//! frees all blocks of a large file (removing it, or renaming over it, does). Other calls on names (`stat`, `mkdir`, `readdir`)
//! are mostly served from the kernel's caches within microseconds. Where they are not, as on a network file system, they
//! block like any call that nobody declared, and cost the P after a time slice.
//!
//! `fcntl`'s locks are with the other uses of `fcntl`.

use crate::hand_off::{hand_off, hooks};
use crate::sys::raw;
use crate::Ours;
use libc::{c_char, c_int, c_uint, c_void, off64_t, off_t};

hooks! { HOOKS, hand_off:
    c"fsync" fsync(fd: c_int) -> c_int;
    c"fdatasync" fdatasync(fd: c_int) -> c_int;
    c"syncfs" syncfs(fd: c_int) -> c_int;
    c"sync" sync() -> ();
    c"msync" msync(at: *mut c_void, len: usize, flags: c_int) -> c_int;
    c"sync_file_range" sync_file_range(fd: c_int, offset: off64_t, n: off64_t, flags: c_uint) -> c_int;
    c"flock" flock(fd: c_int, operation: c_int) -> c_int;
    c"lockf" lockf(fd: c_int, command: c_int, len: off_t) -> c_int;
    c"lockf64" lockf64(fd: c_int, command: c_int, len: off64_t) -> c_int;
    c"fallocate" fallocate(fd: c_int, mode: c_int, offset: off_t, len: off_t) -> c_int;
    c"fallocate64" fallocate64(fd: c_int, mode: c_int, offset: off64_t, len: off64_t) -> c_int;
    c"posix_fallocate" posix_fallocate(fd: c_int, offset: off_t, len: off_t) -> c_int;
    c"posix_fallocate64" posix_fallocate64(fd: c_int, offset: off64_t, len: off64_t) -> c_int;
    c"ftruncate" ftruncate(fd: c_int, len: off_t) -> c_int;
    c"ftruncate64" ftruncate64(fd: c_int, len: off64_t) -> c_int;
    c"truncate" truncate(path: *const c_char, len: off_t) -> c_int;
    c"truncate64" truncate64(path: *const c_char, len: off64_t) -> c_int;
    c"unlink" unlink(path: *const c_char) -> c_int;
    c"unlinkat" unlinkat(dir: c_int, path: *const c_char, flags: c_int) -> c_int;
    c"rename" rename(from: *const c_char, to: *const c_char) -> c_int;
    c"renameat" renameat(from_dir: c_int, from: *const c_char, to_dir: c_int, to: *const c_char) -> c_int;
    c"tcdrain" tcdrain(fd: c_int) -> c_int;
}

/// Definitions of this file, too.
pub(crate) static COPY: &[Ours] = &[Ours::new(c"copy_file_range", copy_file_range as *const ())];

/// libc's `copy_file_range`. Makes the system call itself, because programs take the name's presence for libc's.
///
/// # Safety
/// As for that function.
#[no_mangle]
pub unsafe extern "C" fn copy_file_range(
    from: c_int,
    from_offset: *mut off64_t,
    to: c_int,
    to_offset: *mut off64_t,
    len: usize,
    flags: c_uint,
) -> isize {
    let args = [from as usize, from_offset as usize, to as usize, to_offset as usize, len, flags as usize];
    // SAFETY: the caller's promise, passed on.
    hand_off(|| unsafe { raw(libc::SYS_copy_file_range, args) as isize })
}
