//! Whether a socket is ready, and parking until it is.

use super::known::{Known, DEAF, NONBLOCKING};
use super::system;
use core::ptr;
use gort_rt::hook::{self, Interest, Turn, Waited};
use windows_sys::Win32::Networking::WinSock::{
    FD_SET, SOCKET, SO_RCVTIMEO, SO_SNDTIMEO, TIMEVAL, WSAEINTR, WSAETIMEDOUT,
};

/// A set of one socket, as `select` takes it.
#[repr(C)]
struct One {
    count: u32,
    socket: SOCKET,
}

/// Asks whether a socket is ready, and waits for no longer than `time` for it; null: for ever. Errors count as readiness: the call
/// itself will say.
pub(super) fn select_one(socket: SOCKET, interest: Interest, time: *const TIMEVAL) -> bool {
    let mut sets = [One { count: 1, socket }, One { count: 1, socket }];
    let [one, other] = sets.each_mut().map(|set| ptr::from_mut(set).cast::<FD_SET>());
    // SAFETY: the system looks at as many sockets as a set says that it has.
    let found = unsafe {
        match interest {
            Interest::Read => system::select(0, one, ptr::null_mut(), ptr::null_mut(), time),
            // The failure of a connection is told as an exception.
            Interest::Write => system::select(0, ptr::null_mut(), one, other, time),
        }
    };
    found != 0
}

fn is_ready(socket: SOCKET, interest: Interest) -> bool {
    select_one(socket, interest, &TIMEVAL { tv_sec: 0, tv_usec: 0 })
}

/// When the socket's own time-out is over.
pub(super) fn own_deadline(socket: SOCKET, interest: Interest) -> Option<u64> {
    let name = match interest {
        Interest::Read => SO_RCVTIMEO,
        Interest::Write => SO_SNDTIMEO,
    };
    match system::option(socket, name) {
        None | Some(0) => None,
        Some(milliseconds) => crate::sleep::deadline(milliseconds),
    }
}

/// Whether a call that receives or sends fails at once, or does not wait for other reasons, although the socket is not ready.
pub(super) fn fails_at_once(known: &Known, interest: Interest) -> bool {
    let mode = known.mode();
    mode & NONBLOCKING != 0
        || interest == Interest::Read && mode & DEAF != 0
        || (known.is_stream() && !system::is_named(known.handle, true))
        || (!known.is_stream() && interest == Interest::Read && !system::is_named(known.handle, false))
}

/// How a wait ended without the call's being made.
pub(super) enum Ended {
    /// The call has this error.
    Error(i32),
    /// The call is the system's to make, however long it waits.
    InSystem,
}

/// The turn of a call on a socket, and how long it may wait.
pub(super) struct Waiter<D> {
    known: Known,
    interest: Interest,
    turn: Turn,
    /// Asked once.
    deadline: Option<Option<u64>>,
    ask_deadline: D,
}

impl<D: Fn() -> Option<u64>> Waiter<D> {
    /// Waits for the turn.
    pub(super) fn begin(known: Known, interest: Interest, ask_deadline: D) -> Result<Waiter<D>, Ended> {
        let mut deadline = None;
        let ask = || *deadline.insert(ask_deadline());
        match known.record.turn(interest, known.stamp, ask) {
            Ok(turn) => Ok(Waiter { known, interest, turn, deadline, ask_deadline }),
            Err(Waited::TimedOut) => Err(Ended::Error(WSAETIMEDOUT)),
            Err(Waited::Closed) => Err(Ended::Error(WSAEINTR)),
            Err(_) => Err(Ended::InSystem),
        }
    }

    /// Waits until the socket is ready, or `never_waits` says of a socket that is not that the call does not wait. Ok: the call is
    /// to be made now, declared as blocking. The error is the call's.
    pub(super) fn until_ready(&mut self, never_waits: impl Fn(&Known, Interest) -> bool) -> Result<(), i32> {
        loop {
            self.turn.look();
            if is_ready(self.known.handle, self.interest) || never_waits(&self.known, self.interest) {
                return Ok(());
            }
            let Some(base) = self.known.base() else { return Ok(()) };
            let deadline = *self.deadline.get_or_insert_with(&self.ask_deadline);
            match self.turn.wait(base, deadline) {
                Waited::Ready | Waited::Unpollable => return Ok(()),
                Waited::Again => {}
                Waited::TimedOut => return Err(WSAETIMEDOUT),
                Waited::Closed => return Err(WSAEINTR),
            }
        }
    }
}

/// Makes a call that receives or sends once, when the socket is ready for it.
pub(super) fn when_ready(socket: SOCKET, interest: Interest, call: impl Fn() -> i32) -> i32 {
    match Known::of(socket) {
        Some(known) if known.is_nonblocking() => call(),
        Some(known) => match Waiter::begin(known, interest, || own_deadline(socket, interest)) {
            Ok(mut waiter) => match waiter.until_ready(fails_at_once) {
                Ok(()) => system::declared(call),
                Err(error) => system::fail(error),
            },
            Err(Ended::Error(error)) => system::fail(error),
            Err(Ended::InSystem) => system::declared(call),
        },
        None => system::declared(call),
    }
}

/// The time until `deadline`, for `select`.
pub(super) fn time_until(deadline: u64) -> TIMEVAL {
    let left = deadline.saturating_sub(hook::now()).div_ceil(1000);
    TIMEVAL { tv_sec: (left / 1_000_000).min(i32::MAX as u64) as i32, tv_usec: (left % 1_000_000) as i32 }
}
