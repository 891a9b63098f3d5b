//! An HTTP/1.1 server's connection on any stream: `httparse` and nothing else.
//!
//! | Request | Answer |
//! |---|---|
//! | `GET /square/N` | the square of N, in decimal |
//! | `GET /bytes/SEED/LENGTH` | [`mark::bytes`] |
//! | `POST /echo` | the body |
//! | anything else | 404 |

use crate::mark;
use std::io::{self, ErrorKind, Read, Write};

/// The longest head of a request, in bytes.
const LONGEST_HEAD: usize = 16 << 10;

/// What is needed of a request.
struct Request {
    method: String,
    path: String,
    length: usize,
    keep: bool,
    expects: bool,
    /// Bytes of the head.
    head: usize,
}

/// Serves requests until the client wants no more.
///
/// # Errors
/// The stream failed, or what came was no request.
pub fn serve(mut stream: impl Read + Write) -> io::Result<()> {
    let mut input = Vec::new();
    loop {
        let Some(request) = read_head(&mut stream, &mut input)? else { return Ok(()) };
        if request.expects {
            stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
            stream.flush()?;
        }
        let end = request.head + request.length;
        while input.len() < end {
            if read_some(&mut stream, &mut input)? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
        let answer = answer(&request, &input[request.head..end]);
        input.drain(..end);
        let (status, body) = match answer {
            Some(body) => ("200 OK", body),
            None => ("404 Not Found", b"there is no such thing".to_vec()),
        };
        let keep = if request.keep { "keep-alive" } else { "close" };
        let length = body.len();
        let mut output =
            format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: {keep}\r\n\r\n").into_bytes();
        output.extend_from_slice(&body);
        stream.write_all(&output)?;
        stream.flush()?;
        if !request.keep {
            return Ok(());
        }
    }
}

fn read_some(stream: &mut impl Read, input: &mut Vec<u8>) -> io::Result<usize> {
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(n) => {
                input.extend_from_slice(&buffer[..n]);
                return Ok(n);
            }
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

/// The next request's head; `None` at the end of the stream.
fn read_head(stream: &mut impl Read, input: &mut Vec<u8>) -> io::Result<Option<Request>> {
    loop {
        if let Some(request) = parse(input)? {
            return Ok(Some(request));
        }
        if input.len() > LONGEST_HEAD {
            return Err(ErrorKind::InvalidData.into());
        }
        if read_some(stream, input)? == 0 {
            return if input.is_empty() { Ok(None) } else { Err(ErrorKind::UnexpectedEof.into()) };
        }
    }
}

fn parse(input: &[u8]) -> io::Result<Option<Request>> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut parsed = httparse::Request::new(&mut headers);
    let head = match parsed.parse(input).map_err(|e| io::Error::new(ErrorKind::InvalidData, e))? {
        httparse::Status::Complete(head) => head,
        httparse::Status::Partial => return Ok(None),
    };
    let find = |name: &str| {
        let header = parsed.headers.iter().find(|h| h.name.eq_ignore_ascii_case(name));
        header.map(|h| String::from_utf8_lossy(h.value).to_ascii_lowercase())
    };
    let length = match find("content-length") {
        Some(text) => text.trim().parse().map_err(|e| io::Error::new(ErrorKind::InvalidData, e))?,
        None => 0,
    };
    Ok(Some(Request {
        method: parsed.method.unwrap_or_default().into(),
        path: parsed.path.unwrap_or_default().into(),
        length,
        keep: find("connection").is_none_or(|text| text != "close"),
        expects: find("expect").is_some_and(|text| text == "100-continue"),
        head,
    }))
}

fn answer(request: &Request, body: &[u8]) -> Option<Vec<u8>> {
    let mut parts = request.path.strip_prefix('/')?.split('/');
    match (request.method.as_str(), parts.next()?) {
        ("GET", "square") => {
            let n: u64 = parts.next()?.parse().ok()?;
            Some((n * n).to_string().into_bytes())
        }
        ("GET", "bytes") => {
            let seed = parts.next()?.parse().ok()?;
            Some(mark::bytes(seed, parts.next()?.parse().ok()?))
        }
        ("POST", "echo") => Some(body.to_vec()),
        _ => None,
    }
}
