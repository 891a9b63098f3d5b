//! The web server `tiny_http` makes a thread for each connection. With `GORT_THREADS=1` they are goroutines, although it
//! calls `std::thread`.

use gort_world::crowd::{crowd, scaled, Watch};
use gort_world::pool::Pool;
use gort_world::process::{descriptors, with_threads_as_goroutines};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Barrier;
use tiny_http::{Response, Server};

/// Clients, each with a connection that stays open.
const CLIENTS: usize = 1_000;
/// Threads that answer.
const ANSWERING: usize = 50;
/// Clients that connect at a time: the crate's queue is not long.
const AT_ONCE: usize = 64;
/// Clients that come first, one after the other.
///
/// The crate gives a connection to a thread that waits, if one does, and otherwise to a new one; it begins with four that
/// wait. It counts a thread as waiting until that has run, so that of many connections that come at once some have no thread
/// until others end, on any kind of thread. After these clients none waits.
const EARLY: usize = 16;

/// Asks for `path` on a connection that is kept, and returns the body.
fn ask(stream: &mut TcpStream, path: &str, body: &str) -> String {
    let length = body.len();
    let request = format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{body}");
    stream.write_all(request.as_bytes()).expect("written");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("an answer");
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).expect("text").to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 200"), "{head}");
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:")).expect("a length");
    let mut answer = vec![0; length.trim().parse().expect("a number")];
    stream.read_exact(&mut answer).expect("a body");
    String::from_utf8(answer).expect("text")
}

fn serve(server: &Server) {
    for mut request in server.incoming_requests() {
        let mut body = String::new();
        request.as_reader().read_to_string(&mut body).expect("a body");
        let answer = format!("{} {body}", request.url());
        request.respond(Response::from_string(answer)).expect("the client waits");
    }
}

#[test]
fn a_thread_per_connection() {
    with_threads_as_goroutines("a_thread_per_connection", || {
        let n = scaled(CLIENTS);
        descriptors(3 * n + 100);
        let watch = Watch::start("tiny_http");
        let server = Server::http("127.0.0.1:0").expect("a free port");
        let addr: SocketAddr = server.server_addr().to_ip().expect("TCP");
        let (turns, open) = (Pool::new(0..AT_ONCE), Barrier::new(n));
        std::thread::scope(|s| {
            for _ in 0..ANSWERING {
                s.spawn(|| serve(&server));
            }
            let early: Vec<_> = (0..EARLY)
                .map(|_| {
                    let mut stream = TcpStream::connect(addr).expect("the server accepts");
                    assert_eq!(ask(&mut stream, "/early", ""), "/early ");
                    stream
                })
                .collect();
            crowd(n, |i| {
                let turn = turns.take();
                let mut stream = TcpStream::connect(addr).expect("the server accepts");
                assert_eq!(ask(&mut stream, "/first", &i.to_string()), format!("/first {i}"));
                drop(turn);
                // Here all connections are open, and the crate has a thread for each.
                open.wait();
                for round in 0..3 {
                    assert_eq!(ask(&mut stream, &format!("/{round}"), &i.to_string()), format!("/{round} {i}"));
                }
            });
            drop(early);
            (0..ANSWERING).for_each(|_| server.unblock());
        });
        watch.few();
    });
}
