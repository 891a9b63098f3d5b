//! A closed loop over many connections: each has one request in flight, and sends the next when the reply is complete.

use super::epoll::Epoll;
use crate::wire;
use std::io::{self, Error, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Connections that may wait to be accepted. std's listeners have room for 128; beyond that the kernel drops the attempt, and
/// tries again after a second.
const UNACCEPTED: usize = 64;

/// How long to wait for any reply at all.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// What is said over a connection.
#[derive(Clone, Copy)]
pub enum Talk {
    /// Stamped messages that come back as they are.
    Echo,
    /// HTTP requests that all have the same reply.
    Http,
}

/// One connection.
struct Connection {
    stream: TcpStream,
    /// Number of the round trip that it is in.
    trip: u64,
    /// Bytes of the reply that have come.
    received: usize,
}

/// The connections.
pub struct Client {
    epoll: Epoll,
    talk: Talk,
    connections: Vec<Connection>,
    in_flight: usize,
    /// Received bytes, before they are compared.
    buffer: Vec<u8>,
}

impl Client {
    /// Makes `count` connections to `address`, and one round trip over each: all of them are accepted then.
    pub fn connect(address: SocketAddr, count: usize, talk: Talk) -> io::Result<Self> {
        let connections = Vec::with_capacity(count);
        let mut client = Self { epoll: Epoll::new()?, talk, connections, in_flight: 0, buffer: vec![0; 4096] };
        for index in 0..count {
            let stream = TcpStream::connect(address)?;
            stream.set_nodelay(true)?;
            client.epoll.add(&stream, index)?;
            client.connections.push(Connection { stream, trip: 0, received: 0 });
            client.send(index)?;
            while client.in_flight >= UNACCEPTED {
                client.turn(false)?;
            }
        }
        client.finish()?;
        Ok(client)
    }

    /// Sends a request over each connection.
    pub fn start(&mut self) -> io::Result<()> {
        (0..self.connections.len()).try_for_each(|index| self.send(index))
    }

    /// Goes on for `time`; requests remain in flight. Returns the round trips per second.
    pub fn run(&mut self, time: Duration) -> io::Result<f64> {
        let start = Instant::now();
        let mut trips = 0;
        loop {
            trips += self.turn(true)?;
            let elapsed = start.elapsed();
            if elapsed >= time {
                return Ok(trips as f64 / elapsed.as_secs_f64());
            }
        }
    }

    /// Awaits the replies that are under way.
    pub fn finish(&mut self) -> io::Result<()> {
        while self.in_flight > 0 {
            self.turn(false)?;
        }
        Ok(())
    }

    /// Waits once, and serves what is ready. Returns the number of replies that became complete; each is followed by the next
    /// request if `again`.
    fn turn(&mut self, again: bool) -> io::Result<usize> {
        let mut complete = 0;
        for event in 0..self.epoll.wait(PATIENCE)? {
            let index = self.epoll.key(event);
            if self.receive(index)? {
                complete += 1;
                self.in_flight -= 1;
                if again {
                    self.send(index)?;
                }
            }
        }
        Ok(complete)
    }

    /// Sends the next request. It fits the socket's buffer, since nothing else is in it.
    fn send(&mut self, index: usize) -> io::Result<()> {
        let connection = &mut self.connections[index];
        connection.trip += 1;
        connection.received = 0;
        self.in_flight += 1;
        match self.talk {
            Talk::Echo => connection.stream.write_all(&wire::message(index as u64, connection.trip)),
            Talk::Http => connection.stream.write_all(wire::REQUEST),
        }
    }

    /// Receives once, which does not wait, and compares. Returns whether the reply is complete.
    fn receive(&mut self, index: usize) -> io::Result<bool> {
        let connection = &mut self.connections[index];
        let message = wire::message(index as u64, connection.trip);
        let expected = match self.talk {
            Talk::Echo => &message[..],
            Talk::Http => wire::REPLY,
        };
        let count = connection.stream.read(&mut self.buffer)?;
        if count == 0 {
            return Err(Error::new(ErrorKind::UnexpectedEof, "the server closed a connection"));
        }
        let rest = &expected[connection.received..];
        if rest.get(..count) != Some(&self.buffer[..count]) {
            return Err(Error::new(ErrorKind::InvalidData, "the server's reply is wrong"));
        }
        connection.received += count;
        Ok(count == rest.len())
    }
}
