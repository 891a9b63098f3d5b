//! Sockets.
//!
//! Calls on sockets are tried with `MSG_DONTWAIT`, which concerns the one call only: `O_NONBLOCK` belongs to the open file
//! description, which other threads and other processes may share, and stays as it is, with one exception (`connect`). What a
//! program asked for holds: its `O_NONBLOCK`, its `MSG_DONTWAIT`, its time-outs.
//!
//! | File | Subject |
//! |---|---|
//! | `receive` | `recv`, `recvfrom`, `recvmsg` |
//! | `send` | `send`, `sendto`, `sendmsg` |
//! | `batch` | `recvmmsg`, `sendmmsg` |
//! | `accept`, `connect` | connections |
//! | `options` | `setsockopt` and `shutdown`, as far as they change how calls wait |

pub(crate) mod accept;
pub(crate) mod batch;
pub(crate) mod connect;
pub(crate) mod options;
pub(crate) mod receive;
pub(crate) mod send;
