//! No runtime and no scheduler: the bare system calls of a row on one thread. It is the floor below the other figures.

use super::use_cpus;
use crate::measure::per_op;
use crate::rows::net::{pair, trips};
use crate::rows::Measured;
use crate::wire::MESSAGE;
use std::io;
use std::net::TcpStream;
use std::os::fd::AsRawFd;

/// Runs one row.
pub fn run(row: &str, procs: usize) -> Measured {
    use_cpus(procs);
    match row {
        "tcp_rtt" => Ok(vec![round_trip()]),
        _ => Err("no such row".into()),
    }
}

/// Nanoseconds to send and receive a message at one end of a connection and then at the other. Nobody waits: on loopback what was
/// sent is there.
fn round_trip() -> f64 {
    per_op(|n| {
        let (near, far) = pair();
        let mut there = [0; MESSAGE];
        trips(n, |message, answer| {
            send(&near, message);
            receive(&far, &mut there);
            send(&far, &there);
            receive(&near, answer);
        })
    })
}

/// Sends a message by one system call.
fn send(stream: &TcpStream, message: &[u8; MESSAGE]) {
    // SAFETY: the descriptor is open, and the kernel reads just the array, whose length is given.
    let sent = unsafe { libc::send(stream.as_raw_fd(), message.as_ptr().cast(), MESSAGE, 0) };
    assert_eq!(sent, MESSAGE as isize, "send: {}", io::Error::last_os_error());
}

/// Receives a message by one system call.
fn receive(stream: &TcpStream, message: &mut [u8; MESSAGE]) {
    // SAFETY: the descriptor is open, and the kernel writes just the array, whose length is given.
    let received = unsafe { libc::recv(stream.as_raw_fd(), message.as_mut_ptr().cast(), MESSAGE, 0) };
    assert_eq!(received, MESSAGE as isize, "recv: {}", io::Error::last_os_error());
}
