//! An epoll descriptor, level-triggered: as little as the load needs.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

/// Events fetched at a time.
const BATCH: usize = 256;

/// Sockets waited for together, and the events of the last wait.
pub struct Epoll {
    epoll: OwnedFd,
    events: Vec<libc::epoll_event>,
}

impl Epoll {
    /// With nothing to wait for.
    pub fn new() -> io::Result<Self> {
        // SAFETY: a system call without pointers.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just made this descriptor, and nobody else knows it.
        let epoll = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self { epoll, events: Vec::with_capacity(BATCH) })
    }

    /// From now on [`Epoll::wait`] reports `key` while there is something to receive from `socket`, or its end. Closing the socket
    /// ends that.
    pub fn add(&self, socket: &impl AsRawFd, key: usize) -> io::Result<()> {
        let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: key as u64 };
        // SAFETY: both descriptors are open, as their owners are borrowed; the event is a live local that the kernel copies.
        match unsafe { libc::epoll_ctl(self.epoll.as_raw_fd(), libc::EPOLL_CTL_ADD, socket.as_raw_fd(), &mut event) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Waits until something is ready and returns how many [`Epoll::key`]s there are; an error if that takes longer than `patience`.
    pub fn wait(&mut self, patience: Duration) -> io::Result<usize> {
        let milliseconds = i32::try_from(patience.as_millis()).unwrap_or(i32::MAX);
        loop {
            // SAFETY: the kernel writes at most BATCH events, for which the vector has reserved memory.
            let count = unsafe {
                libc::epoll_wait(self.epoll.as_raw_fd(), self.events.as_mut_ptr(), BATCH as i32, milliseconds)
            };
            match usize::try_from(count) {
                Ok(0) => return Err(io::Error::new(io::ErrorKind::TimedOut, "the server does not answer")),
                Ok(count) => {
                    // SAFETY: the kernel has written that many events, and every bit pattern is one.
                    unsafe { self.events.set_len(count) };
                    return Ok(count);
                }
                Err(_) => {
                    let error = io::Error::last_os_error();
                    if error.kind() != io::ErrorKind::Interrupted {
                        return Err(error);
                    }
                }
            }
        }
    }

    /// The key of the `index`th event of the last wait.
    pub fn key(&self, index: usize) -> usize {
        self.events[index].u64 as usize
    }
}
