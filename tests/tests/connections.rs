//! Making connections on goroutines: `connect` and `accept`.

use gort::thread;
use gort_tests::measure::{all_wait, eventually, everywhere, kernel_threads, on_goroutine};
use gort_tests::subprocess::alone;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

const SHORT: Duration = Duration::from_millis(20);

fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// A listener whose queue is full, so that nobody gets through to it.
fn full_listener() -> (TcpListener, SocketAddr, Vec<TcpStream>) {
    let (listener, address) = listener();
    // SAFETY: the call has no pointers.
    assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), 0) }, 0);
    let mut inside = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
        inside.push(stream);
        assert!(inside.len() < 100, "the queue is short");
    }
    (listener, address, inside)
}

#[test]
fn connecting_takes_no_longer_than_allowed() {
    everywhere(|| {
        let (_listener, address, _inside) = full_listener();
        let before = Instant::now();
        let error = TcpStream::connect_timeout(&address, SHORT).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert!(before.elapsed() >= SHORT);
    });
}

#[test]
fn connecting_parks() {
    alone("connecting_parks", || {
        const N: usize = 20;
        let (listener, address, inside) = full_listener();
        on_goroutine(|| ());
        let before = kernel_threads();
        let begun = AtomicUsize::new(0);
        thread::scope(|s| {
            let connect = || {
                begun.fetch_add(1, SeqCst);
                TcpStream::connect(address).unwrap()
            };
            let waiting: Vec<_> = (0..N).map(|_| s.spawn(connect)).collect();
            assert!(eventually(Duration::from_secs(30), || begun.load(SeqCst) == N));
            all_wait(0);
            assert!(waiting.iter().all(|one| !one.is_finished()));
            let more = kernel_threads().saturating_sub(before);
            assert!(more < 64, "{more} more kernel threads");
            // Room for all, when they ask again.
            // SAFETY: the call has no pointers.
            assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), 128) }, 0);
            s.spawn(|| (0..inside.len() + N).for_each(|_| drop(listener.accept().unwrap())));
            for one in waiting {
                let stream = one.join().unwrap();
                // SAFETY: the call has no pointers.
                let flags = unsafe { libc::fcntl(stream.as_raw_fd(), libc::F_GETFL) };
                assert_eq!(flags & libc::O_NONBLOCK, 0, "the mode is as it was");
                assert_eq!(connect_again(&stream, address), Some(libc::EISCONN));
            }
        });
    });
}

/// The error of a second `connect`.
fn connect_again(stream: &TcpStream, to: SocketAddr) -> Option<i32> {
    let SocketAddr::V4(to) = to else { panic!("made with IPv4") };
    let address = libc::sockaddr_in {
        sin_family: libc::AF_INET as u16,
        sin_port: to.port().to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from(*to.ip()).to_be() },
        sin_zero: [0; 8],
    };
    let size = size_of::<libc::sockaddr_in>() as libc::socklen_t;
    // SAFETY: the address lives during the call.
    let result = unsafe { libc::connect(stream.as_raw_fd(), (&raw const address).cast(), size) };
    (result < 0).then(|| std::io::Error::last_os_error().raw_os_error()).flatten()
}

#[test]
fn connecting_to_nobody() {
    everywhere(|| {
        let (listener, address) = listener();
        drop(listener);
        assert_eq!(TcpStream::connect(address).unwrap_err().kind(), ErrorKind::ConnectionRefused);
        assert_eq!(UnixStream::connect("/does/not/exist").unwrap_err().kind(), ErrorKind::NotFound);
    });
}

/// Several that wait for the same: each gets a share, nobody is forgotten.
#[test]
fn several_accept_at_the_same_listener() {
    on_goroutine(|| {
        let (listener, address) = listener();
        const N: usize = 20;
        thread::scope(|s| {
            let accepting: Vec<_> = (0..N).map(|_| s.spawn(|| listener.accept().unwrap())).collect();
            let made: Vec<_> = (0..N).map(|_| TcpStream::connect(address).unwrap()).collect();
            let mut peers: Vec<_> = accepting.into_iter().map(|one| one.join().unwrap().1).collect();
            let mut expected: Vec<_> = made.iter().map(|stream| stream.local_addr().unwrap()).collect();
            peers.sort();
            expected.sort();
            assert_eq!(peers, expected);
        });
    });
}

fn open_descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn nothing_is_left_of_many_connections() {
    alone("nothing_is_left_of_many_connections", || {
        const WORKERS: usize = 10;
        const EACH: usize = 2000;
        let name = std::env::temp_dir().join(format!("gort-churn-{}", std::process::id()));
        on_goroutine(|| {
            let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            let unix = UnixListener::bind(&name).unwrap();
            let to = tcp.local_addr().unwrap();
            let before = open_descriptors();
            thread::scope(|s| {
                s.spawn(|| (0..WORKERS / 2 * EACH).for_each(|_| greet(tcp.accept().unwrap().0)));
                s.spawn(|| (0..WORKERS / 2 * EACH).for_each(|_| greet(unix.accept().unwrap().0)));
                for i in 0..WORKERS {
                    let name = &name;
                    s.spawn(move || {
                        for _ in 0..EACH {
                            if i % 2 == 0 {
                                let stream = TcpStream::connect(to).unwrap();
                                greeted(&stream);
                                forget_at_once(&stream);
                            } else {
                                greeted(&UnixStream::connect(name).unwrap());
                            }
                        }
                    });
                }
            });
            assert!(open_descriptors() <= before + 2); // the runtime's own two, since the first wait
        });
        fs::remove_file(name).unwrap();
    });
}

fn greet(mut stream: impl Write) {
    stream.write_all(b"hello").unwrap();
}

fn greeted(mut stream: impl Read) {
    let mut bytes = [0; 5];
    stream.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"hello");
}

/// Closing will leave nothing behind in the kernel that would keep the port.
fn forget_at_once(stream: &TcpStream) {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    let (at, size) = ((&raw const linger).cast(), size_of::<libc::linger>() as libc::socklen_t);
    // SAFETY: one `linger` is read.
    let set = unsafe { libc::setsockopt(stream.as_raw_fd(), libc::SOL_SOCKET, libc::SO_LINGER, at, size) };
    assert_eq!(set, 0);
}

/// A connection that the calling goroutine has accepted, as a rule after it has waited: then the listener is known to wait.
fn waited_for(listener: &TcpListener, address: SocketAddr) -> TcpStream {
    let client = thread::spawn(move || TcpStream::connect(address).unwrap());
    listener.accept().unwrap();
    client.join().unwrap()
}

/// The kernel leaves a connection in the listener's queue when there is no number for it, and does not report it again.
#[test]
fn a_connection_that_had_no_room_is_there_next_time() {
    alone("a_connection_that_had_no_room_is_there_next_time", || {
        let (listener, address) = listener();
        on_goroutine(|| {
            let _first = waited_for(&listener, address); // with which the queue is known to be empty
            let _second = TcpStream::connect(address).unwrap();
            let highest = fs::read_dir("/proc/self/fd").unwrap().count() as u64;
            let limit = |n| {
                let limit = libc::rlimit { rlim_cur: n, rlim_max: 1024 };
                // SAFETY: one `rlimit` is read.
                assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) }, 0);
            };
            let mut open = Vec::new();
            limit(highest);
            while let Ok(file) = fs::File::open("/dev/null") {
                open.push(file);
            }
            for _ in 0..2 {
                assert_eq!(listener.accept().unwrap_err().raw_os_error(), Some(libc::EMFILE));
            }
            limit(1024);
            listener.accept().unwrap();
        });
    });
}

#[test]
fn a_listener_is_not_read_from() {
    alone("a_listener_is_not_read_from", || {
        let (listener, address) = listener();
        on_goroutine(|| {
            let _first = waited_for(&listener, address);
            let _second = TcpStream::connect(address).unwrap();
            listener.accept().unwrap(); // and now it is known that no connection is left
            let mut byte = 0u8;
            // SAFETY: room for one byte.
            assert_eq!(unsafe { libc::recv(listener.as_raw_fd(), (&raw mut byte).cast(), 1, 0) }, -1);
            assert_eq!(std::io::Error::last_os_error().raw_os_error(), Some(libc::ENOTCONN));
        });
    });
}
