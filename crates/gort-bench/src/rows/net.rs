//! Rows about sockets, in plain `std::net`: servers with a task for each connection, and a round trip within the process.
//!
//! Nothing here knows what a task is: the same source serves gort and std threads. The load of the servers comes from another
//! process, see [`crate::load`].

use super::{Measured, Threads};
use crate::load;
use crate::measure::per_op;
use crate::wire::{message, Requests, MESSAGE, REPLY};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

/// Runs a row about sockets; `None` if `row` is none of them.
///
/// To be called on a thread that may wait. The runtime must have been started, and [`load::prepare`] called. Panics if a result is wrong.
pub fn net_row<T: Threads>(row: &str) -> Option<Measured> {
    let serve: fn(TcpStream) = match row {
        "tcp_rtt" => return Some(Ok(vec![T::join(T::spawn(round_trip::<T>))])),
        "tcp_echo_100" | "tcp_echo_10k" | "idle_10k" => echo,
        "http_plain" => http,
        "conn_churn" => answer_once,
        _ => return None,
    };
    let (listener, address) = listen();
    // The server ends with the process.
    T::spawn(move || loop {
        let (stream, _) = listener.accept().expect("accept");
        T::spawn(move || serve(stream));
    });
    Some(load::drive(row, address))
}

/// A listener on a port of the kernel's choice.
pub fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    (listener, address)
}

/// Two ends of one connection that do not hold small messages back.
pub fn pair() -> (TcpStream, TcpStream) {
    let (listener, address) = listen();
    let near = TcpStream::connect(address).expect("a connection");
    let (far, _) = listener.accept().expect("the other end");
    for end in [&near, &far] {
        end.set_nodelay(true).expect("TCP_NODELAY");
    }
    (near, far)
}

/// Sends back what comes, message by message, until the connection ends.
fn echo(mut stream: TcpStream) {
    let mut message = [0; MESSAGE];
    while stream.read_exact(&mut message).and_then(|()| stream.write_all(&message)).is_ok() {}
}

/// Sends one message back and closes. What is wrong with a connection, the load sees.
fn answer_once(mut stream: TcpStream) {
    let mut message = [0; MESSAGE];
    let _ = stream.read_exact(&mut message).and_then(|()| stream.write_all(&message));
}

/// Answers each request, until the connection ends.
fn http(mut stream: TcpStream) {
    let mut requests = Requests::new();
    loop {
        match stream.read(requests.space()) {
            Ok(0) | Err(_) => return,
            Ok(count) => requests.received(count),
        }
        while requests.take() {
            if stream.write_all(REPLY).is_err() {
                return;
            }
        }
    }
}

/// Nanoseconds for a message from one task to another and back, over one connection.
fn round_trip<T: Threads>() -> f64 {
    per_op(|n| {
        let (mut near, mut far) = pair();
        let answering = T::spawn(move || {
            let mut message = [0; MESSAGE];
            for _ in 0..n {
                far.read_exact(&mut message).expect("a message");
                far.write_all(&message).expect("an answer");
            }
        });
        let took = trips(n, |message, answer| {
            near.write_all(message).expect("a message");
            near.read_exact(answer).expect("an answer");
        });
        T::join(answering);
        took
    })
}

/// Makes `n` round trips by `trip`, which gets the message and must put the answer into its second argument; compares, and
/// returns the time.
pub fn trips(n: u64, mut trip: impl FnMut(&[u8; MESSAGE], &mut [u8; MESSAGE])) -> Duration {
    let mut answer = [0; MESSAGE];
    let start = Instant::now();
    for number in 0..n {
        let message = message(0, number);
        trip(&message, &mut answer);
        assert_eq!(answer, message, "a wrong answer");
    }
    start.elapsed()
}
