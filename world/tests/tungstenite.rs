//! Websockets with `tungstenite`: servers and clients on goroutines.

use gort_world::crowd::{crowd, scaled, Watch};
use gort_world::mark;
use gort_world::process::descriptors;
use gort_world::server::Server;
use std::io;
use std::net::TcpStream;
use std::sync::Barrier;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::CloseFrame;
use tungstenite::{Error, Message};

/// Goroutines with a client each.
const CLIENTS: usize = 1_000;

fn echo(stream: TcpStream) -> io::Result<()> {
    let mut socket = tungstenite::accept(stream).map_err(|e| io::Error::other(e.to_string()))?;
    loop {
        match socket.read() {
            Ok(message @ (Message::Text(_) | Message::Binary(_))) => socket.send(message).map_err(io::Error::other)?,
            Ok(_) => {}
            Err(Error::ConnectionClosed) => return Ok(()),
            Err(e) => return Err(io::Error::other(e)),
        }
    }
}

#[test]
fn echo_and_close() {
    let n = scaled(CLIENTS);
    descriptors(2 * n + 100);
    let watch = Watch::start("tungstenite");
    let server = Server::start(echo);
    let all_open = Barrier::new(n);
    crowd(n, |i| {
        let stream = TcpStream::connect(server.addr()).expect("the server accepts");
        let url = format!("ws://{}/", server.addr());
        let (mut socket, _) = tungstenite::client(url, stream).map_err(|e| e.to_string()).expect("a handshake");
        all_open.wait();
        for round in 0..3 {
            let text = Message::text(format!("{i} says {round}"));
            let binary = Message::binary(mark::bytes(i + round, 1000 + i * 5));
            socket.send(text.clone()).expect("sent");
            socket.send(Message::Ping(vec![i as u8].into())).expect("sent");
            socket.send(binary.clone()).expect("sent");
            assert_eq!(socket.read().expect("an answer"), text);
            assert_eq!(socket.read().expect("an answer"), Message::Pong(vec![i as u8].into()));
            assert_eq!(socket.read().expect("an answer"), binary);
        }
        let reason = CloseFrame { code: CloseCode::Normal, reason: "done".into() };
        socket.close(Some(reason.clone())).expect("sent");
        assert_eq!(socket.read().expect("the answer to it"), Message::Close(Some(reason)));
        assert!(matches!(socket.read(), Err(Error::ConnectionClosed)));
    });
    let counts = server.stop();
    assert_eq!((counts.accepted, counts.failed), (n, 0), "{counts:?}");
    watch.few();
}
