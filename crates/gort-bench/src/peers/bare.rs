//! No runtime and no scheduler: the bare system calls of a row on one thread. It is the floor below the other figures.

use crate::measure::per_op;
use crate::os::{receive, send, use_cpus};
use crate::rows::net::{pair, trips};
use crate::rows::Measured;
use crate::wire::MESSAGE;

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
