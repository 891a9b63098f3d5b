//! Descriptors.

use crate::toolbox::{spawn, total, Rng};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// Pairs of sockets: bytes there and back, in pieces; an end; a time limit.
pub fn sockets(rng: &mut Rng) {
    let all: Vec<_> = (0..1 + rng.below(8))
        .flat_map(|_| {
            let (mut near, mut far) = UnixStream::pair().unwrap();
            let len = 1 + rng.below(100_000);
            let echo = spawn(move || {
                let mut buffer = [0; 3000];
                loop {
                    match far.read(&mut buffer).unwrap() {
                        0 => return 1,
                        n => far.write_all(&buffer[..n]).unwrap(),
                    }
                }
            });
            let both = spawn(move || {
                let mut writer = near.try_clone().unwrap();
                let sends = spawn(move || {
                    let bytes: Vec<u8> = (0..len).map(|i| i as u8).collect();
                    writer.write_all(&bytes).unwrap();
                    writer.shutdown(Shutdown::Write).unwrap();
                });
                let mut bytes = Vec::new();
                near.read_to_end(&mut bytes).unwrap();
                assert!(bytes.len() == len && bytes.iter().enumerate().all(|(i, &b)| b == i as u8));
                sends.join().unwrap();
                1
            });
            [echo, both]
        })
        .collect();
    total(all);
    let (near, _far) = UnixStream::pair().unwrap();
    near.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
    let e = (&near).read(&mut [0]).unwrap_err();
    assert!(matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{e}");
}

/// Connections over loopback that come and go.
pub fn connections(rng: &mut Rng) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let n = 1 + rng.below(10);
    let server = spawn(move || {
        let serve = |mut stream: TcpStream| {
            spawn(move || {
                let mut bytes = [0; 4];
                stream.read_exact(&mut bytes).unwrap();
                stream.write_all(&bytes).unwrap();
                1
            })
        };
        total((0..n).map(|_| serve(listener.accept().unwrap().0)).collect::<Vec<_>>())
    });
    let clients: Vec<_> = (0..n)
        .map(|i| {
            spawn(move || {
                let mut stream = TcpStream::connect(address).unwrap();
                let bytes = (i as u32).to_ne_bytes();
                stream.write_all(&bytes).unwrap();
                let mut back = Vec::new();
                stream.read_to_end(&mut back).unwrap();
                assert_eq!(back, bytes);
                1
            })
        })
        .collect();
    assert_eq!(total(clients), n as u64);
    assert_eq!(server.join().unwrap(), n as u64);
}

/// A chain of pipes, each emptied into the next.
pub fn pipes(rng: &mut Rng) {
    let (mut from, mut first) = std::io::pipe().unwrap();
    let mut all = Vec::new();
    for _ in 0..rng.below(6) {
        let (next, mut to) = std::io::pipe().unwrap();
        let mut before = std::mem::replace(&mut from, next);
        all.push(spawn(move || std::io::copy(&mut before, &mut to).unwrap()));
    }
    let len = rng.below(200_000);
    let writes = spawn(move || first.write_all(&vec![3; len]).unwrap());
    let mut bytes = Vec::new();
    from.read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes, vec![3; len]);
    writes.join().unwrap();
    let n = all.len() as u64;
    assert_eq!(total(all), n * len as u64);
}
