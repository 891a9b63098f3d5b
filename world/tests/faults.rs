//! What goes wrong in real programs: no descriptor left, peers that reset or vanish, data in single bytes, a full disk, a
//! pipe that nobody reads, a child that dies, and a hundred thousand connections that come and go.

use gort_tests::measure::{eventually, on_goroutine, resident_kib};
use gort_world::crowd::{crowd, scaled, Watch, MOST_THREADS};
use gort_world::mark;
use gort_world::process::{again, descriptors, role};
use gort_world::server::Server;
use std::fs::{self, OpenOptions};
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Connections that come and go.
const COME_AND_GO: usize = 100_000;
/// Memory that may be kept after them, in KiB: thread caches and the pools of goroutines settle within it.
const KEPT: usize = 4 << 10;

fn echo(mut stream: TcpStream) -> io::Result<()> {
    let mut buffer = [0; 1024];
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            n => stream.write_all(&buffer[..n])?,
        }
    }
}

/// Makes the next close of `stream` a reset, whatever is in its buffers.
fn reset_at_close(stream: &TcpStream) {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    // SAFETY: the option's value is a struct of that size.
    let result = unsafe {
        let value = (&raw const linger).cast();
        libc::setsockopt(stream.as_raw_fd(), libc::SOL_SOCKET, libc::SO_LINGER, value, size_of_val(&linger) as u32)
    };
    assert_eq!(result, 0, "{}", io::Error::last_os_error());
}

fn open_descriptors() -> usize {
    // The listing itself has one open.
    fs::read_dir("/proc/self/fd").expect("/proc is mounted").count() - 1
}

/// More clients than descriptors: the server backs off, and all are served in the end. In a process of its own, for its limit.
#[test]
fn no_descriptor_left_in_accept() {
    const LIMIT: u64 = 64;
    const CLIENTS: usize = 150;
    const SERVER: &str = "GORT_WORLD_SERVER";
    match role().as_deref() {
        None => {
            let status = again("no_descriptor_left_in_accept", "server").status().expect("it can be started");
            assert!(status.success(), "{status}");
        }
        Some("server") => {
            let watch = Watch::start("faults, no descriptor left in accept");
            let server = Server::start(echo);
            let mut clients = again("no_descriptor_left_in_accept", "clients");
            let clients = clients.env(SERVER, server.addr().to_string()).stdout(Stdio::piped()).stdin(Stdio::piped());
            let mut clients = clients.spawn().expect("it can be started");
            let mut said = BufReader::new(clients.stdout.take().expect("piped")).lines();
            let limit = libc::rlimit { rlim_cur: LIMIT, rlim_max: LIMIT };
            // SAFETY: it reads from a struct that is ours.
            assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) }, 0);
            clients.stdin.take().expect("piped").write_all(b"go\n").expect("it reads");
            let tried = server.wait(|c| c.backed_off > 0);
            assert!(tried.most_open < LIMIT as usize, "{tried:?}");
            assert!(said.any(|line| line.expect("text").ends_with("all served")), "the clients stopped early");
            assert!(clients.wait().expect("it is ours").success());
            let counts = server.stop();
            assert_eq!((counts.accepted, counts.failed), (CLIENTS, 0), "{counts:?}");
            watch.few();
        }
        Some(_) => {
            let addr: SocketAddr = std::env::var(SERVER).expect("set").parse().expect("an address");
            io::stdin().read_line(&mut String::new()).expect("the server says go");
            // All connect, in which the kernel helps, then each talks and leaves.
            let all: Vec<_> =
                (0..CLIENTS).map(|_| TcpStream::connect(addr).expect("there is room in the queue")).collect();
            for (i, mut stream) in all.into_iter().enumerate() {
                let sent = mark::bytes(i, 100);
                stream.write_all(&sent).expect("written");
                let mut got = [0; 100];
                stream.read_exact(&mut got).expect("read");
                assert_eq!(got[..], sent);
            }
            println!("all served");
        }
    }
}

#[test]
fn peers_that_reset() {
    let n = scaled(1_000);
    descriptors(2 * n + 100);
    let watch = Watch::start("faults, peers that reset");
    let server = Server::start(echo);
    crowd(n, |i| {
        let mut stream = TcpStream::connect(server.addr()).expect("the server accepts");
        stream.write_all(b"hello").expect("written");
        let mut got = [0; 5];
        stream.read_exact(&mut got).expect("read");
        // The server waits for more by now, or will soon.
        if i % 2 == 0 {
            reset_at_close(&stream);
        }
    });
    let counts = server.stop();
    assert_eq!((counts.accepted, counts.failed), (n, n.div_ceil(2)), "a reset is an error, an end is none");
    watch.few();
}

/// The reader sees a reset while it waits, and what it is told is ECONNRESET; a writer gets EPIPE or ECONNRESET.
#[test]
fn what_a_reset_is_called() {
    let n = scaled(200);
    let watch = Watch::start("faults, what a reset is called");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let addr = listener.local_addr().expect("bound");
    on_goroutine(|| {
        for i in 0..n {
            let mut here = TcpStream::connect(addr).expect("there is room in the queue");
            let (there, _) = listener.accept().expect("it is there");
            gort::thread::scope(|s| {
                let waits = s.spawn(move || {
                    if i % 2 == 0 {
                        return here.read(&mut [0; 10]).expect_err("reset").kind();
                    }
                    let much = vec![0; 1 << 16];
                    loop {
                        if let Err(e) = here.write_all(&much) {
                            return e.kind();
                        }
                    }
                });
                gort::thread::yield_now();
                reset_at_close(&there);
                drop(there);
                let kind = waits.join().expect("it returns");
                assert!(
                    kind == ErrorKind::ConnectionReset || i % 2 == 1 && kind == ErrorKind::BrokenPipe,
                    "{i}: {kind}"
                );
            });
        }
    });
    watch.few();
}

/// One direction is closed long before the other.
#[test]
fn half_open() {
    let n = scaled(1_000);
    descriptors(2 * n + 100);
    let watch = Watch::start("faults, half-open");
    // Answers only when there is nothing more to come.
    let server = Server::start(|mut stream| {
        let mut all = Vec::new();
        stream.read_to_end(&mut all)?;
        gort::thread::sleep(Duration::from_millis(1));
        stream.write_all(&all)
    });
    crowd(n, |i| {
        let mut stream = TcpStream::connect(server.addr()).expect("the server accepts");
        let sent = mark::bytes(i, 2000);
        stream.write_all(&sent).expect("written");
        stream.shutdown(Shutdown::Write).expect("connected");
        assert_eq!(stream.write(b"more").expect_err("closed").kind(), ErrorKind::BrokenPipe);
        let mut got = Vec::new();
        stream.read_to_end(&mut got).expect("read");
        assert!(got == sent, "connection {i}");
    });
    assert_eq!(server.stop().first_error, None);
    watch.few();
}

#[test]
fn single_bytes() {
    let n = scaled(1_000);
    descriptors(2 * n + 100);
    let watch = Watch::start("faults, single bytes");
    let server = Server::start(|mut stream| {
        stream.set_nodelay(true)?;
        let mut byte = [0];
        while stream.read(&mut byte)? > 0 {
            stream.write_all(&byte)?;
        }
        Ok(())
    });
    crowd(n, |i| {
        let mut stream = TcpStream::connect(server.addr()).expect("the server accepts");
        stream.set_nodelay(true).expect("it is TCP");
        for byte in mark::bytes(i, 50) {
            stream.write_all(&[byte]).expect("written");
            let mut got = [0];
            stream.read_exact(&mut got).expect("read");
            assert_eq!(got, [byte]);
        }
    });
    assert_eq!(server.stop().first_error, None);
    watch.few();
}

#[test]
fn a_full_disk() {
    let watch = Watch::start("faults, a full disk");
    crowd(scaled(1_000), |i| {
        let mut full = OpenOptions::new().write(true).open("/dev/full").expect("the kernel has it");
        let error = full.write_all(&mark::bytes(i, 100)).expect_err("it is full");
        assert_eq!(error.kind(), ErrorKind::StorageFull);
        // A buffered writer notices when it flushes.
        let mut writer = io::BufWriter::new(full);
        writer.write_all(b"text").expect("buffered");
        assert_eq!(writer.flush().expect_err("it is full").raw_os_error(), Some(libc::ENOSPC));
        drop(writer.into_parts());
    });
    watch.few();
}

#[test]
fn a_pipe_that_nobody_reads() {
    let n = scaled(1_000);
    descriptors(2 * n + 100);
    let watch = Watch::start("faults, a pipe that nobody reads");
    crowd(n, |i| {
        let (mut reader, mut writer) = io::pipe().expect("a pipe");
        gort::thread::scope(|s| {
            let writing = s.spawn(move || {
                // More than a pipe holds: it waits in the middle of it.
                writer.write_all(&mark::bytes(i, 100_000)).expect_err("the reader goes").kind()
            });
            let mut got = [0; 1000];
            reader.read_exact(&mut got).expect("read");
            assert!(got[..] == mark::bytes(i, 1000));
            drop(reader);
            assert_eq!(writing.join().expect("it returns"), ErrorKind::BrokenPipe);
        });
    });
    watch.few();
}

/// Children that are killed while goroutines read what they write and write what they read.
#[test]
fn children_that_die() {
    let n = scaled(40);
    descriptors(20 * n + 100);
    let watch = Watch::start("faults, children that die");
    crowd(n, |i| {
        let mut child = Command::new("cat");
        let child = child.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = child.spawn().expect("cat is everywhere");
        let (mut to, mut from) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
        let (there, is_there) = std::sync::mpsc::channel();
        gort::thread::scope(|s| {
            let reading = s.spawn(move || {
                let mut all = [0; 4096];
                let mut total = 0;
                loop {
                    match from.read(&mut all).expect("a pipe ends without an error") {
                        0 => return total,
                        n => total += n,
                    }
                    let _ = there.send(());
                }
            });
            let writing = s.spawn(move || loop {
                if let Err(e) = to.write_all(&mark::bytes(i, 5000)) {
                    return e.kind();
                }
            });
            is_there.recv().expect("something came through");
            child.kill().expect("it is ours");
            let status = child.wait().expect("it is ours");
            assert_eq!(status.signal(), Some(libc::SIGKILL));
            assert!(reading.join().expect("it returns") > 0);
            assert_eq!(writing.join().expect("it returns"), ErrorKind::BrokenPipe);
        });
    });
    // Each of them may sit in the kernel while its child is made; what reads, writes and waits beside it does not.
    watch.at_most(n + MOST_THREADS);
}

#[test]
fn a_hundred_thousand_come_and_go() {
    const AT_A_TIME: usize = 100;
    let n = scaled(COME_AND_GO);
    descriptors(4 * AT_A_TIME + 100);
    let watch = Watch::start("faults, 100,000 connections come and go");
    // More addresses than one, so that there are enough ports for those that the kernel still remembers.
    let servers: Vec<_> = (1..=8).map(|k| Server::on(format!("127.0.0.{k}:0"), echo)).collect();
    let round = |n: usize| {
        crowd(AT_A_TIME, |i| {
            for k in 0..n / AT_A_TIME {
                let server = &servers[(i + k) % servers.len()];
                let mut stream = TcpStream::connect(server.addr()).expect("the server accepts");
                if k % 10 == 0 {
                    stream.write_all(b"x").expect("written");
                    stream.read_exact(&mut [0]).expect("read");
                } else if k % 10 == 1 {
                    reset_at_close(&stream);
                }
            }
        });
        for server in &servers {
            server.wait(|c| c.open == 0);
        }
    };
    // The first tenth fills caches and pools.
    round(n / 10);
    let (descriptors, memory) = (open_descriptors(), resident_kib());
    round(n - n / 10);
    assert!(eventually(Duration::from_secs(10), || open_descriptors() <= descriptors), "{} open", open_descriptors());
    let after = resident_kib();
    println!("resident: {memory} KiB after a tenth, {after} KiB after all");
    assert!(after <= memory + KEPT, "resident: {memory} KiB after a tenth, {after} KiB after all");
    for server in servers {
        server.stop();
    }
    // `connect` and `close` are handed off, since they may wait. Each that the kernel takes some time for costs a thread then.
    watch.at_most(2 * MOST_THREADS);
}
