//! Whose turn it is to read from a socket, or to write to it; and that goroutine's wait for the socket.
//!
//! A mutex on which goroutines park, in one word: `FREE`, `HELD`, or `CONTENDED` = held, and somebody may wait. The last waits in
//! the futex table under the word's address until it is told that the turn is free, and takes it as contended then. Who was told
//! and does not take it, since the socket has been closed, passes that on.

use super::desc::Side;
use super::{events, Interest, Socket, Stamp, Waited};
use crate::atomic::{AtomicU32, Ordering};
use crate::chaos::{happens, Whim};
use crate::os::afd;
use crate::sched;
use crate::sync::futex::{self, Wait};
use crate::time;
use core::ptr;

const FREE: u32 = 0;
const HELD: u32 = 1;
const CONTENDED: u32 = 2;

/// The turn of the calling goroutine, until it is dropped.
pub struct Turn {
    socket: Socket,
    interest: Interest,
    stamp: Stamp,
    /// The side's calls when the socket was last looked at.
    calls: u32,
}

fn key(turn: &AtomicU32) -> usize {
    ptr::from_ref(turn).addr()
}

/// Wakes all who wait for the turn: the socket has changed.
pub(super) fn disturb(side: &Side) {
    if side.turn.load(Ordering::SeqCst) == CONTENDED {
        futex::wake(key(&side.turn), u32::MAX, u32::MAX);
    }
}

impl Socket {
    /// Waits for the turn, as long as `stamp` is the socket's, or until `deadline` (nanoseconds of the monotonic clock), which is
    /// asked if there is anything to wait for. The error says how else the wait ended.
    #[inline]
    pub fn turn(
        self,
        interest: Interest,
        stamp: Stamp,
        deadline: impl FnOnce() -> Option<u64>,
    ) -> Result<Turn, Waited> {
        let word = &self.desc.side(interest).turn;
        if word.compare_exchange(FREE, HELD, Ordering::SeqCst, Ordering::Relaxed).is_err() {
            self.wait_for_turn(interest, stamp, deadline())?;
        }
        Ok(Turn { socket: self, interest, stamp, calls: self.desc.side(interest).calls() })
    }

    #[cold]
    fn wait_for_turn(self, interest: Interest, stamp: Stamp, deadline: Option<u64>) -> Result<(), Waited> {
        let word = &self.desc.side(interest).turn;
        let Some(g) = sched::parkable() else { return Err(Waited::Unpollable) };
        while word.swap(CONTENDED, Ordering::SeqCst) != FREE {
            let changed = || self.desc.generation() != stamp.0;
            let moved = || word.load(Ordering::SeqCst) != CONTENDED || changed();
            let why = self.why(interest);
            let wait = futex::wait_unless(g, why, key(word), u32::MAX, deadline, moved, || true);
            if changed() {
                futex::wake(key(word), 1, u32::MAX);
                return Err(Waited::Closed);
            }
            if wait == Wait::TimedOut {
                return Err(Waited::TimedOut);
            }
        }
        Ok(())
    }
}

impl Turn {
    /// To be called before the socket is looked at, if a wait may follow.
    pub fn look(&mut self) {
        self.calls = self.socket.desc.side(self.interest).calls();
    }

    /// Parks the goroutine until the socket is ready, or until `deadline`, unless it was to look again since it last did. `base` is the handle by which the driver knows the
    /// socket.
    pub fn wait(&mut self, base: usize, deadline: Option<u64>) -> Waited {
        let Some(g) = sched::parkable() else { return Waited::Unpollable };
        let desc = self.socket.desc;
        let side = desc.side(self.interest);
        let ticket = g.arm(self.socket.why(self.interest));
        let refused = {
            let mut state = side.state.lock();
            if desc.generation() != self.stamp.0 {
                Some(Waited::Closed)
            } else if side.calls() != self.calls {
                Some(Waited::Again)
            } else if state.asked || self.ask(side, base) {
                state.begin(side, ticket);
                None
            } else {
                Some(Waited::Unpollable)
            }
        };
        if let Some(refused) = refused {
            g.disarm();
            return refused;
        }
        let mut otherwise = Waited::Again;
        if happens(Whim::Event, None) {
            g.disarm(); // or somebody has claimed it: the outcome tells
        } else {
            let timer = deadline.map(|when| time::set(g, ticket, when));
            if sched::park(g) {
                otherwise = Waited::TimedOut;
            } else if let Some(timer) = timer {
                timer.woken_early();
            }
        }
        let (outcome, is_open) = side.state.lock().end(side);
        if is_open {
            events::take_back(side);
        }
        outcome.unwrap_or(otherwise)
    }

    /// Under the side's lock.
    fn ask(&self, side: &'static Side, base: usize) -> bool {
        let events = match self.interest {
            Interest::Read => afd::READING,
            Interest::Write => afd::WRITING,
        };
        !happens(Whim::Register, None) && events::ask(side, base, events).is_ok()
    }
}

impl Drop for Turn {
    #[inline]
    fn drop(&mut self) {
        let word = &self.socket.desc.side(self.interest).turn;
        if word.swap(FREE, Ordering::SeqCst) == CONTENDED {
            futex::wake(key(word), 1, u32::MAX);
        }
    }
}
