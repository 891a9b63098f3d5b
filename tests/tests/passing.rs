//! One file, several descriptors: clones, and descriptors that are sent along with messages.

use gort::thread;
use gort_tests::measure::{everywhere, on_goroutine};
use std::fs::File;
use std::io::{Error, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

#[test]
fn clones_are_one_socket() {
    everywhere(|| {
        let (one, mut other) = UnixStream::pair().unwrap();
        let clones: Vec<_> = (0..3).map(|_| one.try_clone().unwrap()).collect();
        thread::scope(|s| {
            for mut clone in clones {
                s.spawn(move || {
                    let mut bytes = [0; 4];
                    clone.read_exact(&mut bytes).unwrap(); // and closes its own descriptor
                    clone.write_all(&bytes).unwrap();
                });
                other.write_all(b"ping").unwrap();
                let mut bytes = [0; 4];
                other.read_exact(&mut bytes).unwrap();
                assert_eq!(&bytes, b"ping");
            }
        });
        drop(one);
        assert_eq!(other.read(&mut [0]).unwrap(), 0, "the last one was closed");
    });
}

/// Sends `bytes` and the descriptor `fd` along with them.
fn send_with(to: &UnixStream, bytes: &[u8], fd: i32) {
    // SAFETY: the message names a buffer and room for a control message of one number; all live during the call.
    unsafe {
        let mut room = [0u64; 8];
        let mut buffer = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
        let mut message: libc::msghdr = std::mem::zeroed();
        (message.msg_iov, message.msg_iovlen) = (&mut buffer, 1);
        (message.msg_control, message.msg_controllen) = (room.as_mut_ptr().cast(), libc::CMSG_SPACE(4) as usize);
        let control = libc::CMSG_FIRSTHDR(&message);
        (*control).cmsg_level = libc::SOL_SOCKET;
        (*control).cmsg_type = libc::SCM_RIGHTS;
        (*control).cmsg_len = libc::CMSG_LEN(4) as usize;
        libc::CMSG_DATA(control).cast::<i32>().write_unaligned(fd);
        assert_eq!(libc::sendmsg(to.as_raw_fd(), &message, 0), bytes.len() as isize);
    }
}

/// Receives bytes and the descriptor that came with them.
fn receive_with(from: &UnixStream, bytes: &mut [u8]) -> (usize, OwnedFd) {
    // SAFETY: as in `send_with`; the descriptor that came is nobody else's.
    unsafe {
        let mut room = [0u64; 8];
        let mut buffer = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
        let mut message: libc::msghdr = std::mem::zeroed();
        (message.msg_iov, message.msg_iovlen) = (&mut buffer, 1);
        (message.msg_control, message.msg_controllen) = (room.as_mut_ptr().cast(), size_of_val(&room));
        let n = libc::recvmsg(from.as_raw_fd(), &mut message, libc::MSG_CMSG_CLOEXEC);
        assert!(n > 0, "{}", Error::last_os_error());
        let control = libc::CMSG_FIRSTHDR(&message);
        assert_eq!((*control).cmsg_type, libc::SCM_RIGHTS);
        (n as usize, OwnedFd::from_raw_fd(libc::CMSG_DATA(control).cast::<i32>().read_unaligned()))
    }
}

#[test]
fn descriptors_travel() {
    everywhere(|| {
        let (one, other) = UnixStream::pair().unwrap();
        thread::scope(|s| {
            s.spawn(|| {
                for i in 0..20 {
                    let (reader, mut writer) = std::io::pipe().unwrap();
                    send_with(&one, b"a pipe", reader.as_raw_fd());
                    drop(reader);
                    // Behind the border that the descriptor makes: a short read does not mean that there is no more.
                    (&one).write_all(b"more").unwrap();
                    if i % 2 == 0 {
                        (&one).read_exact(&mut [0]).unwrap();
                    }
                    writer.write_all(b"through the pipe").unwrap();
                }
            });
            for i in 0..20 {
                let mut bytes = [0; 100];
                let (n, reader) = receive_with(&other, &mut bytes);
                assert_eq!(&bytes[..n], b"a pipe");
                (&other).read_exact(&mut bytes[..4]).unwrap();
                assert_eq!(&bytes[..4], b"more");
                if i % 2 == 0 {
                    (&other).write_all(b"!").unwrap();
                }
                let mut text = String::new();
                File::from(reader).read_to_string(&mut text).unwrap();
                assert_eq!(text, "through the pipe");
            }
        });
    });
}

/// A read that takes no descriptors ends where some were, too.
#[test]
fn a_plain_read_of_what_came_with_a_descriptor() {
    on_goroutine(|| {
        let (one, mut other) = UnixStream::pair().unwrap();
        for _ in 0..5 {
            send_with(&one, b"with", 0);
            (&one).write_all(b"without").unwrap();
            let mut bytes = [0; 100];
            assert_eq!(other.read(&mut bytes).unwrap(), 4);
            assert_eq!(other.read(&mut bytes).unwrap(), 7);
        }
    });
}
