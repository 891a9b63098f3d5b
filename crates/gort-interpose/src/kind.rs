//! What stands behind a descriptor, and whether calls on it wait.
//!
//! Both are asked of the kernel when they are first needed, and kept in the 32 bits that the netpoller keeps for each number:
//!
//! ```text
//!   sockets       epoch (27 bits) | it listens | it has time-outs | kind (3 bits)
//!   all others    … | writing, reading cannot be tried with RWF_NOWAIT | kind (3 bits)
//! ```
//!
//! The *epoch* is a count of the hooked calls that made some socket non-blocking, gave one a time-out or ended reading from
//! it. If a socket's is the present one, nothing of the kind has happened since the kernel said that this one is in blocking
//! mode. So the usual wait costs no question. Other files are shared between processes, as the terminal is, and any of these
//! may change the mode: for them the kernel is asked before each wait.
//!
//! Facts that have become wrong, since a number was closed and opened past the hooks, show: in `ENOTSOCK`, or in that epoll
//! refuses the file. Then the kernel is asked anew.

use crate::sys::{kernel, poll_now};
use core::mem::{self, MaybeUninit};
use core::sync::atomic::{AtomicU32, Ordering};
use gort_rt::hook::{self, Descriptor, Interest, Stamp};
use libc::{c_int, c_short};

/// What is behind a descriptor, as far as it matters to calls that wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub(crate) enum Kind {
    /// A stream over IP: reading less than was asked for means that there is no more.
    Tcp = 1,
    /// A stream that may end a read early, at the border between two messages (`AF_UNIX` with descriptors).
    Stream = 2,
    /// A socket that carries messages.
    Message = 3,
    /// A pipe or a FIFO.
    Pipe = 4,
    /// Whatever else can be waited for: terminals, eventfds, timers, and devices, of which some cannot.
    Other = 5,
    /// What is never waited for: regular files, directories, block devices, and numbers that stand for nothing.
    File = 6,
}

impl Kind {
    pub(crate) fn is_stream(self) -> bool {
        matches!(self, Kind::Tcp | Kind::Stream)
    }

    pub(crate) fn is_socket(self) -> bool {
        matches!(self, Kind::Tcp | Kind::Stream | Kind::Message)
    }

    /// The kind of a socket, from what `socket` was given.
    pub(crate) fn of_socket(domain: c_int, kind: c_int, protocol: c_int) -> Kind {
        // Not SCTP, which keeps messages apart, nor what looks like TCP and has queues of its own.
        let tcp = matches!(domain, libc::AF_INET | libc::AF_INET6)
            && matches!(protocol, 0 | libc::IPPROTO_TCP | libc::IPPROTO_MPTCP);
        match kind & !(libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC) {
            libc::SOCK_STREAM if tcp => Kind::Tcp,
            libc::SOCK_STREAM => Kind::Stream,
            _ => Kind::Message,
        }
    }

    fn from_bits(bits: u32) -> Option<Kind> {
        use Kind::*;
        [Tcp, Stream, Message, Pipe, Other, File].into_iter().find(|&kind| kind as u32 == bits & KIND)
    }
}

const KIND: u32 = 7;
/// Of a socket: it has time-outs.
const TIMED: u32 = 1 << 3;
/// Of a socket: it takes connections.
const LISTENS: u32 = 1 << 4;
const EPOCH: u32 = 5;
/// Of other files: reading does not know `RWF_NOWAIT`; the next bit: writing does not.
const REFUSES: u32 = 1 << 3;

/// The low 27 bits count; 0 is nobody's epoch.
static NOW: AtomicU32 = AtomicU32::new(1);

fn epoch() -> u32 {
    NOW.load(Ordering::Acquire) << EPOCH
}

/// After a socket was made non-blocking, or given a time-out, or closed for reading: nobody's mode is known any more.
pub(crate) fn mode_changed() {
    NOW.fetch_add(1, Ordering::Release);
}

/// Notes the kind of a file that a hooked call has just made.
pub(crate) fn made(fd: c_int, kind: Kind) {
    if let Some(descriptor) = hook::descriptor(fd) {
        let (stamp, _) = descriptor.facts();
        descriptor.set_facts(stamp, kind as u32);
    }
}

/// Whether a call that found nothing to do waits.
pub(crate) enum Waits {
    /// The file is in non-blocking mode.
    Never,
    /// The descriptor has been closed: the error, as the kernel's result.
    Closed(isize),
    Forever,
    /// For so many nanoseconds: the socket has a time-out.
    For(u64),
    /// In the kernel only, since readiness does not tell when to try again.
    InKernel,
}

/// A descriptor with what is known of it.
pub(crate) struct About {
    pub(crate) fd: c_int,
    pub(crate) descriptor: Descriptor,
    stamp: Stamp,
    bits: u32,
}

impl About {
    /// What is known of `fd`. None: the netpoller has no room for that number.
    #[inline]
    pub(crate) fn of(fd: c_int) -> Option<About> {
        let descriptor = hook::descriptor(fd)?;
        let (stamp, bits) = descriptor.facts();
        Some(About { fd, descriptor, stamp, bits })
    }

    /// The kind, if it is known.
    #[inline]
    pub(crate) fn known_kind(&self) -> Option<Kind> {
        Kind::from_bits(self.bits)
    }

    /// The kind.
    #[inline]
    pub(crate) fn kind(&mut self) -> Kind {
        match self.known_kind() {
            Some(kind) => kind,
            None => self.learn(),
        }
    }

    /// Asks the kernel for the kind, whatever was known.
    #[cold]
    pub(crate) fn learn(&mut self) -> Kind {
        let kind = match socket_option(self.fd, libc::SO_TYPE) {
            Ok(kind) => {
                let other = |name| socket_option(self.fd, name).unwrap_or(-1);
                Some(Kind::of_socket(other(libc::SO_DOMAIN), kind, other(libc::SO_PROTOCOL)))
            }
            Err(_) => kind_by_stat(self.fd),
        };
        match kind {
            Some(kind) => {
                self.is(kind);
                kind
            }
            None => Kind::File, // for now: the number stands for nothing
        }
    }

    /// Notes the kind.
    pub(crate) fn is(&mut self, kind: Kind) {
        self.note(kind as u32);
    }

    fn note(&mut self, bits: u32) {
        self.bits = bits;
        self.descriptor.set_facts(self.stamp, bits);
    }

    /// Whether reading, or writing, cannot be tried without waiting.
    #[inline]
    pub(crate) fn refuses(&self, interest: Interest) -> bool {
        self.bits & (REFUSES << interest as u32) != 0
    }

    /// Notes that reading, or writing, cannot be tried without waiting.
    #[cold]
    pub(crate) fn set_refuses(&mut self, interest: Interest) {
        self.note(self.bits | REFUSES << interest as u32);
    }

    /// Whether it is a socket that is known to be in blocking mode, without a question to the kernel.
    #[inline]
    pub(crate) fn surely_waits(&self) -> bool {
        let epoch = epoch();
        epoch != 0 && self.bits >> EPOCH == epoch >> EPOCH && self.known_kind().is_some_and(Kind::is_socket)
    }

    /// Whether this socket is known as one that takes connections. Says nothing of other files.
    #[inline]
    pub(crate) fn is_known_to_listen(&self) -> bool {
        self.bits & LISTENS != 0
    }

    /// Whether it is a socket that takes connections; false: no, or it has been closed. The kernel is asked until it says yes,
    /// since a socket that has begun to listen never does anything else.
    pub(crate) fn listens(&mut self) -> bool {
        if self.known_kind().is_some_and(Kind::is_socket) && self.bits & LISTENS != 0 {
            return true;
        }
        let listens = socket_option(self.fd, libc::SO_ACCEPTCONN) == Ok(1);
        if listens && self.kind().is_socket() {
            self.note(self.bits | LISTENS);
        }
        listens
    }

    /// Notes what is known of a connection that this listener has just given: it has its kind and its time-outs, and is in
    /// blocking mode unless it was asked for otherwise.
    pub(crate) fn has_given(&mut self, fd: c_int, blocking: bool) {
        let kind = self.kind();
        if let Some(descriptor) = hook::descriptor(fd) {
            let (stamp, _) = descriptor.facts();
            descriptor
                .set_facts(stamp, if blocking && self.surely_waits() { self.bits & !LISTENS } else { kind as u32 });
        }
    }

    /// Whether, and how long, a call waits that found nothing to do; `in_vain`: although it was woken for that.
    pub(crate) fn waits(&mut self, interest: Interest, in_vain: bool) -> Waits {
        if !self.kind().is_socket() {
            return never(self.fd).unwrap_or(Waits::Forever);
        }
        if !self.surely_waits() || in_vain && self.kind() == Kind::Message {
            let epoch = epoch(); // before the questions: what changes after them changes it
            if let Some(never) = never(self.fd) {
                return never;
            }
            if self.kind() == Kind::Message && ready(self.fd, libc::POLLRDHUP) {
                // Reading was ended by `shutdown`. That a datagram socket tells blocking calls only.
                if interest == Interest::Read {
                    return Waits::InKernel;
                }
            } else {
                let timed = time_out(self.fd, Interest::Read) != 0 || time_out(self.fd, Interest::Write) != 0;
                self.note(self.bits & (KIND | LISTENS) | epoch | if timed { TIMED } else { 0 });
            }
        }
        if self.kind() == Kind::Message && interest == Interest::Write && ready(self.fd, libc::POLLOUT) {
            // Our own buffer has room, so what is full is the receiver's, whose readiness nobody tells us.
            return Waits::InKernel;
        }
        match self.bits & TIMED != 0 {
            true => match time_out(self.fd, interest) {
                0 => Waits::Forever,
                ns => Waits::For(ns),
            },
            false => Waits::Forever,
        }
    }
}

/// Why calls on the file do not wait: they would fail, or it is in non-blocking mode. None: they may wait.
fn never(fd: c_int) -> Option<Waits> {
    match status_flags(fd) {
        error @ ..0 => Some(Waits::Closed(error)),
        flags if flags & libc::O_NONBLOCK as isize != 0 => Some(Waits::Never),
        _ => None,
    }
}

/// What `fstat` says that it is; None: nothing.
fn kind_by_stat(fd: c_int) -> Option<Kind> {
    let mut stat = MaybeUninit::<libc::stat>::zeroed();
    // SAFETY: the kernel writes one `stat`.
    let result = unsafe { kernel(libc::SYS_fstat, [fd as usize, stat.as_mut_ptr() as usize, 0, 0, 0, 0]) };
    // SAFETY: all zero is a valid value, and what the kernel writes is too.
    let mode = unsafe { stat.assume_init() }.st_mode;
    (result == 0).then_some(match mode & libc::S_IFMT {
        libc::S_IFIFO => Kind::Pipe,
        libc::S_IFREG | libc::S_IFDIR | libc::S_IFBLK | libc::S_IFLNK => Kind::File,
        _ => Kind::Other, // character devices, and what has no type: eventfd, timerfd, epoll and their like
    })
}

/// An option of a socket that is a number; or the error, as the kernel's result.
pub(crate) fn socket_option(fd: c_int, name: c_int) -> Result<c_int, isize> {
    let mut value: c_int = 0;
    get_option(fd, libc::SOL_SOCKET, name, &mut value).map(|()| value)
}

fn get_option<T>(fd: c_int, level: c_int, name: c_int, value: &mut T) -> Result<(), isize> {
    let mut size = mem::size_of::<T>() as libc::socklen_t;
    let args = [fd as usize, level as usize, name as usize, value as *mut T as usize, &raw mut size as usize, 0];
    // SAFETY: the kernel writes at most `size` bytes, which `value` has; the options asked for are plain numbers.
    match unsafe { kernel(libc::SYS_getsockopt, args) } {
        0 => Ok(()),
        e => Err(e),
    }
}

/// The beginning of what `TCP_INFO` tells; see Linux's `struct tcp_info`.
#[repr(C)]
#[derive(Default)]
struct TcpInfo {
    state: u8,
    others: [u8; 7],
    times_and_sizes: [u32; 4],
    /// Of a listener: the connections that wait to be accepted.
    unacked: u32,
}

/// How many connections wait at this TCP listener. 0: perhaps some; the kernel does not say, or it is no such listener.
pub(crate) fn connections_at(fd: c_int) -> u32 {
    const LISTENS: u8 = 10;
    let mut info = TcpInfo::default();
    match get_option(fd, libc::IPPROTO_TCP, libc::TCP_INFO, &mut info) {
        Ok(()) if info.state == LISTENS => info.unacked,
        _ => 0,
    }
}

/// The socket's time-out in nanoseconds; 0: none.
fn time_out(fd: c_int, interest: Interest) -> u64 {
    let name = match interest {
        Interest::Read => libc::SO_RCVTIMEO,
        Interest::Write => libc::SO_SNDTIMEO,
    };
    let mut time = libc::timeval { tv_sec: 0, tv_usec: 0 };
    match get_option(fd, libc::SOL_SOCKET, name, &mut time) {
        Ok(()) => (time.tv_sec as u64).saturating_mul(1_000_000_000).saturating_add(time.tv_usec as u64 * 1000),
        Err(_) => 0,
    }
}

/// The file's status flags; negative: the error's number.
pub(crate) fn status_flags(fd: c_int) -> isize {
    // SAFETY: the call takes no pointers.
    unsafe { kernel(libc::SYS_fcntl, [fd as usize, libc::F_GETFL as usize, 0, 0, 0, 0]) }
}

/// Whether the file is in non-blocking mode. A bad descriptor counts as such: the call itself has said what is wrong.
pub(crate) fn is_nonblocking(fd: c_int) -> bool {
    let flags = status_flags(fd);
    flags < 0 || flags & libc::O_NONBLOCK as isize != 0
}

/// Whether `poll` reports one of `events`, an error or a hang-up now.
pub(crate) fn ready(fd: c_int, events: c_short) -> bool {
    let mut poll = libc::pollfd { fd, events, revents: 0 };
    // SAFETY: the kernel reads and writes one `pollfd`; without a time-out it does not wait.
    unsafe { poll_now(&raw mut poll, 1) > 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::net::{TcpListener, UdpSocket};
    use std::os::fd::AsRawFd;
    use std::os::unix::net::{UnixDatagram, UnixStream};

    fn about(file: &impl AsRawFd) -> About {
        About::of(file.as_raw_fd()).expect("a small number")
    }

    #[test]
    fn the_kernel_knows_the_kinds() {
        let (pipe, _writer) = std::io::pipe().unwrap();
        assert_eq!(about(&pipe).learn(), Kind::Pipe);
        assert_eq!(about(&TcpListener::bind("127.0.0.1:0").unwrap()).learn(), Kind::Tcp);
        assert_eq!(about(&UnixStream::pair().unwrap().0).learn(), Kind::Stream);
        assert_eq!(about(&UnixDatagram::unbound().unwrap()).learn(), Kind::Message);
        assert_eq!(about(&UdpSocket::bind("127.0.0.1:0").unwrap()).learn(), Kind::Message);
        assert_eq!(about(&File::open("/dev/null").unwrap()).learn(), Kind::Other);
        assert_eq!(about(&File::open("/").unwrap()).learn(), Kind::File);
        assert!(about(&pipe).known_kind() == Some(Kind::Pipe), "kept");
        let mut nothing = About::of(1 << 20).unwrap();
        assert_eq!((nothing.learn(), nothing.known_kind()), (Kind::File, None), "not kept");
        assert!(matches!(nothing.waits(Interest::Read, false), Waits::Closed(e) if e == -(libc::EBADF as isize)));
    }

    #[test]
    fn listening_is_asked_of_the_kernel_and_kept() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert!(!about(&client).listens());
        let mut of_listener = about(&listener);
        assert!(of_listener.bits & LISTENS == 0 && of_listener.listens());
        assert!(about(&listener).bits & LISTENS != 0, "kept");
        assert!(matches!(of_listener.waits(Interest::Read, false), Waits::Forever));
        assert!(about(&listener).bits & LISTENS != 0, "kept beside the mode");
        let (connection, _) = listener.accept().unwrap();
        of_listener.has_given(connection.as_raw_fd(), true);
        assert!(!about(&connection).listens(), "a connection does not inherit it");
    }

    #[test]
    fn the_mode_is_asked_once() {
        let (one, _other) = UnixStream::pair().unwrap();
        let mut about = about(&one);
        assert!(!about.surely_waits());
        assert!(matches!(about.waits(Interest::Read, false), Waits::Forever));
        // Other tests may change modes too; so it may not be known.
        one.set_read_timeout(Some(std::time::Duration::from_millis(20))).unwrap();
        assert!(!about.surely_waits());
        assert!(matches!(about.waits(Interest::Read, false), Waits::For(20_000_000..)));
        assert!(matches!(about.waits(Interest::Write, false), Waits::Forever));
        one.set_nonblocking(true).unwrap();
        assert!(matches!(about.waits(Interest::Read, false), Waits::Never));
    }
}
