//! What is known of a socket, in the 32 bits that the netpoller keeps for each, and forgets when its number changes hands.
//!
//! ```text
//!   duplicates (16 bits) | … | receives no more | non-blocking | base | stream | made
//! ```
//! The mode of a socket that has duplicates is theirs together, and kept by [`super::duplicates`] under the number that the upper
//! half says.

use super::{duplicates, system};
use gort_rt::hook::{self, Stamp};
use windows_sys::Win32::Networking::WinSock::SOCKET;

/// Made by a hooked call: its mode is known.
const MADE: u32 = 1;
/// It carries bytes, not messages.
const STREAM: u32 = 2;
/// The driver knows it by its own handle.
const BASE: u32 = 4;
/// In non-blocking mode.
pub(super) const NONBLOCKING: u32 = 8;
/// Receiving was shut down.
pub(super) const DEAF: u32 = 16;
/// What all duplicates have in common.
pub(super) const MODE: u32 = NONBLOCKING | DEAF;
const DUPLICATES: u32 = 16;

/// The number under which the mode of a socket's duplicates is kept; 0: it has none.
pub(super) fn duplicates_of(bits: u32) -> u32 {
    bits >> DUPLICATES
}

/// A socket whose mode is known.
#[derive(Clone, Copy)]
pub(super) struct Known {
    pub(super) handle: SOCKET,
    pub(super) record: hook::Socket,
    pub(super) stamp: Stamp,
    bits: u32,
}

impl Known {
    /// What is known of a socket. None: nothing.
    #[inline]
    pub(super) fn of(handle: SOCKET) -> Option<Known> {
        let record = hook::socket(handle)?;
        let (stamp, bits) = record.facts();
        (bits & MADE != 0).then_some(Known { handle, record, stamp, bits })
    }

    /// A hooked call has made this socket, in this mode.
    pub(super) fn made(handle: SOCKET, stream: bool, mode: u32) {
        begin(handle, MADE | if stream { STREAM } else { 0 } | mode & MODE);
    }

    /// The same, of a duplicate.
    pub(super) fn duplicated(handle: SOCKET, stream: bool, number: u32) {
        begin(handle, MADE | if stream { STREAM } else { 0 } | number << DUPLICATES);
    }

    pub(super) fn is_stream(&self) -> bool {
        self.bits & STREAM != 0
    }

    /// The mode, as it is now.
    pub(super) fn mode(&self) -> u32 {
        let (stamp, bits) = self.record.facts();
        match duplicates_of(bits) {
            _ if stamp != self.stamp => self.bits & MODE,
            0 => bits & MODE,
            number => duplicates::mode(number),
        }
    }

    pub(super) fn is_nonblocking(&self) -> bool {
        self.mode() & NONBLOCKING != 0
    }

    /// The number under which its mode is kept together with that of its duplicates; 0: it has none.
    pub(super) fn duplicates(&self) -> u32 {
        duplicates_of(self.bits)
    }

    /// The mode has changed.
    pub(super) fn change_mode(&self, clear: u32, set: u32) {
        match duplicates_of(self.bits) {
            0 => self.record.change_facts(self.stamp, clear, set),
            number => duplicates::change_mode(number, clear, set),
        }
    }

    /// The number under which its mode is kept together with that of a duplicate that is being made. None: there is no room, and
    /// nothing is known of the socket any more.
    pub(super) fn share(&self) -> Option<u32> {
        match duplicates_of(self.bits) {
            0 => match duplicates::begin(self.bits & MODE) {
                Some(number) => {
                    self.record.change_facts(self.stamp, MODE, number << DUPLICATES);
                    Some(number)
                }
                None => {
                    self.forget();
                    None
                }
            },
            number => {
                duplicates::join(number);
                Some(number)
            }
        }
    }

    /// Nothing is known of the socket any more.
    pub(super) fn forget(&self) {
        self.record.change_facts(self.stamp, MADE, 0);
    }

    /// The handle by which the driver knows it. None: not known.
    pub(super) fn base(&self) -> Option<SOCKET> {
        if self.bits & BASE != 0 {
            return Some(self.handle);
        }
        let base = system::base(self.handle)?;
        if base == self.handle {
            self.record.change_facts(self.stamp, 0, BASE);
        }
        Some(base)
    }
}

/// A socket was made: what was known of its number is of another.
fn begin(handle: SOCKET, bits: u32) {
    duplicates::leave(duplicates_of(hook::opened(handle)));
    if bits & MADE != 0 {
        if let Some(record) = hook::socket(handle) {
            let (stamp, _) = record.facts();
            record.change_facts(stamp, u32::MAX, bits);
        }
    }
}

/// A hooked call has made this socket, of which nothing else is known.
pub(super) fn begin_unknown(handle: SOCKET) {
    begin(handle, 0);
}

/// This socket is about to be closed.
pub(super) fn end(handle: SOCKET) {
    duplicates::leave(duplicates_of(hook::closing(handle)));
}
