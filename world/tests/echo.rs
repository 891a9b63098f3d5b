//! An echo server in plain std::net, a goroutine per connection, with 10,000 connections open at a time.

use gort_world::crowd::{crowd, scaled, Watch, MOST_THREADS};
use gort_world::mark;
use gort_world::process::{again, descriptors, role, Killed};
use gort_world::server::Server;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Barrier;

/// Connections, all open at a time.
const CONNECTIONS: usize = 10_000;
/// Goroutines with a client each.
const CLIENTS: usize = 1_000;
/// Where a client process finds the server.
const SERVER: &str = "GORT_WORLD_ECHO";

fn echo(mut stream: TcpStream) -> io::Result<()> {
    let mut buffer = [0; 1024];
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            n => stream.write_all(&buffer[..n])?,
        }
    }
}

/// The client process: one plain thread, so that all the work with many connections is the server's. Each round writes to
/// all connections before it reads from any.
fn client(addr: &str, connections: usize) {
    descriptors(connections + 100);
    let mut all: Vec<_> = (0..connections).map(|_| TcpStream::connect(addr).expect("the server accepts")).collect();
    for round in 0..3 {
        for (i, stream) in all.iter_mut().enumerate() {
            stream.write_all(&mark::bytes(i + round, 100 + i % 50)).expect("written");
        }
        for (i, stream) in all.iter_mut().enumerate() {
            let expected = mark::bytes(i + round, 100 + i % 50);
            let mut got = vec![0; expected.len()];
            stream.read_exact(&mut got).expect("read");
            assert_eq!(got, expected, "connection {i}, round {round}");
        }
    }
}

#[test]
fn ten_thousand_connections() {
    let connections = scaled(CONNECTIONS);
    if role().is_some() {
        return client(&std::env::var(SERVER).expect("the parent sets it"), connections);
    }
    descriptors(connections + 100);
    let watch = Watch::start("echo, 10,000 connections");
    let server = Server::start(echo);
    let child = again("ten_thousand_connections", "client").env(SERVER, server.addr().to_string()).spawn();
    let mut child = Killed(child.expect("it can be started"));
    assert!(child.0.wait().expect("it is ours").success(), "the client failed: {:?}", server.counts());
    let counts = server.stop();
    assert_eq!((counts.accepted, counts.most_open, counts.failed), (connections, connections, 0), "{counts:?}");
    watch.few();
}

/// Both ends are goroutines of this process: 2,000 at a time.
#[test]
fn clients_on_goroutines() {
    let n = scaled(CLIENTS);
    descriptors(2 * n + 100);
    let watch = Watch::start("echo, clients on goroutines");
    let server = Server::start(echo);
    let all_open = Barrier::new(n);
    crowd(n, |i| {
        let mut stream = TcpStream::connect(server.addr()).expect("the server accepts");
        all_open.wait();
        for round in 0..10 {
            let expected = mark::bytes(i + round, 1 + i * 7 % 3000);
            stream.write_all(&expected).expect("written");
            let mut got = vec![0; expected.len()];
            stream.read_exact(&mut got).expect("read");
            assert_eq!(got, expected, "connection {i}, round {round}");
        }
        stream.shutdown(Shutdown::Write).expect("connected");
        assert_eq!(stream.read(&mut [0]).expect("the end"), 0);
    });
    let counts = server.stop();
    assert_eq!((counts.accepted, counts.failed), (n, 0), "{counts:?}");
    watch.few();
}

/// More than the sockets' buffers hold goes both ways at the same time, so that writers wait as well as readers.
///
/// Who always finds something to read, or room to write, does not wait, and after ten milliseconds its P goes to others: that
/// may be so for all three goroutines of each connection, which need kernel threads of their own then.
#[test]
fn large_transfers_both_ways() {
    const BYTES: usize = 4 << 20;
    let n = scaled(20);
    let data = mark::bytes(1, BYTES + n);
    let watch = Watch::start("echo, large transfers");
    let server = Server::start(echo);
    crowd(n, |i| {
        let stream = TcpStream::connect(server.addr()).expect("the server accepts");
        let sent = &data[i..][..BYTES];
        gort::thread::scope(|s| {
            s.spawn(|| {
                (&stream).write_all(sent).expect("written");
                stream.shutdown(Shutdown::Write).expect("connected");
            });
            let mut got = Vec::new();
            (&stream).read_to_end(&mut got).expect("read");
            assert!(got == sent, "connection {i}: {} bytes came back", got.len());
        });
    });
    assert_eq!(server.stop().first_error, None);
    watch.at_most(MOST_THREADS + 3 * n);
}
