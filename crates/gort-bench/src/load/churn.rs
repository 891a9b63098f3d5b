//! Connections that live for one round trip: connect, send, receive, see the server close, close.
//!
//! The server closes first, and this side then closes with a reset, so that neither side keeps the pair of ports for a minute
//! (TIME_WAIT): a few seconds of this would otherwise use up all ports.

use super::client::PATIENCE;
use super::epoll::Epoll;
use super::{scaled_time, Rate, MEASURED, WARM_UP};
use crate::wire;
use std::io::{self, Error, ErrorKind, Read, Write};
use std::mem::size_of_val;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

/// Connections at a time: fewer than a listener of std lets wait.
pub const AT_ONCE: usize = 64;

/// One short life.
struct Life {
    stream: TcpStream,
    message: [u8; wire::MESSAGE],
    /// Bytes of the message that have come back.
    received: usize,
}

/// All that live now.
struct Crowd {
    address: SocketAddr,
    epoll: Epoll,
    lives: Vec<Life>,
    born: u64,
}

/// How fast connections were made, used and closed, with `at_once` at a time.
pub fn run(address: SocketAddr, at_once: usize) -> io::Result<Rate> {
    let mut crowd = Crowd { address, epoll: Epoll::new()?, lives: Vec::with_capacity(at_once), born: 0 };
    for place in 0..at_once {
        let life = crowd.begin(place)?;
        crowd.lives.push(life);
    }
    crowd.run(scaled_time(WARM_UP))?;
    Rate::of(|| crowd.run(scaled_time(MEASURED)))
}

impl Crowd {
    /// Goes on for `time` and returns the lives per second that ended.
    fn run(&mut self, time: Duration) -> io::Result<f64> {
        let start = Instant::now();
        let mut ended = 0;
        loop {
            for event in 0..self.epoll.wait(PATIENCE)? {
                let place = self.epoll.key(event);
                if self.lives[place].receive()? {
                    self.lives[place] = self.begin(place)?;
                    ended += 1;
                }
            }
            let elapsed = start.elapsed();
            if elapsed >= time {
                return Ok(f64::from(ended) / elapsed.as_secs_f64());
            }
        }
    }

    /// Connects and sends. Dropping what this returns resets the connection.
    fn begin(&mut self, place: usize) -> io::Result<Life> {
        let mut stream = TcpStream::connect(self.address)?;
        reset_on_close(&stream)?;
        self.epoll.add(&stream, place)?;
        self.born += 1;
        let message = wire::message(place as u64, self.born);
        stream.write_all(&message)?;
        Ok(Life { stream, message, received: 0 })
    }
}

impl Life {
    /// Receives once and compares. Returns whether the server has closed after the whole message.
    fn receive(&mut self) -> io::Result<bool> {
        // One byte more than the message: whatever follows it is wrong.
        let mut buffer = [0; wire::MESSAGE + 1];
        let count = self.stream.read(&mut buffer)?;
        let rest = &self.message[self.received..];
        if count == 0 && !rest.is_empty() {
            return Err(Error::new(ErrorKind::UnexpectedEof, "the server closed before its answer was complete"));
        }
        if rest.get(..count) != Some(&buffer[..count]) {
            return Err(Error::new(ErrorKind::InvalidData, "the server's answer is wrong"));
        }
        self.received += count;
        Ok(count == 0)
    }
}

/// Lets `close` reset the connection.
fn reset_on_close(stream: &TcpStream) -> io::Result<()> {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    // SAFETY: the descriptor is open, and the option is a live local of the size given.
    let result = unsafe {
        libc::setsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&raw const linger).cast(),
            size_of_val(&linger) as libc::socklen_t,
        )
    };
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
