//! From one descriptor to another, past the program's memory, on goroutines.

use gort::thread;
use gort_tests::measure::everywhere;
use std::fs::{self, File};
use std::io::{PipeReader, PipeWriter, Read};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::path::PathBuf;

fn pattern(n: usize) -> Vec<u8> {
    (0..n).map(|i| (i ^ (i >> 8) ^ (i >> 16)) as u8).collect()
}

fn temporary(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("gort-{name}-{}", std::process::id()))
}

fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let one = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (one, listener.accept().unwrap().0)
}

/// A file to a socket, a socket through a pipe to a file: `io::copy` uses `sendfile`, `splice` and `copy_file_range`.
#[test]
fn past_the_programs_memory() {
    everywhere(|| {
        let data = pattern(4 << 20);
        let name = temporary(&format!("copied-{:?}", std::thread::current().id()));
        fs::write(&name, &data).unwrap();
        let (one, other) = tcp_pair();
        thread::scope(|s| {
            s.spawn(|| {
                assert_eq!(std::io::copy(&mut File::open(&name).unwrap(), &mut &one).unwrap(), 4 << 20);
                one.shutdown(std::net::Shutdown::Write).unwrap();
            });
            let (reader, writer) = std::io::pipe().unwrap();
            s.spawn(|| splice_all(&other, writer));
            let mut all = Vec::new();
            { reader }.read_to_end(&mut all).unwrap();
            assert!(all == data);
            // And one call for all of it.
            s.spawn(|| {
                let file = File::open(&name).unwrap();
                let to = other.as_raw_fd();
                // SAFETY: the offset may be null.
                let n = unsafe { libc::sendfile(to, file.as_raw_fd(), std::ptr::null_mut(), data.len()) };
                assert_eq!(n, data.len() as isize);
                // SAFETY: as above.
                let end = unsafe { libc::sendfile(to, file.as_raw_fd(), std::ptr::null_mut(), 10) };
                assert_eq!(end, 0, "the end of the file");
            });
            let mut all = vec![0; data.len()];
            (&one).read_exact(&mut all).unwrap();
            assert!(all == data);
        });
        fs::remove_file(name).unwrap();
    });
}

fn splice_all(from: &TcpStream, to: PipeWriter) {
    let null = std::ptr::null_mut;
    loop {
        // SAFETY: the offsets may be null.
        match unsafe { libc::splice(from.as_raw_fd(), null(), to.as_raw_fd(), null(), 1 << 20, 0) } {
            0 => return,
            n => assert!(n > 0, "{}", std::io::Error::last_os_error()),
        }
    }
}

#[test]
fn tee_and_vmsplice() {
    everywhere(|| {
        let (mut first, into_first) = std::io::pipe().unwrap();
        let (mut second, into_second) = std::io::pipe().unwrap();
        thread::scope(|s| {
            // SAFETY: the descriptors are pipes.
            let teeing = s.spawn(|| unsafe { libc::tee(first.as_raw_fd(), into_second.as_raw_fd(), 100, 0) });
            let buffer = libc::iovec { iov_base: b"twice".as_ptr().cast_mut().cast(), iov_len: 5 };
            // SAFETY: one buffer, which lives as long as the program.
            assert_eq!(unsafe { libc::vmsplice(into_first.as_raw_fd(), &buffer, 1, 0) }, 5);
            assert_eq!(teeing.join().unwrap(), 5);
        });
        for reader in [&mut first, &mut second] as [&mut PipeReader; 2] {
            let mut text = [0; 5];
            reader.read_exact(&mut text).unwrap();
            assert_eq!(&text, b"twice");
        }
    });
}
