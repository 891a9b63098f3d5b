//! The load of the network rows, where there is none: it waits by epoll, which Linux has. Those rows are not run.

use crate::rows::Measured;
use std::net::SocketAddr;

const WHY: &str = "the load needs epoll";

/// There is nothing to be made sure of.
pub fn prepare(_row: &str) -> Result<(), String> {
    Ok(())
}

/// There is no load to put on the server.
pub fn drive(_row: &str, _address: SocketAddr) -> Measured {
    Err(WHY.into())
}

/// The load process has nothing to do.
pub fn run(_args: &[String]) -> Result<(), String> {
    Err(WHY.into())
}
