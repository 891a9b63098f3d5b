//! Reading and writing what is no socket, but has a readiness: pipes, terminals, eventfds, timers.
//!
//! A try is made with `RWF_NOWAIT`, which concerns the one call only. What does not know it (FIFOs, terminals, signalfds,
//! writing to an eventfd) says so once, and a kernel that does not know it says so of everything. There `poll` is asked, and the
//! call that follows is declared as blocking, since somebody else may be first. After `poll` a pipe has room for `PIPE_BUF` bytes, so no more are written at a time.

use crate::iov;
use crate::kind::{ready, status_flags, About, Kind};
use crate::retry::{error, in_parts, until_done, Step, AGAIN};
use crate::sys::kernel;
use gort_rt::ffi::blocking;
use gort_rt::hook::Interest;
use libc::{c_int, iovec};

/// Up to so many bytes go into a pipe in one piece.
const PIPE_BUF: usize = 4096;
const REFUSED: isize = error(libc::EOPNOTSUPP);
const UNKNOWN: isize = error(libc::ENOSYS);
/// As an offset: the file's own position, or none.
const NO_OFFSET: usize = usize::MAX;

/// `preadv2` or `pwritev2` that does not wait.
///
/// # Safety
/// As for that call.
#[inline]
unsafe fn at_once(number: libc::c_long, fd: c_int, buffers: *const iovec, n: usize) -> isize {
    let flags = libc::RWF_NOWAIT as usize;
    // SAFETY: the caller's promise.
    unsafe { kernel(number, [fd as usize, buffers as usize, n, NO_OFFSET, NO_OFFSET, flags]) }
}

/// Whether the call fails or succeeds without a wait, so that there is nothing to ask `poll`: in non-blocking mode, or because the
/// file was opened for the other direction only, as this access mode says.
fn is_decided(fd: c_int, other: c_int) -> bool {
    let flags = status_flags(fd) as c_int;
    flags < 0 || flags & libc::O_NONBLOCK != 0 || flags & libc::O_ACCMODE == other
}

/// `readv`, with the kernel's convention for errors. `plain` is the call as the program made it.
///
/// # Safety
/// As for `readv`.
pub(super) unsafe fn read(about: &mut About, buffers: *const iovec, n: usize, plain: impl Fn() -> isize) -> isize {
    let fd = about.fd;
    let result = until_done(about, Interest::Read, |about| {
        if !about.refuses(Interest::Read) {
            // SAFETY: the caller's promise.
            match unsafe { at_once(libc::SYS_preadv2, fd, buffers, n) } {
                AGAIN => return Step::Empty,
                REFUSED | UNKNOWN => about.set_refuses(Interest::Read),
                result => return Step::Done(result),
            }
        }
        if is_decided(fd, libc::O_WRONLY) {
            Step::Done(plain())
        } else if ready(fd, libc::POLLIN) {
            Step::Done(blocking(&plain))
        } else {
            Step::Empty
        }
    });
    in_parts(result, 0, || blocking(&plain))
}

/// `writev`, with the kernel's convention for errors. `plain` is the call as the program made it. `readable`: the array of
/// buffers (not what is in them) can be read; otherwise that is for the kernel to find out.
///
/// # Safety
/// As for `writev`.
pub(super) unsafe fn write(
    about: &mut About,
    buffers: *const iovec,
    n: usize,
    mut readable: bool,
    plain: impl Fn() -> isize,
) -> isize {
    let fd = about.fd;
    let is_pipe = about.kind() == Kind::Pipe;
    let mut done = 0;
    let mut wanted = 0;
    let written = |result: isize, done: &mut usize, wanted: usize| match result {
        AGAIN => Step::Empty,
        ..0 => Step::Done(result),
        _ => {
            *done += result as usize;
            if is_pipe && result > 0 && *done < wanted {
                Step::Partly
            } else {
                Step::Done(*done as isize)
            }
        }
    };
    let result = until_done(about, Interest::Write, |about| {
        if !about.refuses(Interest::Write) || !readable {
            let result = if done == 0 {
                // SAFETY: the caller's promise.
                unsafe { at_once(libc::SYS_pwritev2, fd, buffers, n) }
            } else {
                // SAFETY: the kernel has accepted the buffers, so they are readable; of their bytes only the rest.
                unsafe {
                    let rest = iov::after(buffers, n, done);
                    at_once(libc::SYS_pwritev2, fd, rest.buffers.as_ptr(), rest.n)
                }
            };
            if result != REFUSED && result != UNKNOWN {
                if result > 0 && wanted == 0 {
                    // SAFETY: the kernel has accepted the buffers.
                    wanted = unsafe { iov::length(buffers, n) };
                }
                return written(result, &mut done, wanted);
            }
            about.set_refuses(Interest::Write);
            // The kernel takes the array before it refuses, but a kernel that does not know the call takes nothing.
            if result == UNKNOWN && !readable {
                return Step::Done(blocking(&plain));
            }
            readable = true;
        }
        if is_decided(fd, libc::O_RDONLY) {
            return Step::Done(if done > 0 { done as isize } else { plain() });
        }
        if !ready(fd, libc::POLLOUT) {
            return Step::Empty;
        }
        // SAFETY: the array is readable.
        wanted = unsafe { iov::length(buffers, n) };
        if !is_pipe || wanted <= PIPE_BUF {
            return Step::Done(blocking(&plain));
        }
        // SAFETY: the caller's promise, of a part of one buffer.
        let result = unsafe {
            let next = iov::after(buffers, n, done).buffers[0];
            let len = next.iov_len.min(PIPE_BUF);
            blocking(|| kernel(libc::SYS_write, [fd as usize, next.iov_base as usize, len, 0, 0, 0]))
        };
        written(result, &mut done, wanted)
    });
    in_parts(result, done, || {
        if done == 0 {
            return blocking(&plain);
        }
        // SAFETY: as above.
        let rest = unsafe { iov::after(buffers, n, done) };
        let args = [fd as usize, rest.buffers.as_ptr() as usize, rest.n, 0, 0, 0];
        // SAFETY: the caller's promise, of a part of the buffers.
        blocking(|| unsafe { kernel(libc::SYS_writev, args) })
    })
}
