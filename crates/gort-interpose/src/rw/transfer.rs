//! From one descriptor to another, past the program's memory.
//!
//! No flag keeps these calls from waiting for a socket. So the goroutine waits until there is something to take and room to put
//! it, and the call follows, handed off: it may wait still, if somebody else was first, or if more is to be written than there
//! is room for. `sendfile` is therefore made in parts when its destination can be waited for. (`copy_file_range` is between
//! files that are never waited for, and in `fs`.)

use crate::kind::{is_nonblocking, ready, status_flags, About, Kind};
use crate::next::next;
use crate::retry::{until_done, Step};
use crate::switch::may_park;
use crate::sys::{as_libc, kernel};
use crate::Ours;
use gort_rt::ffi::blocking;
use gort_rt::hook::Interest;
use libc::{c_int, c_uint, iovec, loff_t, off_t};

/// What this file defines.
pub(crate) static HOOKS: &[Ours] = &[
    Ours::new(c"sendfile", sendfile as *const ()),
    Ours::new(c"sendfile64", sendfile64 as *const ()),
    Ours::new(c"splice", splice as *const ()),
    Ours::new(c"tee", tee as *const ()),
    Ours::new(c"vmsplice", vmsplice as *const ()),
];

/// What `sendfile` moves at a time: about the room in a socket of which `poll` says that it has room.
const PART: usize = 64 << 10;

/// What a file that was opened like this may do.
fn may(flags: isize, interest: Interest) -> bool {
    let access = flags as c_int & libc::O_ACCMODE;
    match interest {
        Interest::Read => access != libc::O_WRONLY,
        Interest::Write => access != libc::O_RDONLY,
    }
}

/// Parks until `fd` is ready. Where it would never be, or the call will not wait, returns at once: the call knows what is so.
fn wait_until_ready(fd: c_int, interest: Interest) -> Result<(), isize> {
    let Some(mut about) = About::of(fd) else { return Ok(()) };
    let flags = status_flags(fd);
    if flags < 0 || flags as c_int & libc::O_NONBLOCK != 0 || !may(flags, interest) || about.kind() == Kind::File {
        return Ok(());
    }
    let events = match interest {
        Interest::Read => libc::POLLIN,
        Interest::Write => libc::POLLOUT,
    };
    let result = until_done(&mut about, interest, |_| if ready(fd, events) { Step::Done(0) } else { Step::Empty });
    match result {
        Some(e @ ..0) => Err(e),
        _ => Ok(()),
    }
}

/// Runs `call` when `from` and `to` are ready.
fn between(from: c_int, to: c_int, call: impl Fn() -> isize) -> isize {
    let both = wait_until_ready(from, Interest::Read).and_then(|()| wait_until_ready(to, Interest::Write));
    match both {
        Ok(()) => blocking(call),
        Err(e) => e,
    }
}

/// `sendfile` on a goroutine, with the kernel's convention for errors.
///
/// # Safety
/// As for `sendfile`.
unsafe fn send_parts(to: c_int, from: c_int, offset: *mut off_t, len: usize) -> isize {
    let call = |len: usize| {
        // SAFETY: the caller's promise.
        unsafe { kernel(libc::SYS_sendfile, [to as usize, from as usize, offset as usize, len, 0, 0]) }
    };
    let in_one = |about: Option<About>| about.is_none_or(|mut about| about.kind() == Kind::File);
    if in_one(About::of(to)) || is_nonblocking(to) {
        return blocking(|| call(len));
    }
    let mut done = 0;
    loop {
        match between(from, to, || call((len - done).min(PART))) {
            result @ ..=0 => return if done > 0 { done as isize } else { result },
            moved => done += moved as usize,
        }
        if done >= len {
            return done as isize;
        }
    }
}

/// libc's `sendfile`.
///
/// # Safety
/// As for that function.
#[no_mangle]
pub unsafe extern "C" fn sendfile(to: c_int, from: c_int, offset: *mut off_t, len: usize) -> isize {
    // SAFETY: the caller's promise, passed on.
    unsafe {
        if may_park() {
            return as_libc(send_parts(to, from, offset, len));
        }
        next!(c"sendfile", fn(c_int, c_int, *mut off_t, usize) -> isize)(to, from, offset, len)
    }
}

/// The name of [`sendfile`] for programs with 64-bit offsets, which all are here.
///
/// # Safety
/// As for that function.
#[no_mangle]
pub unsafe extern "C" fn sendfile64(to: c_int, from: c_int, offset: *mut off_t, len: usize) -> isize {
    // SAFETY: the caller's promise, passed on.
    unsafe { sendfile(to, from, offset, len) }
}

/// libc's `splice`.
///
/// # Safety
/// As for that function.
#[no_mangle]
pub unsafe extern "C" fn splice(
    from: c_int,
    from_offset: *mut loff_t,
    to: c_int,
    to_offset: *mut loff_t,
    len: usize,
    flags: c_uint,
) -> isize {
    // SAFETY: the caller's promise, passed on.
    unsafe {
        if may_park() {
            let args = [from as usize, from_offset as usize, to as usize, to_offset as usize, len, flags as usize];
            let call = || kernel(libc::SYS_splice, args);
            let at_once = len == 0 || flags & libc::SPLICE_F_NONBLOCK != 0;
            return as_libc(if at_once { blocking(call) } else { between(from, to, call) });
        }
        let next = next!(c"splice", fn(c_int, *mut loff_t, c_int, *mut loff_t, usize, c_uint) -> isize);
        next(from, from_offset, to, to_offset, len, flags)
    }
}

/// libc's `tee`.
///
/// # Safety
/// As for that function.
#[no_mangle]
pub unsafe extern "C" fn tee(from: c_int, to: c_int, len: usize, flags: c_uint) -> isize {
    // SAFETY: the caller's promise, passed on.
    unsafe {
        if may_park() {
            let call = || kernel(libc::SYS_tee, [from as usize, to as usize, len, flags as usize, 0, 0]);
            let at_once = len == 0 || flags & libc::SPLICE_F_NONBLOCK != 0;
            return as_libc(if at_once { blocking(call) } else { between(from, to, call) });
        }
        next!(c"tee", fn(c_int, c_int, usize, c_uint) -> isize)(from, to, len, flags)
    }
}

/// libc's `vmsplice`, which reads from the one end of a pipe and writes to the other.
///
/// # Safety
/// As for that function.
#[no_mangle]
pub unsafe extern "C" fn vmsplice(fd: c_int, buffers: *const iovec, n: usize, flags: c_uint) -> isize {
    // SAFETY: the caller's promise, passed on.
    unsafe {
        if may_park() {
            let call = || kernel(libc::SYS_vmsplice, [fd as usize, buffers as usize, n, flags as usize, 0, 0]);
            let writes = may(status_flags(fd), Interest::Write);
            let interest = if writes { Interest::Write } else { Interest::Read };
            let at_once = n == 0 || flags & libc::SPLICE_F_NONBLOCK != 0;
            let wait = if at_once { Ok(()) } else { wait_until_ready(fd, interest) };
            return as_libc(wait.map_or_else(|e| e, |()| blocking(call)));
        }
        next!(c"vmsplice", fn(c_int, *const iovec, usize, c_uint) -> isize)(fd, buffers, n, flags)
    }
}
