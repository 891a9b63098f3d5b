//! `poll`, `select`, `epoll_wait`: safe covers for tests of how goroutines wait.

use libc::{c_int, epoll_event, fd_set, pollfd, timeval};
use std::io;
use std::mem;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr;

/// Sets errno.
pub fn set_errno(code: c_int) {
    // SAFETY: the location is this goroutine's own.
    unsafe { *libc::__errno_location() = code }
}

/// Reads errno.
pub fn errno() -> c_int {
    io::Error::last_os_error().raw_os_error().expect("the last error of the system")
}

/// An entry for `poll` that asks for `events`; its answer is nonsense so far.
pub fn ask(fd: &impl AsRawFd, events: i16) -> pollfd {
    pollfd { fd: fd.as_raw_fd(), events, revents: -1 }
}

/// `poll`, with a timeout in milliseconds.
pub fn poll(fds: &mut [pollfd], timeout: c_int) -> c_int {
    // SAFETY: the array is as long as it says.
    unsafe { libc::poll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, timeout) }
}

/// An eventfd that is not ready for reading.
pub fn eventfd() -> OwnedFd {
    // SAFETY: takes numbers only; the descriptor is new.
    unsafe { OwnedFd::from_raw_fd(libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK)) }
}

/// Makes an eventfd ready for reading.
pub fn signal(fd: &OwnedFd) {
    let one = 1u64;
    // SAFETY: the kernel reads eight bytes.
    assert_eq!(unsafe { libc::write(fd.as_raw_fd(), (&raw const one).cast(), 8) }, 8);
}
/// As many descriptors as the system allows.
pub fn many_descriptors() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the structure is ours.
    unsafe {
        assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit), 0);
        limit.rlim_cur = limit.rlim_max.min(1 << 16);
        assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &limit), 0);
    }
}

/// The three sets of `select`.
#[derive(Clone)]
pub struct Selecting {
    /// For reading, writing, exceptional conditions.
    pub sets: [fd_set; 3],
    /// One more than the largest number.
    pub n: c_int,
}

impl Selecting {
    /// Asks for nothing.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Selecting {
        // SAFETY: all zero is the empty set.
        Selecting { sets: [unsafe { mem::zeroed() }; 3], n: 0 }
    }

    fn add(mut self, which: usize, fd: &impl AsRawFd) -> Selecting {
        assert!(fd.as_raw_fd() < libc::FD_SETSIZE as c_int);
        // SAFETY: the number is in range.
        unsafe { libc::FD_SET(fd.as_raw_fd(), &mut self.sets[which]) };
        self.n = self.n.max(fd.as_raw_fd() + 1);
        self
    }

    /// Asks whether `fd` can be read.
    pub fn read(self, fd: &impl AsRawFd) -> Selecting {
        self.add(0, fd)
    }

    /// Asks whether `fd` can be written to.
    pub fn write(self, fd: &impl AsRawFd) -> Selecting {
        self.add(1, fd)
    }

    /// Asks whether `fd` has something exceptional.
    pub fn except(self, fd: &impl AsRawFd) -> Selecting {
        self.add(2, fd)
    }

    /// Whether `fd` is in set 0, 1 or 2.
    pub fn has(&self, which: usize, fd: &impl AsRawFd) -> bool {
        // SAFETY: the number is in range.
        unsafe { libc::FD_ISSET(fd.as_raw_fd(), &self.sets[which]) }
    }

    /// `select`; gives errno if it fails.
    pub fn call(&mut self, timeout: Option<&mut timeval>) -> Result<c_int, c_int> {
        let [read, write, except] = &mut self.sets;
        let timeout = timeout.map_or(ptr::null_mut(), ptr::from_mut);
        // SAFETY: three sets and a time of ours.
        match unsafe { libc::select(self.n, read, write, except, timeout) } {
            -1 => Err(errno()),
            n => Ok(n),
        }
    }

    /// The same, where the sets do not matter.
    pub fn wait(mut self, timeout: Option<&mut timeval>) -> Result<c_int, c_int> {
        self.call(timeout)
    }
}

/// An epoll set.
pub struct EpollSet(pub OwnedFd);

impl EpollSet {
    /// An empty one.
    #[allow(clippy::new_without_default)]
    pub fn new() -> EpollSet {
        // SAFETY: takes numbers only; the descriptor is new.
        EpollSet(unsafe { OwnedFd::from_raw_fd(libc::epoll_create1(libc::EPOLL_CLOEXEC)) })
    }

    /// Adds `fd`, for `events`.
    pub fn add(&self, fd: &impl AsRawFd, events: c_int, data: u64) {
        self.control(libc::EPOLL_CTL_ADD, fd, events, data);
    }

    /// Changes what `fd`, which is in the set, is in it for; one that was reported as `EPOLLONESHOT` may be again.
    pub fn change(&self, fd: &impl AsRawFd, events: c_int, data: u64) {
        self.control(libc::EPOLL_CTL_MOD, fd, events, data);
    }

    fn control(&self, operation: c_int, fd: &impl AsRawFd, events: c_int, data: u64) {
        let mut event = epoll_event { events: events as u32, u64: data };
        // SAFETY: the event is ours.
        let done = unsafe { libc::epoll_ctl(self.0.as_raw_fd(), operation, fd.as_raw_fd(), &mut event) };
        assert_eq!(done, 0);
    }

    /// Waits that many milliseconds; returns the data of up to `n` events.
    pub fn wait(&self, n: usize, timeout: c_int) -> Vec<u64> {
        let mut events = vec![epoll_event { events: 0, u64: 0 }; n];
        // SAFETY: the array is as long as it says.
        let got = unsafe { libc::epoll_wait(self.0.as_raw_fd(), events.as_mut_ptr(), n as c_int, timeout) };
        events[..usize::try_from(got).expect("epoll_wait")].iter().map(|event| event.u64).collect()
    }
}
