//! std's sockets on goroutines: blocking calls park, and everything else is as on a thread.

use gort::thread;
use gort_tests::measure::{eventually, everywhere, kernel_threads, on_goroutine};
use gort_tests::needs_goroutines;
use gort_tests::subprocess::alone;
use std::io::{ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

const LONG: Duration = Duration::from_secs(30);
const SHORT: Duration = Duration::from_millis(20);

fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Two ends of a TCP connection.
fn tcp_pair() -> (TcpStream, TcpStream) {
    let (listener, address) = listener();
    let one = TcpStream::connect(address).unwrap();
    (one, listener.accept().unwrap().0)
}

/// Bytes of which each place shows in the value.
fn pattern(n: usize) -> Vec<u8> {
    (0..n).map(|i| (i ^ (i >> 8) ^ (i >> 16)) as u8).collect()
}

/// Sends back whatever comes, until the end.
fn echo(mut stream: impl Read + Write) {
    let mut buffer = [0; 512];
    loop {
        match stream.read(&mut buffer).unwrap() {
            0 => return,
            n => stream.write_all(&buffer[..n]).unwrap(),
        }
    }
}

/// Has `rounds` messages echoed.
fn ask(mut stream: impl Read + Write, rounds: usize, me: usize) {
    for round in 0..rounds {
        let message = format!("{me} asks for the {round}th time");
        stream.write_all(message.as_bytes()).unwrap();
        let mut answer = vec![0; message.len()];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(answer, message.as_bytes());
    }
}

#[test]
fn a_thousand_readers_need_no_threads() {
    needs_goroutines!("kernel threads are counted");
    alone("a_thousand_readers_need_no_threads", || {
        const N: usize = 1000;
        let most = libc::rlimit { rlim_cur: 4096, rlim_max: 4096 };
        // SAFETY: one `rlimit` is read.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &most) }, 0);
        let about_to_read = AtomicUsize::new(0);
        let pairs: Vec<_> = (0..N).map(|_| UnixStream::pair().unwrap()).collect();
        let before = kernel_threads();
        let highest = AtomicUsize::new(0);
        thread::scope(|s| {
            for (one, _) in &pairs {
                let about_to_read = &about_to_read;
                s.spawn(move || {
                    about_to_read.fetch_add(1, SeqCst);
                    let mut byte = [0];
                    (&mut &*one).read_exact(&mut byte).unwrap();
                    byte[0]
                });
            }
            assert!(eventually(LONG, || about_to_read.load(SeqCst) == N));
            highest.fetch_max(kernel_threads(), SeqCst);
            for (_, other) in &pairs {
                (&mut &*other).write_all(&[7]).unwrap();
            }
        });
        let more = highest.load(SeqCst) - before;
        assert!(more < 64, "{more} more kernel threads");
    });
}

#[test]
fn tcp_echo() {
    let (listener, address) = listener();
    const N: usize = 100;
    thread::scope(|s| {
        s.spawn(|| {
            thread::scope(|s| {
                for _ in 0..N {
                    let (stream, _) = listener.accept().unwrap();
                    s.spawn(move || echo(stream));
                }
            })
        });
        for me in 0..N {
            s.spawn(move || {
                let stream = TcpStream::connect(address).unwrap();
                stream.set_nodelay(true).unwrap();
                ask(stream, 20, me);
            });
        }
    });
}

#[test]
fn unix_echo() {
    let name = std::env::temp_dir().join(format!("gort-echo-{}", std::process::id()));
    let listener = UnixListener::bind(&name).unwrap();
    const N: usize = 50;
    thread::scope(|s| {
        s.spawn(|| {
            thread::scope(|s| {
                for _ in 0..N {
                    let (stream, _) = listener.accept().unwrap();
                    s.spawn(move || echo(stream));
                }
            })
        });
        for me in 0..N {
            let name = &name;
            s.spawn(move || ask(UnixStream::connect(name).unwrap(), 50, me));
        }
    });
    std::fs::remove_file(name).unwrap();
}

#[test]
fn time_outs() {
    everywhere(|| {
        let (mut one, mut other) = tcp_pair();
        let mut buffer = [0; 8];
        for _ in 0..2 {
            one.set_read_timeout(Some(SHORT)).unwrap();
            let before = Instant::now();
            assert_eq!(one.read(&mut buffer).unwrap_err().kind(), ErrorKind::WouldBlock);
            assert!(before.elapsed() >= SHORT, "after {:?}", before.elapsed());
            other.write_all(b"late").unwrap();
            assert_eq!(one.read(&mut buffer).unwrap(), 4);
            one.set_read_timeout(None).unwrap();
            thread::scope(|s| {
                let reader = s.spawn(|| (&one).read(&mut buffer).unwrap());
                thread::sleep(2 * SHORT);
                assert!(!reader.is_finished(), "without a time-out");
                other.write_all(b"at last").unwrap();
                assert_eq!(reader.join().unwrap(), 7);
            });
        }
        one.set_write_timeout(Some(SHORT)).unwrap();
        let big = vec![1; 64 << 20];
        let written = one.write(&big).unwrap();
        assert!(written > 0 && written < big.len(), "a part, then the time-out");
        // The kernel may find room for more meanwhile.
        let error = (0..100).find_map(|_| one.write(&big).err()).expect("it is full at last");
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        let datagrams = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        datagrams.set_read_timeout(Some(SHORT)).unwrap();
        assert_eq!(datagrams.recv(&mut buffer).unwrap_err().kind(), ErrorKind::WouldBlock);
        let (listener, _) = listener();
        let time = libc::timeval { tv_sec: 0, tv_usec: 20_000 };
        // SAFETY: one `timeval` is read.
        let set = unsafe {
            let size = size_of::<libc::timeval>() as libc::socklen_t;
            let fd = listener.as_raw_fd();
            libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_RCVTIMEO, (&raw const time).cast(), size)
        };
        assert_eq!(set, 0);
        assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
    });
}

/// A time-out that is set on one descriptor is the socket's.
#[test]
fn a_time_out_set_through_a_clone() {
    on_goroutine(|| {
        let (one, mut other) = UnixStream::pair().unwrap();
        let clone = one.try_clone().unwrap();
        let mut byte = [0];
        thread::scope(|s| {
            let reader = s.spawn(|| (&one).read(&mut byte).unwrap());
            other.write_all(b"x").unwrap();
            assert_eq!(reader.join().unwrap(), 1);
        });
        clone.set_read_timeout(Some(SHORT)).unwrap();
        assert_eq!((&one).read(&mut byte).unwrap_err().kind(), ErrorKind::WouldBlock);
        clone.set_read_timeout(None).unwrap();
        clone.set_nonblocking(true).unwrap();
        assert_eq!((&one).read(&mut byte).unwrap_err().kind(), ErrorKind::WouldBlock);
    });
}

/// A listener's time-out is its connections' too, and nothing that is learnt of one is believed of the other wrongly.
#[test]
fn accepted_connections_have_a_mode_and_a_time_out() {
    on_goroutine(|| {
        let (listener, address) = listener();
        let mut byte = [0];
        let connect = || std::thread::spawn(move || TcpStream::connect(address).unwrap());
        // The listener has waited, so its mode is known when the next connection comes.
        let accept = || {
            let connecting = connect();
            let (server, _) = listener.accept().unwrap();
            (server, connecting.join().unwrap())
        };
        for _ in 0..3 {
            let (mut server, mut client) = accept();
            let reader = thread::spawn(move || {
                let mut byte = [0];
                server.read(&mut byte).map(|n| (n, byte[0]))
            });
            (0..10).for_each(|_| thread::yield_now());
            client.write_all(b"x").unwrap();
            assert_eq!(reader.join().unwrap().unwrap(), (1, b'x'), "it waits");
        }
        let time = libc::timeval { tv_sec: 0, tv_usec: 20_000 };
        let size = size_of_val(&time) as libc::socklen_t;
        // SAFETY: a live descriptor and a live value of the size given.
        let set = unsafe {
            libc::setsockopt(listener.as_raw_fd(), libc::SOL_SOCKET, libc::SO_RCVTIMEO, (&raw const time).cast(), size)
        };
        assert_eq!(set, 0);
        for _ in 0..2 {
            let _client = connect().join().unwrap(); // before `accept`, which has a time-out now
            let (mut server, _) = listener.accept().unwrap();
            assert_eq!(server.read(&mut byte).unwrap_err().kind(), ErrorKind::WouldBlock, "it inherits the time-out");
        }
    });
}

#[test]
fn the_users_own_non_blocking_mode() {
    everywhere(|| {
        let (listener, address) = listener();
        let mut one = TcpStream::connect(address).unwrap();
        let mut other = listener.accept().unwrap().0;
        let mut buffer = [0; 8];
        for _ in 0..3 {
            // A wait in blocking mode first, so that this is what is known.
            thread::scope(|s| {
                let reader = s.spawn(|| (&one).read(&mut buffer).unwrap());
                other.write_all(b"x").unwrap();
                assert_eq!(reader.join().unwrap(), 1);
            });
            one.set_nonblocking(true).unwrap();
            assert_eq!(one.read(&mut buffer).unwrap_err().kind(), ErrorKind::WouldBlock);
            assert_eq!(one.peek(&mut buffer).unwrap_err().kind(), ErrorKind::WouldBlock);
            one.set_nonblocking(false).unwrap();
        }
        listener.set_nonblocking(true).unwrap();
        assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
        one.set_nonblocking(true).unwrap();
        let big = vec![1; 64 << 20];
        let written = one.write(&big).unwrap();
        assert!(written > 0 && written < big.len());
        while one.write(&big).is_ok() {}
        assert_eq!(one.write(&big).unwrap_err().kind(), ErrorKind::WouldBlock);
        let datagrams = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        datagrams.set_nonblocking(true).unwrap();
        assert_eq!(datagrams.recv(&mut buffer).unwrap_err().kind(), ErrorKind::WouldBlock);
    });
}

#[test]
fn the_flag_of_one_call() {
    everywhere(|| {
        let (one, mut other) = UnixStream::pair().unwrap();
        let mut byte = 0u8;
        let mut receive = |flags| {
            // SAFETY: one byte is written at most.
            let n = unsafe { libc::recv(one.as_raw_fd(), (&raw mut byte).cast(), 1, flags) };
            (n >= 0).then_some(n).ok_or_else(|| std::io::Error::last_os_error().kind())
        };
        assert_eq!(receive(libc::MSG_DONTWAIT), Err(ErrorKind::WouldBlock));
        other.write_all(b"x").unwrap();
        assert_eq!(receive(libc::MSG_DONTWAIT | libc::MSG_PEEK), Ok(1));
        assert_eq!(receive(0), Ok(1));
        assert_eq!(receive(libc::MSG_DONTWAIT), Err(ErrorKind::WouldBlock));
    });
}

fn receive_all(stream: &impl AsRawFd, buffer: &mut [u8], flags: i32) -> isize {
    let flags = flags | libc::MSG_WAITALL;
    // SAFETY: the buffer is ours to write.
    unsafe { libc::recv(stream.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), flags) }
}

fn waits_for_all<S>(one: S, mut other: S, peek: bool, end: impl Fn(&S) + Send)
where
    S: Read + Write + AsRawFd + Send + Sync,
{
    let pieces = &pattern(1000)[..];
    thread::scope(|s| {
        s.spawn(move || {
            for piece in pieces.chunks(37) {
                other.write_all(piece).unwrap();
                thread::yield_now();
            }
            end(&other);
        });
        let mut buffer = vec![0; 600];
        if peek {
            assert_eq!(receive_all(&one, &mut buffer, libc::MSG_PEEK), 600);
            assert_eq!(buffer, pieces[..600]);
        }
        assert_eq!(receive_all(&one, &mut buffer, 0), 600);
        assert_eq!(buffer, pieces[..600]);
        // The end of the stream comes first.
        assert_eq!(receive_all(&one, &mut buffer, 0), 400);
        assert_eq!(buffer[..400], pieces[600..]);
    });
}

#[test]
fn waiting_for_all() {
    everywhere(|| {
        let (one, other) = tcp_pair();
        other.set_nodelay(true).unwrap();
        waits_for_all(one, other, true, |stream| stream.shutdown(Shutdown::Write).unwrap());
        let (one, other) = UnixStream::pair().unwrap();
        waits_for_all(one, other, false, |stream| stream.shutdown(Shutdown::Write).unwrap());
    });
}

#[test]
fn half_closed() {
    everywhere(|| {
        let (mut one, mut other) = tcp_pair();
        thread::scope(|s| {
            s.spawn(|| {
                let mut text = String::new();
                other.read_to_string(&mut text).unwrap();
                assert_eq!(text, "question");
                other.write_all(b"answer").unwrap();
                other.shutdown(Shutdown::Write).unwrap();
            });
            one.write_all(b"question").unwrap();
            one.shutdown(Shutdown::Write).unwrap();
            let mut text = String::new();
            one.read_to_string(&mut text).unwrap();
            assert_eq!(text, "answer");
        });
        assert_eq!(one.write(b"more").unwrap_err().kind(), ErrorKind::BrokenPipe);
    });
}

/// A short read together with the end: the end is seen without another event.
#[test]
fn the_end_right_behind_the_data() {
    on_goroutine(|| {
        let (listener, address) = listener();
        thread::scope(|s| {
            s.spawn(|| {
                for _ in 0..200 {
                    listener.accept().unwrap().0.write_all(b"all there is").unwrap();
                }
            });
            for _ in 0..200 {
                let mut text = String::new();
                TcpStream::connect(address).unwrap().read_to_string(&mut text).unwrap();
                assert_eq!(text, "all there is");
            }
        });
    });
}

#[test]
fn much_to_a_slow_reader() {
    on_goroutine(|| {
        let data = pattern(8 << 20);
        let run = |writer: &mut (dyn Write + Send), reader: &mut (dyn Read + Send)| {
            thread::scope(|s| {
                s.spawn(|| {
                    let mut at = 0;
                    let mut buffer = vec![0; 10_007];
                    while at < data.len() {
                        let n = reader.read(&mut buffer).unwrap();
                        assert!(n > 0 && buffer[..n] == data[at..at + n], "at {at}");
                        at += n;
                        thread::yield_now();
                    }
                });
                // One call: in blocking mode it does not return before all is written.
                assert_eq!(writer.write(&data[..5 << 20]).unwrap(), 5 << 20);
                let slices: Vec<_> = data[5 << 20..].chunks(70_001).map(IoSlice::new).collect();
                assert_eq!(writer.write_vectored(&slices).unwrap(), 3 << 20);
            });
        };
        let (mut one, mut other) = tcp_pair();
        run(&mut one, &mut other);
        let (mut one, mut other) = UnixStream::pair().unwrap();
        run(&mut one, &mut other);
    });
}

#[test]
fn scattered_and_gathered() {
    everywhere(|| {
        let (mut one, mut other) = tcp_pair();
        let sent = one.write_vectored(&[IoSlice::new(b"ab"), IoSlice::new(b""), IoSlice::new(b"cdefg")]).unwrap();
        assert_eq!(sent, 7);
        let (mut a, mut b) = ([0; 3], [0; 10]);
        let got = other.read_vectored(&mut [IoSliceMut::new(&mut a), IoSliceMut::new(&mut b)]).unwrap();
        assert_eq!((got, &a, &b[..4]), (7, b"abc", &b"defg"[..]));
        // SAFETY: nothing is written.
        let nothing = unsafe { libc::read(other.as_raw_fd(), std::ptr::null_mut(), 0) };
        assert_eq!(nothing, 0, "nothing is wanted, nothing is waited for");
    });
}

#[test]
fn a_reader_that_went_away() {
    everywhere(|| {
        let (mut one, other) = UnixStream::pair().unwrap();
        thread::scope(|s| {
            let writer = s.spawn(|| {
                let big = vec![0; 32 << 20];
                let first = one.write(&big).unwrap();
                assert!(first > 0 && first < big.len(), "a part was sent: no error yet");
                one.write(&big).unwrap_err().kind()
            });
            (&other).read_exact(&mut [0; 100]).unwrap();
            drop(other);
            assert_eq!(writer.join().unwrap(), ErrorKind::BrokenPipe);
        });
    });
}
