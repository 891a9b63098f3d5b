//! An HTTP/1.1 server in plain std::net and httparse, asked by `wrk` over 10,000 connections, and by std alone.

use gort_world::crowd::{crowd, scaled, Watch, MOST_THREADS, NAMES};
use gort_world::process::descriptors;
use gort_world::server::Server;
use gort_world::{http, servers};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;

/// Connections that wrk opens.
const CONNECTIONS: usize = 10_000;
/// Goroutines with a client each.
const CLIENTS: usize = 1_000;

fn run_wrk(server: &Server, connections: usize, seconds: usize) -> String {
    let output = Command::new(servers::wrk())
        .args(["--threads", "1", "--timeout", "60s"])
        .args(["--connections", &connections.to_string(), "--duration", &format!("{seconds}s")])
        .arg(format!("http://{}/square/1234567", server.addr()))
        .output()
        .expect("wrk can be started");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "wrk: {}\n{text}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    text
}

/// The number of requests in what wrk wrote, which must report no error.
fn requests(text: &str) -> usize {
    assert!(!text.contains("Socket errors") && !text.contains("Non-2xx"), "{text}");
    let line = text.lines().find(|line| line.contains(" requests in ")).unwrap_or_else(|| panic!("{text}"));
    line.split_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or_else(|| panic!("{text}"))
}

#[test]
fn wrk_with_ten_thousand_connections() {
    let connections = scaled(CONNECTIONS);
    descriptors(connections + 100);
    let watch = Watch::start("http, wrk with 10,000 connections");
    let server = Server::start(http::serve);
    let text = run_wrk(&server, connections, 6);
    let answered = requests(&text);
    let counts = server.stop();
    println!("{answered} requests");
    assert!(answered > connections, "{text}");
    assert_eq!(counts.most_open, connections, "{text}");
    watch.few();
}

#[test]
fn wrk_with_fifty_connections() {
    let watch = Watch::start("http, wrk with 50 connections");
    let server = Server::start(http::serve);
    let text = run_wrk(&server, 50, 2);
    println!("{} requests", requests(&text));
    assert!(requests(&text) > 50);
    server.stop();
    watch.few();
}

/// Each client sends its requests byte by byte or at once, several in advance.
#[test]
fn pipelined_requests() {
    let n = scaled(CLIENTS);
    descriptors(2 * n + 100);
    let watch = Watch::start("http, pipelined requests");
    let server = Server::start(http::serve);
    crowd(n, |i| {
        let mut stream = TcpStream::connect(server.addr()).expect("the server accepts");
        let last = "GET /nothing HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        let text = format!("GET /square/{i} HTTP/1.1\r\nHost: localhost\r\n\r\n").repeat(3) + last;
        if i % 10 == 0 {
            stream.set_nodelay(true).expect("it is TCP");
            text.as_bytes().iter().for_each(|byte| stream.write_all(&[*byte]).expect("written"));
        } else {
            stream.write_all(text.as_bytes()).expect("written");
        }
        let mut answers = String::new();
        stream.read_to_string(&mut answers).expect("read");
        let body = format!("\r\n\r\n{}", i * i);
        assert_eq!(answers.matches("200 OK").count(), 3, "{answers}");
        assert_eq!(answers.matches(&body).count(), 3, "{answers}");
        assert_eq!(answers.matches("404 Not Found").count(), 1, "{answers}");
    });
    assert_eq!(server.stop().first_error, None);
    watch.few();
}

/// Each client finds the server by its name: the C library looks it up, and blocks a kernel thread meanwhile.
#[test]
fn servers_by_name() {
    let n = scaled(CLIENTS);
    descriptors(2 * n + NAMES + 100);
    let watch = Watch::start("http, servers by name");
    let server = Server::start(http::serve);
    crowd(n, |i| {
        let mut stream = TcpStream::connect(("localhost", server.addr().port())).expect("the server accepts");
        write!(stream, "GET /square/{i} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").expect("written");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("read");
        assert!(answer.ends_with(&format!("\r\n\r\n{}", i * i)), "{answer}");
    });
    assert_eq!(server.stop().first_error, None);
    watch.at_most(MOST_THREADS + NAMES);
}
