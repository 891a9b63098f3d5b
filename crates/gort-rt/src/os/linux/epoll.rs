//! Readiness of descriptors: epoll, and an eventfd to interrupt a thread that waits in it.

use super::clock::{now, timespec};
use super::syscall::syscall;
use core::ffi::c_int;
use core::sync::atomic::{AtomicBool, Ordering};

/// One report of the kernel: what a descriptor is ready for, and the number it was registered under.
pub(crate) type Event = libc::epoll_event;

/// An event that says nothing.
pub(crate) const NO_EVENT: Event = libc::epoll_event { events: 0, u64: 0 };

/// Reports that reading may succeed. (Drivers announce some changes by the lesser-known bits alone.)
const READABLE: c_int = libc::EPOLLIN | libc::EPOLLRDNORM | libc::EPOLLRDBAND | libc::EPOLLPRI;
/// Reports that writing may succeed.
const WRITABLE: c_int = libc::EPOLLOUT | libc::EPOLLWRNORM | libc::EPOLLWRBAND;
/// What descriptors of goroutines are registered for: any change, once for each change.
const CHANGES: u32 = (READABLE | WRITABLE | libc::EPOLLRDHUP | libc::EPOLLET) as u32;

/// What an event means.
#[derive(Clone, Copy)]
pub(crate) struct Readiness {
    /// Reading may succeed, end or fail.
    pub(crate) read: bool,
    /// Writing may succeed or fail.
    pub(crate) write: bool,
    /// The end of the stream, an error, or urgent data: readiness that no later event announces again.
    pub(crate) lasting: bool,
}

/// As if everything had happened at once.
pub(crate) const ANYTHING: Readiness = Readiness { read: true, write: true, lasting: true };

/// What `event` means.
pub(crate) fn readiness(event: &Event) -> Readiness {
    let has = |bits: c_int| event.events & bits as u32 != 0;
    let broken = libc::EPOLLHUP | libc::EPOLLERR;
    Readiness {
        read: has(READABLE | libc::EPOLLRDHUP | broken),
        write: has(WRITABLE | broken),
        lasting: has(libc::EPOLLPRI | libc::EPOLLRDHUP | broken),
    }
}

/// A new set of descriptors.
pub(crate) fn epoll_create() -> Result<c_int, i32> {
    // SAFETY: the call takes no pointers.
    unsafe { syscall(libc::SYS_epoll_create1, [libc::EPOLL_CLOEXEC as usize, 0, 0, 0, 0, 0]) }.map(out_of_the_way)
}

/// Moves a new descriptor to a number that programs do not name (as they do in `dup2`), if the limit allows.
fn out_of_the_way(fd: usize) -> c_int {
    const FROM: usize = 512;
    // SAFETY: the call takes no pointers.
    match unsafe { syscall(libc::SYS_fcntl, [fd, libc::F_DUPFD_CLOEXEC as usize, FROM, 0, 0, 0]) } {
        Ok(moved) => {
            close(fd as c_int);
            moved as c_int
        }
        Err(_) => fd as c_int,
    }
}

/// Adds `fd` to the set, to be reported as `data` at each change. One that is in it already is reported anew if it is ready.
pub(crate) fn epoll_register(set: c_int, fd: c_int, data: u64) -> Result<(), i32> {
    match control(set, libc::EPOLL_CTL_ADD, fd, CHANGES, data) {
        Err(libc::EEXIST) => control(set, libc::EPOLL_CTL_MOD, fd, CHANGES, data),
        other => other,
    }
}

/// As [`epoll_register`], but leaves one that is in the set already as it is, and unreported.
pub(crate) fn epoll_ensure(set: c_int, fd: c_int, data: u64) -> Result<(), i32> {
    match control(set, libc::EPOLL_CTL_ADD, fd, CHANGES, data) {
        Err(libc::EEXIST) => Ok(()),
        other => other,
    }
}

/// Takes `fd` out of the set.
pub(crate) fn epoll_remove(set: c_int, fd: c_int) {
    // It may be closed, or never have been in: then there is nothing to do.
    let _ = control(set, libc::EPOLL_CTL_DEL, fd, 0, 0);
}

fn control(set: c_int, operation: c_int, fd: c_int, events: u32, data: u64) -> Result<(), i32> {
    let event = libc::epoll_event { events, u64: data };
    let args = [set as usize, operation as usize, fd as usize, &raw const event as usize, 0, 0];
    // SAFETY: the kernel reads one event, which outlives the call.
    unsafe { syscall(libc::SYS_epoll_ctl, args) }.map(drop)
}

/// False once the kernel or a sandbox was found to lack `epoll_pwait2` (Linux 5.11), which takes nanoseconds.
static FINE: AtomicBool = AtomicBool::new(true);

/// Waits for events until one comes or [`now`] reaches `deadline` (0: does not wait; None: for ever). Returns how many there
/// are; 0 also after a signal. An error says that `set` is no set.
pub(crate) fn epoll_wait(set: c_int, events: &mut [Event], deadline: Option<u64>) -> Result<usize, i32> {
    let (at, len) = (events.as_mut_ptr() as usize, events.len());
    let left = deadline.map(|when| if when == 0 { 0 } else { when.saturating_sub(now()) });
    if left != Some(0) && FINE.load(Ordering::Relaxed) {
        let time = left.map(timespec);
        let time = time.as_ref().map_or(core::ptr::null(), |t| t as *const libc::timespec);
        // SAFETY: the kernel writes at most `len` events and reads a timespec that outlives the call.
        match unsafe { syscall(libc::SYS_epoll_pwait2, [set as usize, at, len, time as usize, 0, 0]) } {
            Ok(n) => return Ok(n),
            Err(libc::EINTR) => return Ok(0),
            // ENOSYS, or whatever a sandbox says of calls that it does not know.
            Err(_) => FINE.store(false, Ordering::Relaxed),
        }
    }
    // Milliseconds, rounded up so that a timer is due when we return.
    let ms = left.map_or(-1, |ns| ns.div_ceil(1_000_000).min(c_int::MAX as u64) as c_int);
    // SAFETY: as above; there is no mask of signals.
    match unsafe { syscall(libc::SYS_epoll_pwait, [set as usize, at, len, ms as isize as usize, 0, 0]) } {
        Err(libc::EINTR) => Ok(0),
        result => result,
    }
}

/// Waits until `fd` is ready to be read (or written to), has ended or failed, or until [`now`] reaches `deadline` (0: does not
/// wait; None: for ever), signals notwithstanding. False: the deadline has passed.
pub(crate) fn poll(fd: c_int, write: bool, deadline: Option<u64>) -> Result<bool, i32> {
    let events = if write { libc::POLLOUT } else { libc::POLLIN | libc::POLLRDHUP };
    loop {
        let mut one = libc::pollfd { fd, events, revents: 0 };
        let mut left = deadline.map(|when| timespec(if when == 0 { 0 } else { when.saturating_sub(now()) }));
        let time = left.as_mut().map_or(core::ptr::null_mut(), |t| t as *mut libc::timespec);
        // SAFETY: the kernel reads and writes one live pollfd, and a timespec, into which it may write
        // the time that is left; both outlive the call.
        match unsafe { syscall(libc::SYS_ppoll, [&raw mut one as usize, 1, time as usize, 0, 0, 0]) } {
            Ok(0) => return Ok(false),
            Ok(_) if one.revents & libc::POLLNVAL != 0 => return Err(libc::EBADF),
            Ok(_) => return Ok(true),
            Err(libc::EINTR) => {}
            Err(e) => return Err(e),
        }
    }
}

/// A descriptor in the set that [`interrupt`] makes ready, reported as `data` by every wait until [`calm`].
pub(crate) fn interrupter(set: c_int, data: u64) -> Result<c_int, i32> {
    let flags = (libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) as usize;
    // SAFETY: the call takes no pointers.
    let fd = out_of_the_way(unsafe { syscall(libc::SYS_eventfd2, [0, flags, 0, 0, 0, 0]) }?);
    match control(set, libc::EPOLL_CTL_ADD, fd, libc::EPOLLIN as u32, data) {
        Ok(()) => Ok(fd),
        Err(e) => {
            close(fd);
            Err(e)
        }
    }
}

/// Makes the set that `fd` belongs to report it.
pub(crate) fn interrupt(fd: c_int) {
    let one = 1u64;
    // SAFETY: the kernel reads eight bytes of a live number. It can only fail when the count is near 2^64, and then the
    // descriptor is ready anyway.
    let _ = unsafe { syscall(libc::SYS_write, [fd as usize, &raw const one as usize, 8, 0, 0, 0]) };
}

/// Makes room for many descriptors in the kernel's table at once. It grows by doubling otherwise, and each time everybody who
/// opens something meanwhile waits some milliseconds (for a grace period of the kernel's).
pub(crate) fn make_room(fd: c_int) {
    const ENOUGH: u64 = 1 << 14;
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    let args = [0, libc::RLIMIT_NOFILE as usize, 0, &raw mut limit as usize, 0, 0];
    // SAFETY: the kernel writes one rlimit to a live one; a duplicate of the caller's descriptor is ours to close.
    unsafe {
        if syscall(libc::SYS_prlimit64, args).is_ok() && limit.rlim_cur > 0 {
            let high = limit.rlim_cur.min(ENOUGH) as usize - 1;
            if let Ok(copy) = syscall(libc::SYS_fcntl, [fd as usize, libc::F_DUPFD_CLOEXEC as usize, high, 0, 0, 0]) {
                close(copy as c_int);
            }
        }
    }
}

/// Makes an interrupter not ready again.
pub(crate) fn calm(fd: c_int) {
    let mut count = 0u64;
    // SAFETY: the kernel writes eight bytes to a live number. It fails where nothing is to be taken.
    let _ = unsafe { syscall(libc::SYS_read, [fd as usize, &raw mut count as usize, 8, 0, 0, 0]) };
}

/// Closes a descriptor that nobody else knows.
pub(crate) fn close(fd: c_int) {
    // SAFETY: the call takes no pointers.
    let _ = unsafe { syscall(libc::SYS_close, [fd as usize, 0, 0, 0, 0, 0]) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::fd::AsRawFd;

    #[test]
    fn an_interrupt_is_reported_until_it_is_calmed() {
        let set = epoll_create().unwrap();
        let fd = interrupter(set, 7).unwrap();
        let mut events = [NO_EVENT; 4];
        assert_eq!(epoll_wait(set, &mut events, Some(0)), Ok(0));
        interrupt(fd);
        interrupt(fd);
        for _ in 0..2 {
            assert_eq!(epoll_wait(set, &mut events, None), Ok(1));
            assert_eq!({ events[0].u64 }, 7);
        }
        calm(fd);
        assert_eq!(epoll_wait(set, &mut events, Some(now() + 1_000_000)), Ok(0), "a deadline");
        close(fd);
        close(set);
    }

    #[test]
    fn a_change_is_reported_once() {
        let set = epoll_create().unwrap();
        let (a, mut b) = std::os::unix::net::UnixStream::pair().unwrap();
        let fd = a.as_raw_fd();
        epoll_register(set, fd, 1).unwrap();
        let mut events = [NO_EVENT; 4];
        // It can be written to at once, which is a change too.
        assert_eq!(epoll_wait(set, &mut events, None), Ok(1));
        assert!(readiness(&events[0]).write && !readiness(&events[0]).read);
        for _ in 0..2 {
            assert_eq!(epoll_wait(set, &mut events, Some(0)), Ok(0));
            b.write_all(b"x").unwrap();
            assert_eq!(epoll_wait(set, &mut events, None), Ok(1));
            assert!(readiness(&events[0]).read && !readiness(&events[0]).lasting);
        }
        epoll_register(set, fd, 2).unwrap();
        assert_eq!(epoll_wait(set, &mut events, Some(0)), Ok(1), "ready, and so reported anew");
        assert_eq!({ events[0].u64 }, 2);
        drop(b);
        assert_eq!(epoll_wait(set, &mut events, None), Ok(1));
        assert!(readiness(&events[0]).lasting);
        epoll_remove(set, fd);
        close(set);
        // A number that was closed may be another test's already; this one is nobody's.
        assert_eq!(epoll_register(-1, fd, 7), Err(libc::EBADF));
        assert_eq!(epoll_wait(-1, &mut events, None), Err(libc::EBADF));
    }
}
