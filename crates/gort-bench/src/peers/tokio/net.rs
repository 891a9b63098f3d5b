//! The rows about sockets in tokio's own types: a task for each connection.

use super::on_worker;
use crate::load;
use crate::measure::per_op;
use crate::rows::Measured;
use crate::wire::{message, Requests, MESSAGE, REPLY};
use std::future::Future;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

/// Runs a row about sockets; `None` if `row` is none of them.
pub fn net_row(rt: &Runtime, row: &str) -> Option<Measured> {
    let address = match row {
        "tcp_rtt" => return Some(Ok(vec![per_op(|n| on_worker(rt, round_trip(n)))])),
        "tcp_echo_100" | "tcp_echo_10k" | "idle_10k" => serve(rt, echo),
        "http_plain" => serve(rt, http),
        "conn_churn" => serve(rt, answer_once),
        _ => return None,
    };
    Some(load::drive(row, address))
}

/// Starts a server, with a task of `each` for each connection, that ends with the process.
fn serve<F: Future<Output = ()> + Send + 'static>(
    rt: &Runtime,
    each: impl Fn(TcpStream) -> F + Send + 'static,
) -> SocketAddr {
    let listener = rt.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port");
    let address = listener.local_addr().expect("an address");
    rt.spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.expect("accept");
            tokio::spawn(each(stream));
        }
    });
    address
}

/// Receives a message and sends it back. Returns whether that worked.
async fn exchange(stream: &mut TcpStream) -> bool {
    let mut message = [0; MESSAGE];
    stream.read_exact(&mut message).await.is_ok() && stream.write_all(&message).await.is_ok()
}

async fn echo(mut stream: TcpStream) {
    while exchange(&mut stream).await {}
}

async fn answer_once(mut stream: TcpStream) {
    exchange(&mut stream).await;
}

async fn http(mut stream: TcpStream) {
    let mut requests = Requests::new();
    loop {
        match stream.read(requests.space()).await {
            Ok(0) | Err(_) => return,
            Ok(count) => requests.received(count),
        }
        while requests.take() {
            if stream.write_all(REPLY).await.is_err() {
                return;
            }
        }
    }
}

async fn round_trip(n: u64) -> Duration {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let mut near = TcpStream::connect(address).await.expect("a connection");
    let (mut far, _) = listener.accept().await.expect("the other end");
    for end in [&near, &far] {
        end.set_nodelay(true).expect("TCP_NODELAY");
    }
    let answering = tokio::spawn(async move {
        for _ in 0..n {
            assert!(exchange(&mut far).await, "the connection ended early");
        }
    });
    let mut answer = [0; MESSAGE];
    let start = Instant::now();
    for number in 0..n {
        let message = message(0, number);
        near.write_all(&message).await.expect("a message");
        near.read_exact(&mut answer).await.expect("an answer");
        assert_eq!(answer, message, "a wrong answer");
    }
    let took = start.elapsed();
    answering.await.expect("the task returns");
    took
}
