//! Sockets that carry messages, on goroutines.

use gort::thread;
use gort_tests::measure::{eventually, everywhere, on_goroutine};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixDatagram;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

const LONG: Duration = Duration::from_secs(30);

#[test]
fn datagrams_come_one_by_one() {
    on_goroutine(|| {
        let one = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let other = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let to = one.local_addr().unwrap();
        let messages = ["first", "", "third, longer"];
        thread::scope(|s| {
            s.spawn(|| {
                let mut buffer = [0; 100];
                for round in 0..20 {
                    for message in messages {
                        if round % 2 == 0 {
                            let (n, from) = one.peek_from(&mut buffer).unwrap();
                            assert_eq!((&buffer[..n], from), (message.as_bytes(), other.local_addr().unwrap()));
                        }
                        let (n, from) = one.recv_from(&mut buffer).unwrap();
                        assert_eq!((&buffer[..n], from), (message.as_bytes(), other.local_addr().unwrap()));
                    }
                    one.send_to(b"go on", from_of(&other)).unwrap();
                }
            });
            let mut buffer = [0; 100];
            for _ in 0..20 {
                for message in messages {
                    assert_eq!(other.send_to(message.as_bytes(), to).unwrap(), message.len());
                }
                assert_eq!(other.recv(&mut buffer).unwrap(), 5);
            }
        });
        let (one, other) = UnixDatagram::pair().unwrap();
        thread::scope(|s| {
            // More than the queue holds, so the sender waits.
            s.spawn(|| (0..1000u32).for_each(|i| assert_eq!(one.send(&i.to_ne_bytes()).unwrap(), 4)));
            let mut buffer = [0; 100];
            for i in 0..1000u32 {
                assert_eq!(other.recv(&mut buffer).unwrap(), 4);
                assert_eq!(buffer[..4], i.to_ne_bytes());
            }
        });
    });
}

fn from_of(socket: &UdpSocket) -> SocketAddr {
    socket.local_addr().unwrap()
}

/// A receiver that many send to, each from a socket that is not connected: their own buffers never fill up.
#[test]
fn a_full_receiver_makes_senders_wait() {
    on_goroutine(|| {
        let name = std::env::temp_dir().join(format!("gort-receiver-{}", std::process::id()));
        let receiver = UnixDatagram::bind(&name).unwrap();
        const N: usize = 8;
        const EACH: usize = 100;
        thread::scope(|s| {
            for _ in 0..N {
                s.spawn(|| {
                    let sender = UnixDatagram::unbound().unwrap();
                    (0..EACH).for_each(|_| assert_eq!(sender.send_to(b"message", &name).unwrap(), 7));
                });
            }
            let mut buffer = [0; 100];
            (0..N * EACH).for_each(|_| assert_eq!(receiver.recv(&mut buffer).unwrap(), 7));
        });
        std::fs::remove_file(name).unwrap();
    });
}

/// Of a datagram socket the end of reading shows in blocking calls only.
#[test]
fn shutting_a_datagram_socket_down_ends_the_wait() {
    everywhere(|| {
        let (one, _other) = UnixDatagram::pair().unwrap();
        let waits = AtomicBool::new(false);
        thread::scope(|s| {
            let reader = s.spawn(|| {
                waits.store(true, SeqCst);
                one.recv(&mut [0; 8]).unwrap()
            });
            assert!(eventually(LONG, || waits.load(SeqCst)));
            one.shutdown(Shutdown::Read).unwrap();
            assert_eq!(reader.join().unwrap(), 0);
            assert_eq!(one.recv(&mut [0; 8]).unwrap(), 0, "from now on");
        });
    });
}

#[test]
fn several_messages_at_once() {
    everywhere(|| {
        const N: usize = 300;
        let (one, other) = UnixDatagram::pair().unwrap();
        thread::scope(|s| {
            s.spawn(|| {
                let bytes: Vec<_> = (0..N).map(|i| (i as u32).to_ne_bytes()).collect();
                let mut buffers: Vec<_> =
                    bytes.iter().map(|b| libc::iovec { iov_base: b.as_ptr().cast_mut().cast(), iov_len: 4 }).collect();
                let mut messages: Vec<_> = buffers.iter_mut().map(message).collect();
                // SAFETY: messages and buffers live during the call.
                let n = unsafe { libc::sendmmsg(one.as_raw_fd(), messages.as_mut_ptr(), N as u32, 0) };
                assert_eq!(n, N as i32, "all, though the queue is shorter");
                assert!(messages.iter().all(|message| message.msg_len == 4));
            });
            let mut bytes = vec![0u32; N];
            let mut buffers: Vec<_> =
                bytes.iter_mut().map(|b| libc::iovec { iov_base: (b as *mut u32).cast(), iov_len: 4 }).collect();
            let mut messages: Vec<_> = buffers.iter_mut().map(message).collect();
            let null = std::ptr::null_mut();
            // SAFETY: messages and buffers live during the call.
            let n = unsafe { libc::recvmmsg(other.as_raw_fd(), messages.as_mut_ptr(), N as u32, 0, null) };
            assert_eq!(n, N as i32, "all, though they come bit by bit");
            assert!(bytes.iter().enumerate().all(|(i, &b)| b == i as u32));
        });
    });
}

fn message(buffer: &mut libc::iovec) -> libc::mmsghdr {
    // SAFETY: all zero is a valid value.
    let mut message: libc::mmsghdr = unsafe { std::mem::zeroed() };
    (message.msg_hdr.msg_iov, message.msg_hdr.msg_iovlen) = (buffer, 1);
    message
}

#[test]
fn goroutines_and_threads_share_a_socket() {
    const N: usize = 2000;
    let (one, other) = UnixDatagram::pair().unwrap();
    let seen = AtomicUsize::new(0);
    let receive = || loop {
        let mut buffer = [0; 8];
        match other.recv(&mut buffer).unwrap() {
            1 => return,
            _ => seen.fetch_add(usize::from_ne_bytes(buffer), SeqCst),
        };
    };
    std::thread::scope(|threads| {
        thread::scope(|goroutines| {
            for _ in 0..3 {
                threads.spawn(receive);
                goroutines.spawn(receive);
            }
            for _ in 0..2 {
                let send =
                    |from: usize| (from..N).step_by(2).for_each(|i| assert_eq!(one.send(&i.to_ne_bytes()).unwrap(), 8));
                threads.spawn(move || send(0)).join().unwrap();
                goroutines.spawn(move || send(1)).join().unwrap();
            }
            (0..6).for_each(|_| assert_eq!(one.send(&[0]).unwrap(), 1));
        })
    });
    assert_eq!(seen.load(SeqCst), 2 * (0..N).sum::<usize>());
}
