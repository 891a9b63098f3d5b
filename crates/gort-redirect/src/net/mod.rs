//! Sockets.
//!
//! The system has no call that is non-blocking for once, and a socket's mode is shared: with its duplicates, with other modules, which
//! are not redirected, and with other processes. So a socket stays in the mode that the program has put it in. A call on one in
//! blocking mode asks first whether the socket is ready (`select`, without waiting); if not, the goroutine parks until the
//! driver says that it is. Then the system's own call is made, declared as one that may block: it does if somebody else was
//! faster, which of goroutines only one at a time can be (see `hook::Turn`). What it returns is the call's result, with one
//! exception: much to send in a stream is sent in pieces.
//!
//! * Where the call would fail at once, as on a socket that is not connected, it is made at once (`ready::fails_at_once`).
//! * On a socket in non-blocking mode every call is the system's. The mode cannot be asked for: it is known of sockets that were
//!   made by this module's calls and of their duplicates in this process (`known`). With all others, and with options other
//!   than `MSG_PEEK`, the system's call is made, declared as blocking.
//! * `SO_RCVTIMEO` and `SO_SNDTIMEO` are asked for when there is something to wait for. As with the system's own functions, `accept`
//!   and `connect` have no time-out.
//!
//! Not redirected are `WSAPoll`, `WSAConnect`, `WSAAccept`, names of hosts, and calls with an `OVERLAPPED`, which do not wait.
//! What another module does to a socket of this one (its mode, say) is not known here.
//!
//! | File | Subject |
//! |---|---|
//! | `receive`, `send` | data |
//! | `accept`, `connect` | connections |
//! | `select` | waiting for one socket, as std's `connect_timeout` does |
//! | `life`, `mode` | sockets that are made, duplicated, closed; how their calls wait |
//! | `known`, `duplicates` | what is known of a socket |
//! | `ready` | asking whether a socket is ready, and parking until it is |
//! | `system` | functions of the system's that must not lead back here |

pub(crate) mod accept;
pub(crate) mod connect;
mod duplicates;
mod known;
pub(crate) mod life;
pub(crate) mod mode;
mod ready;
pub(crate) mod receive;
pub(crate) mod select;
pub(crate) mod send;
mod system;
