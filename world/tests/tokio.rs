//! tokio's `block_on` inside goroutines: with a runtime that has threads of its own, and with a runtime per goroutine.

use gort_world::crowd::{crowd, scaled, Watch};
use gort_world::process::descriptors;
use gort_world::{http, mark, server::Server};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{mpsc, Barrier};

/// Goroutines.
const CLIENTS: usize = 1_000;

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).max_blocking_threads(2).enable_all().build().expect("threads")
}

/// A listener with room for all clients at once.
async fn listen() -> TcpListener {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a free port");
    socket.listen(4096).expect("bound")
}

async fn echo(listener: TcpListener) {
    loop {
        let (mut stream, _) = listener.accept().await.expect("a client");
        tokio::spawn(async move {
            let (mut from, mut to) = stream.split();
            tokio::io::copy(&mut from, &mut to).await.expect("copied");
        });
    }
}

#[test]
fn block_on_a_shared_runtime() {
    let n = scaled(CLIENTS);
    descriptors(2 * n + 100);
    let watch = Watch::start("tokio, a shared runtime");
    let runtime = runtime();
    let handle = runtime.handle().clone();
    let listener = handle.block_on(listen());
    let addr = listener.local_addr().expect("bound");
    runtime.spawn(echo(listener));
    let barrier = Barrier::new(n);
    crowd(n, |i| {
        // All of them are in it at a time.
        handle.block_on(barrier.wait());
        handle.block_on(async {
            let mut stream = TcpStream::connect(addr).await.expect("the server accepts");
            let sent = mark::bytes(i, 1000 + i);
            stream.write_all(&sent).await.expect("written");
            stream.shutdown().await.expect("connected");
            let mut got = Vec::new();
            stream.read_to_end(&mut got).await.expect("read");
            assert!(got == sent, "echo of {i}");
        });
        let (to, mut from) = mpsc::channel(1);
        let task = handle.spawn(async move {
            for k in 0..10 {
                to.send(i + k).await.expect("the goroutine waits");
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
        // A task sends, a goroutine receives, as a plain thread does.
        let sum: usize = std::iter::from_fn(|| from.blocking_recv()).sum();
        assert_eq!(sum, 10 * i + 45);
        handle.block_on(task).expect("the task ends");
    });
    drop(runtime);
    watch.few();
}

/// A runtime for each goroutine, without threads: tokio's own `epoll_wait` parks it.
#[test]
fn a_runtime_each() {
    let n = scaled(CLIENTS);
    // A runtime has some descriptors of its own.
    descriptors(8 * n + 100);
    let watch = Watch::start("tokio, a runtime each");
    let server = Server::start(http::serve);
    let addr: SocketAddr = server.addr();
    crowd(n, |i| {
        let runtime = Builder::new_current_thread().enable_all().build().expect("an epoll");
        runtime.block_on(async {
            tokio::time::sleep(Duration::from_millis(i as u64 % 50)).await;
            let mut stream = TcpStream::connect(addr).await.expect("the server accepts");
            let request = format!("GET /square/{i} HTTP/1.1\r\nConnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await.expect("written");
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.expect("read");
            assert!(answer.ends_with(&format!("\r\n\r\n{}", i * i)), "{answer}");
            let late = tokio::time::timeout(Duration::from_millis(20), std::future::pending::<()>()).await;
            assert!(late.is_err());
        });
    });
    let counts = server.stop();
    assert_eq!((counts.accepted, counts.failed), (n, 0), "{counts:?}");
    watch.few();
}
