//! std's sockets on goroutines: what waits for them holds no kernel thread, and everything else is as on a thread.

use gort::thread;
use gort_tests::backend::goroutines_are_threads;
use gort_tests::measure::{eventually, everywhere, kernel_threads, on_goroutine};
use gort_tests::needs_goroutines;
use gort_tests::subprocess::{is_child, Rerun};
use std::io::{Error, ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::windows::io::{IntoRawSocket, RawSocket};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::Barrier;
use std::time::{Duration, Instant};
use windows_sys::Win32::Networking::WinSock;

const LOCAL: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 0);
const SHORT: Duration = Duration::from_millis(30);
const LONG: Duration = Duration::from_secs(50);

fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind(LOCAL).unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

fn pair() -> (TcpStream, TcpStream) {
    let (listener, address) = listener();
    let one = TcpStream::connect(address).unwrap();
    (one, listener.accept().unwrap().0)
}

/// Runs `body` in a child with two Ps, and chaos if we have that.
fn on_two_ps(test: &str, body: impl FnOnce()) {
    if is_child() {
        body();
    } else {
        Rerun::of(test, "child").inherit("GORT_CHAOS").env("GORT_PROCS", 2).run().success();
    }
}

/// Waits until as many goroutines have counted themselves, and no kernel thread runs one or waits for one.
fn let_them_wait(begun: &AtomicUsize, n: usize) {
    assert!(!thread::is_goroutine(), "the caller would have to wait too");
    assert!(eventually(LONG, || begun.load(SeqCst) == n));
    let idle = || {
        let stats = gort::stats();
        stats.kernel_threads == stats.idle_threads
    };
    assert!(eventually(LONG, idle), "kernel threads are held: {:?}", gort::stats());
}

#[test]
fn hundreds_echo_on_few_kernel_threads() {
    needs_goroutines!("each is a kernel thread");
    on_two_ps("hundreds_echo_on_few_kernel_threads", || {
        const N: usize = 300;
        let (listener, address) = listener();
        let (begun, go) = (AtomicUsize::new(0), Barrier::new(N + 1));
        thread::scope(|s| {
            s.spawn(|| {
                for _ in 0..N {
                    let (mut stream, _) = listener.accept().unwrap();
                    s.spawn(move || {
                        let mut bytes = [0; 64];
                        loop {
                            match stream.read(&mut bytes).unwrap() {
                                0 => return,
                                n => stream.write_all(&bytes[..n]).unwrap(),
                            }
                        }
                    });
                }
            });
            let clients: Vec<_> = (0..N)
                .map(|n| {
                    let (begun, go) = (&begun, &go);
                    s.spawn(move || {
                        let mut stream = TcpStream::connect(address).unwrap();
                        begun.fetch_add(1, SeqCst);
                        go.wait();
                        for round in 0..5 {
                            let sent = format!("{n} {round}");
                            stream.write_all(sent.as_bytes()).unwrap();
                            let mut got = vec![0; sent.len()];
                            stream.read_exact(&mut got).unwrap();
                            assert_eq!(got, sent.as_bytes());
                        }
                    })
                })
                .collect();
            let_them_wait(&begun, N);
            let threads = kernel_threads();
            assert!(threads < 40, "{threads} kernel threads while all wait");
            go.wait();
            clients.into_iter().for_each(|client| client.join().unwrap());
            let threads = kernel_threads();
            assert!(threads < 60, "{threads} kernel threads after all");
        });
    });
}

/// Goroutines that wait for one and the same socket take turns: each gets its part, and no kernel thread is held meanwhile.
#[test]
fn many_wait_for_one_socket() {
    needs_goroutines!("each is a kernel thread");
    on_two_ps("many_wait_for_one_socket", || {
        const N: usize = 100;
        let ((one, mut other), (listener, address)) = (pair(), listener());
        let begun = AtomicUsize::new(0);
        thread::scope(|s| {
            let readers: Vec<_> = (0..N)
                .map(|_| {
                    s.spawn(|| {
                        begun.fetch_add(1, SeqCst);
                        let mut byte = [0];
                        (&one).read_exact(&mut byte).unwrap();
                        usize::from(byte[0])
                    })
                })
                .collect();
            for _ in 0..N {
                s.spawn(|| {
                    begun.fetch_add(1, SeqCst);
                    drop(listener.accept().unwrap());
                });
            }
            let_them_wait(&begun, 2 * N);
            let threads = kernel_threads();
            assert!(threads < 40, "{threads} kernel threads");
            let bytes: Vec<u8> = (0..N as u8).collect();
            bytes.chunks(7).for_each(|some| other.write_all(some).unwrap());
            (0..N).for_each(|_| drop(TcpStream::connect(address).unwrap()));
            let sum: usize = readers.into_iter().map(|reader| reader.join().unwrap()).sum();
            assert_eq!(sum, N * (N - 1) / 2);
        });
    });
}

#[test]
fn waits_end_when_their_time_is_over() {
    everywhere(|| {
        let (mut one, other) = pair();
        one.set_read_timeout(Some(SHORT)).unwrap();
        let before = Instant::now();
        assert_eq!(one.read(&mut [0]).unwrap_err().kind(), ErrorKind::TimedOut);
        assert_eq!(one.peek(&mut [0]).unwrap_err().kind(), ErrorKind::TimedOut);
        assert!(before.elapsed() >= 2 * SHORT);
        // The socket goes on, and what comes later comes to the next call.
        (&other).write_all(b"later").unwrap();
        let mut bytes = [0; 5];
        one.read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"later");
        one.set_read_timeout(None).unwrap();
        (&other).write_all(b"x").unwrap();
        assert_eq!(one.read(&mut bytes).unwrap(), 1);

        let socket = UdpSocket::bind(LOCAL).unwrap();
        socket.set_read_timeout(Some(SHORT)).unwrap();
        let before = Instant::now();
        assert_eq!(socket.recv_from(&mut [0]).unwrap_err().kind(), ErrorKind::TimedOut);
        assert!(before.elapsed() >= SHORT);
    });
}

/// Who waits for his turn waits no longer than he may either.
#[test]
fn the_wait_for_a_turn_ends_too() {
    let (one, mut other) = pair();
    one.set_read_timeout(Some(SHORT)).unwrap();
    thread::scope(|s| {
        let read = || {
            let before = Instant::now();
            let error = (&one).read(&mut [0]).unwrap_err();
            (error.kind(), before.elapsed() >= SHORT)
        };
        let readers: Vec<_> = (0..10).map(|_| s.spawn(read)).collect();
        for reader in readers {
            assert_eq!(reader.join().unwrap(), (ErrorKind::TimedOut, true));
        }
    });
    other.write_all(b"x").unwrap();
    on_goroutine(|| assert_eq!((&one).read(&mut [0; 8]).unwrap(), 1));
}

#[test]
fn sends_end_when_their_time_is_over() {
    on_goroutine(|| {
        let (mut one, mut other) = pair();
        one.set_write_timeout(Some(SHORT)).unwrap();
        let chunk = vec![7; 1 << 20];
        let mut sent = 0;
        let error = loop {
            match one.write(&chunk) {
                Ok(n) => sent += n,
                Err(error) => break error,
            }
            assert!(sent < 1 << 30, "nobody reads");
        };
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        drop(one);
        let mut got = Vec::new();
        other.read_to_end(&mut got).unwrap();
        assert_eq!(got.len(), sent, "what was counted was sent, and nothing else");
    });
}

#[test]
fn much_is_sent_while_others_run() {
    needs_goroutines!("each is a kernel thread");
    on_two_ps("much_is_sent_while_others_run", || {
        const N: usize = 10;
        const BYTES: usize = 6 << 20;
        let begun = AtomicUsize::new(0);
        let pairs: Vec<_> = (0..N).map(|_| pair()).collect();
        let data: Vec<u8> = (0..BYTES).map(|i| (i / 3) as u8).collect();
        thread::scope(|s| {
            let mut readers = Vec::new();
            for (n, (mut one, other)) in pairs.into_iter().enumerate() {
                let (begun, data) = (&begun, &data);
                s.spawn(move || {
                    begun.fetch_add(1, SeqCst);
                    if n % 2 == 0 {
                        return one.write_all(data).unwrap();
                    }
                    let mut done = 0;
                    while done < BYTES {
                        let parts = [
                            IoSlice::new(&data[done..(done + 10).min(BYTES)]),
                            IoSlice::new(&data[(done + 10).min(BYTES)..]),
                        ];
                        done += one.write_vectored(&parts).unwrap();
                    }
                });
                readers.push(other);
            }
            let_them_wait(&begun, N);
            for mut other in readers {
                let data = &data;
                s.spawn(move || {
                    let mut got = Vec::new();
                    other.read_to_end(&mut got).unwrap();
                    assert!(got == *data);
                });
            }
        });
    });
}

fn close(socket: RawSocket) {
    // SAFETY: no pointers.
    assert_eq!(unsafe { WinSock::closesocket(socket as WinSock::SOCKET) }, 0);
}

/// Receives by the system's function: the error, or how much.
fn receive(socket: RawSocket) -> Result<i32, i32> {
    let mut byte = 0;
    // SAFETY: there is room for one byte.
    match unsafe { WinSock::recv(socket as WinSock::SOCKET, &raw mut byte, 1, 0) } {
        // SAFETY: no preconditions.
        -1 => Err(unsafe { WinSock::WSAGetLastError() }),
        n => Ok(n),
    }
}

#[test]
fn closing_wakes_who_waits() {
    needs_goroutines!("the system says what happens to threads");
    on_two_ps("closing_wakes_who_waits", || {
        for duplicate in [false, true] {
            let ((one, _other), (listener, _), datagrams) = (pair(), listener(), UdpSocket::bind(LOCAL).unwrap());
            // With another handle the system does not take the socket for closed.
            let _kept = duplicate.then(|| (one.try_clone(), listener.try_clone(), datagrams.try_clone()));
            let sockets = [one.into_raw_socket(), datagrams.into_raw_socket()];
            let accepts = listener.into_raw_socket();
            let begun = AtomicUsize::new(0);
            thread::scope(|s| {
                let mut waiting = Vec::new();
                for socket in sockets {
                    for _ in 0..5 {
                        let begun = &begun;
                        waiting.push(s.spawn(move || {
                            begun.fetch_add(1, SeqCst);
                            receive(socket)
                        }));
                    }
                }
                waiting.push(s.spawn(|| {
                    begun.fetch_add(1, SeqCst);
                    // SAFETY: nobody's address is wanted.
                    let socket = unsafe {
                        WinSock::accept(accepts as WinSock::SOCKET, std::ptr::null_mut(), std::ptr::null_mut())
                    };
                    assert_eq!(socket, WinSock::INVALID_SOCKET);
                    // SAFETY: no preconditions.
                    Err(unsafe { WinSock::WSAGetLastError() })
                }));
                let_them_wait(&begun, 11);
                sockets.into_iter().chain([accepts]).for_each(close);
                for one in waiting {
                    let ended = one.join().unwrap();
                    // The second if it was only about to wait.
                    assert!(matches!(ended, Err(WinSock::WSAEINTR | WinSock::WSAENOTSOCK)), "{ended:?}");
                }
            });
        }
    });
}

/// A number that is another socket's at once: nothing is left of the waits for the first.
#[test]
fn numbers_change_hands() {
    everywhere(|| {
        for _ in 0..50 {
            let (mut one, mut other) = pair();
            one.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
            assert_eq!(one.read(&mut [0]).unwrap_err().kind(), ErrorKind::TimedOut);
            one.set_nonblocking(true).unwrap();
            drop(one);
            let (again, mut peer) = pair();
            let mut reader = again.try_clone().unwrap();
            thread::scope(|s| {
                let reader = s.spawn(move || {
                    let mut byte = [0];
                    reader.read_exact(&mut byte).unwrap();
                    byte[0]
                });
                thread::yield_now();
                peer.write_all(b"y").unwrap();
                assert_eq!(reader.join().unwrap(), b'y');
            });
            // (An error, or what there is room for.)
            let _ = other.write(b"n");
        }
    });
}

#[test]
fn non_blocking_mode_is_the_programs() {
    everywhere(|| {
        let ((mut one, mut other), (listener, address)) = (pair(), listener());
        let would_block = |stream: &mut TcpStream| stream.read(&mut [0]).unwrap_err().kind() == ErrorKind::WouldBlock;
        one.set_nonblocking(true).unwrap();
        assert!(would_block(&mut one));
        let mut clone = one.try_clone().unwrap();
        assert!(would_block(&mut clone), "a clone has the mode");
        clone.set_nonblocking(false).unwrap();
        one.set_read_timeout(Some(SHORT)).unwrap();
        assert_eq!(one.read(&mut [0]).unwrap_err().kind(), ErrorKind::TimedOut, "the mode is that of both");
        let mut third = clone.try_clone().unwrap();
        one.set_nonblocking(true).unwrap();
        assert!(would_block(&mut clone) && would_block(&mut third));
        one.set_nonblocking(false).unwrap();
        other.write_all(b"x").unwrap();
        assert_eq!(third.read(&mut [0]).unwrap(), 1);

        listener.set_nonblocking(true).unwrap();
        assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
        let _client = TcpStream::connect(address).unwrap();
        let mut accepted = None;
        assert!(eventually(LONG, || {
            accepted = listener.accept().ok();
            accepted.is_some()
        }));
        let (mut accepted, _) = accepted.unwrap();
        assert!(would_block(&mut accepted), "a connection has its listener's mode");

        let socket = UdpSocket::bind(LOCAL).unwrap();
        socket.set_nonblocking(true).unwrap();
        assert_eq!(socket.recv_from(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
    });
}

/// What a program asks for at once it gets at once.
#[test]
fn what_fails_at_once_does_not_wait() {
    everywhere(|| {
        let (listener, address) = listener();
        // SAFETY: the calls have no pointers that outlive them.
        unsafe {
            use windows_sys::Win32::Networking::WinSock::*;
            let stream = socket(i32::from(AF_INET), SOCK_STREAM, 0);
            assert_eq!(receive(stream as RawSocket), Err(WSAENOTCONN));
            assert_eq!(send(stream, b"x".as_ptr(), 1, 0), -1);
            assert_eq!(accept(stream, std::ptr::null_mut(), std::ptr::null_mut()), INVALID_SOCKET);
            closesocket(stream);
            let datagrams = socket(i32::from(AF_INET), SOCK_DGRAM, 0);
            let time = 1u32;
            setsockopt(datagrams, SOL_SOCKET, SO_RCVTIMEO, (&raw const time).cast(), 4);
            // Wine waits, although the socket has no name yet.
            assert!(matches!(receive(datagrams as RawSocket), Err(WSAEINVAL | WSAETIMEDOUT)));
            closesocket(datagrams);
        }
        let mut one = TcpStream::connect(address).unwrap();
        one.shutdown(Shutdown::Read).unwrap();
        assert_eq!(one.read(&mut [0]).unwrap(), 0);
        one.shutdown(Shutdown::Write).unwrap();
        assert!(one.write(b"x").is_err());
        drop(listener);
        assert_eq!(TcpStream::connect(address).unwrap_err().kind(), ErrorKind::ConnectionRefused);
        assert!(TcpStream::connect_timeout(&address, LONG).is_err());
    });
}

#[test]
fn shutting_down_wakes_who_waits() {
    needs_goroutines!("the system says what happens to threads");
    on_two_ps("shutting_down_wakes_who_waits", shut_down_all_ways);
}

fn shut_down_all_ways() {
    for duplicate in [false, true] {
        for how in [Shutdown::Read, Shutdown::Both] {
            {
                let (one, _other) = pair();
                let clone = if duplicate { one.try_clone().unwrap() } else { pair().0 };
                let mut reads = if duplicate { &clone } else { &one };
                let begun = AtomicUsize::new(0);
                thread::scope(|s| {
                    let reader = s.spawn(|| {
                        begun.fetch_add(1, SeqCst);
                        reads.read(&mut [0])
                    });
                    let_them_wait(&begun, 1);
                    one.shutdown(how).unwrap();
                    assert_eq!(reader.join().unwrap().unwrap(), 0);
                });
            }
        }
    }
}

#[test]
fn datagrams() {
    needs_goroutines!("each is a kernel thread");
    on_two_ps("datagrams", || {
        const N: usize = 200;
        let begun = AtomicUsize::new(0);
        let sockets: Vec<_> = (0..N).map(|_| UdpSocket::bind(LOCAL).unwrap()).collect();
        let addresses: Vec<_> = sockets.iter().map(|socket| socket.local_addr().unwrap()).collect();
        thread::scope(|s| {
            for (n, socket) in sockets.into_iter().enumerate() {
                let begun = &begun;
                s.spawn(move || {
                    begun.fetch_add(1, SeqCst);
                    let mut bytes = [0; 100];
                    let (seen, _) = socket.peek_from(&mut bytes).unwrap();
                    let (got, from) = socket.recv_from(&mut bytes).unwrap();
                    assert_eq!((seen, &bytes[..got]), (got, format!("to {n}").as_bytes()));
                    socket.send_to(&bytes[..got], from).unwrap();
                });
            }
            let_them_wait(&begun, N);
            let threads = kernel_threads();
            assert!(threads < 40, "{threads} kernel threads");
            s.spawn(|| {
                let sender = UdpSocket::bind(LOCAL).unwrap();
                for (n, address) in addresses.iter().enumerate() {
                    let sent = format!("to {n}");
                    sender.send_to(sent.as_bytes(), address).unwrap();
                    let mut bytes = [0; 100];
                    let (got, from) = sender.recv_from(&mut bytes).unwrap();
                    assert_eq!((&bytes[..got], from), (sent.as_bytes(), *address));
                }
            });
        });
    });
}

#[test]
fn parts_and_peeks() {
    everywhere(|| {
        let (mut one, mut other) = pair();
        assert_eq!(one.write_vectored(&[IoSlice::new(b"ab"), IoSlice::new(b"cd")]).unwrap(), 4);
        let (mut head, mut tail) = ([0; 1], [0; 3]);
        assert_eq!(other.peek(&mut [0; 4]).unwrap(), 4);
        assert_eq!(other.read_vectored(&mut [IoSliceMut::new(&mut head), IoSliceMut::new(&mut tail)]).unwrap(), 4);
        assert_eq!((&head, &tail), (b"a", b"bcd"));
        assert_eq!(one.write(&[]).unwrap(), 0);
    });
}

/// A socket that goroutines wait for is as good as ever on a plain thread: a call there waits.
#[test]
fn threads_and_goroutines_share_sockets() {
    let (listener, address) = listener();
    let (one, other) = pair();
    let got = AtomicUsize::new(0);
    let served = AtomicUsize::new(0);
    const EACH: usize = 20;
    std::thread::scope(|threads| {
        thread::scope(|s| {
            let read = || {
                for _ in 0..EACH {
                    let mut byte = [0];
                    (&one).read_exact(&mut byte).unwrap();
                    got.fetch_add(1, SeqCst);
                }
            };
            let serve = || {
                for _ in 0..EACH {
                    // Wine says "would block" to the slower one of two plain threads.
                    let plain = goroutines_are_threads() || !thread::is_goroutine();
                    let slower = |e: &Error| e.kind() == ErrorKind::WouldBlock && plain;
                    let (mut stream, _) = loop {
                        match listener.accept() {
                            Err(e) if slower(&e) => {}
                            accepted => break accepted.unwrap(),
                        }
                    };
                    stream.write_all(b"z").unwrap();
                    served.fetch_add(1, SeqCst);
                }
            };
            for _ in 0..4 {
                s.spawn(read);
                s.spawn(serve);
                threads.spawn(read);
                threads.spawn(serve);
            }
            let visit = || {
                for _ in 0..EACH {
                    let mut byte = [0];
                    TcpStream::connect(address).unwrap().read_exact(&mut byte).unwrap();
                    (&other).write_all(&byte).unwrap();
                }
            };
            for _ in 0..4 {
                s.spawn(visit);
                threads.spawn(visit);
            }
        });
    });
    assert_eq!((got.load(SeqCst), served.load(SeqCst)), (8 * EACH, 8 * EACH));
}

/// What a goroutine waits for outlives the kernel thread on which the wait began.
#[test]
fn waits_outlive_kernel_threads() {
    needs_goroutines!("each is a kernel thread");
    on_two_ps("waits_outlive_kernel_threads", || {
        const N: usize = 40;
        let pairs: Vec<_> = (0..N).map(|_| pair()).collect();
        let begun = AtomicUsize::new(0);
        let all = Barrier::new(N);
        thread::scope(|s| {
            let (mut readers, mut others) = (Vec::new(), Vec::new());
            for (mut one, other) in pairs {
                others.push(other);
                let (begun, all) = (&begun, &all);
                readers.push(s.spawn(move || {
                    // As many kernel threads as goroutines, each on its own.
                    gort::ffi::lock_os_thread();
                    all.wait();
                    gort::ffi::unlock_os_thread();
                    begun.fetch_add(1, SeqCst);
                    let mut byte = [0];
                    one.read_exact(&mut byte).unwrap();
                    byte[0]
                }));
            }
            assert!(eventually(LONG, || begun.load(SeqCst) == N));
            // Threads that are not needed end after a second: all but the one that waits for events, and perhaps a last sleeper.
            assert!(eventually(LONG, || gort::stats().kernel_threads <= 2), "{:?}", gort::stats());
            for mut other in others {
                other.write_all(b"!").unwrap();
            }
            readers.into_iter().for_each(|reader| assert_eq!(reader.join().unwrap(), b'!'));
        });
    });
}

#[test]
fn connecting() {
    needs_goroutines!("each is a kernel thread");
    on_two_ps("connecting", || {
        const N: usize = 100;
        let (listener, address) = listener();
        thread::scope(|s| {
            let clients: Vec<_> = (0..N)
                .map(|n| {
                    s.spawn(move || {
                        let stream = match n % 2 {
                            0 => TcpStream::connect(address),
                            _ => TcpStream::connect_timeout(&address, LONG),
                        };
                        let mut stream = stream.unwrap();
                        assert_eq!(stream.peer_addr().unwrap(), address);
                        assert!(stream.take_error().unwrap().is_none());
                        stream.set_read_timeout(Some(LONG)).unwrap();
                        let mut bytes = [0; 2];
                        stream.read_exact(&mut bytes).unwrap();
                    })
                })
                .collect();
            for _ in 0..N {
                let (mut stream, from) = listener.accept().unwrap();
                assert_eq!(stream.peer_addr().unwrap(), from);
                stream.write_all(b"ok").unwrap();
            }
            clients.into_iter().for_each(|client| client.join().unwrap());
        });
    });
}

#[test]
fn the_runtime_can_end_and_begin_again() {
    if is_child() {
        for _ in 0..3 {
            gort::Config::new().start().unwrap();
            let (mut one, mut other) = pair();
            thread::scope(|s| {
                s.spawn(move || {
                    one.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
                    while one.read(&mut [0]).is_err() {}
                });
                s.spawn(move || {
                    thread::sleep(Duration::from_millis(20));
                    other.write_all(b"x").unwrap();
                });
            });
            gort::shutdown(Duration::from_secs(20)).unwrap();
        }
        return;
    }
    Rerun::of("the_runtime_can_end_and_begin_again", "child").env("GORT_PROCS", 2).run().success();
}

#[test]
fn without_hooks_goroutines_wait_as_threads_do() {
    if is_child() {
        let (one, mut other) = pair();
        thread::scope(|s| {
            s.spawn(|| (&one).read_exact(&mut [0]).unwrap());
            s.spawn(|| other.write_all(b"x").unwrap());
        });
        return;
    }
    Rerun::of("without_hooks_goroutines_wait_as_threads_do", "child").env("GORT_INTERPOSE", "0").run().success();
}
