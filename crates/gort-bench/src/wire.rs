//! What goes over the wire in the network rows: the stamped messages of the echo rows, and one HTTP request with its reply. Servers
//! and the load generator share it, so that each byte that comes back can be compared.

use httparse::{Request, Status, EMPTY_HEADER};

/// Bytes of a message in the echo rows.
pub const MESSAGE: usize = 64;

/// What the load generator asks in the HTTP row.
#[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "only the load sends it"))]
pub const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// What every server answers: a body of 13 bytes.
pub const REPLY: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n\r\nHello, world\n";

/// The message of one round trip on one connection; no two are the same.
pub fn message(connection: u64, trip: u64) -> [u8; MESSAGE] {
    let mut bytes = [(connection.wrapping_mul(31).wrapping_add(trip)) as u8; MESSAGE];
    bytes[..8].copy_from_slice(&connection.to_le_bytes());
    bytes[8..16].copy_from_slice(&trip.to_le_bytes());
    bytes
}

/// The bytes of a connection that are received and not yet answered.
pub struct Requests {
    buffer: [u8; 1024],
    filled: usize,
}

impl Requests {
    /// No bytes.
    pub fn new() -> Self {
        Self { buffer: [0; 1024], filled: 0 }
    }

    /// Where to receive more bytes; empty if a request is longer than there is room.
    pub fn space(&mut self) -> &mut [u8] {
        &mut self.buffer[self.filled..]
    }

    /// Notes that `count` bytes were put into [`Requests::space`].
    pub fn received(&mut self, count: usize) {
        self.filled += count;
    }

    /// Parses and removes one complete request. Returns whether there was one.
    ///
    /// # Panics
    /// If the bytes are not a request for `/`.
    pub fn take(&mut self) -> bool {
        if self.filled == 0 {
            return false;
        }
        let mut headers = [EMPTY_HEADER; 16];
        let mut request = Request::new(&mut headers);
        let Status::Complete(length) = request.parse(&self.buffer[..self.filled]).expect("a request") else {
            return false;
        };
        assert_eq!((request.method, request.path), (Some("GET"), Some("/")), "another request");
        self.buffer.copy_within(length..self.filled, 0);
        self.filled -= length;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_found_however_they_are_cut() {
        let twice = [REQUEST, REQUEST].concat();
        for cut in 0..twice.len() {
            let mut requests = Requests::new();
            let mut found = 0;
            for part in [&twice[..cut], &twice[cut..]] {
                requests.space()[..part.len()].copy_from_slice(part);
                requests.received(part.len());
                while requests.take() {
                    found += 1;
                }
            }
            assert_eq!(found, 2, "cut at {cut}");
        }
    }

    #[test]
    fn the_reply_has_a_body_of_thirteen_bytes() {
        let text = std::str::from_utf8(REPLY).unwrap();
        let (_, body) = text.split_once("\r\n\r\n").unwrap();
        assert_eq!(body.len(), 13);
    }

    #[test]
    fn messages_differ_by_connection_and_trip() {
        assert_ne!(message(1, 2), message(2, 1));
        assert_ne!(message(1, 1), message(1, 2));
    }
}
