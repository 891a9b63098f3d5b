//! The netpoller on Windows: goroutines that wait for sockets.
//!
//! A socket that may be waited for is in blocking mode, and stays so: its mode is shared with other threads, modules and
//! processes, and the system has no call that is non-blocking for once. So whoever wants something of a socket asks whether it
//! is ready, makes the system's call only then, and otherwise waits here. The call cannot wait if nobody has been faster;
//! that no other goroutine is, is seen to by *turns*: of those that read from a socket (or write to it) one has the turn, asks,
//! waits and calls, and the others wait for the turn. (A kernel thread that uses the same socket may be faster. Then the call
//! waits in the system, declared as blocking.)
//!
//! | File | Subject |
//! |---|---|
//! | `desc`, `table` | what is known of a socket; where. A socket's number is its handle by four |
//! | `turn` | whose turn it is |
//! | `events` | from answers to runnable goroutines |
//!
//! The sockets are asked about by polls of the driver's (`os::afd`), which answer to a completion port, in which an idle M sleeps.
//! No crate does this here: `mio` and `polling` wait in a loop of their own by std's locks, which park goroutines, in the middle
//! of parking one.
//!
//! # Why a wake-up is not lost
//! Each side of a socket has one question, and each wait asks it anew. The driver answers a question at once if the socket is ready
//! when it is asked, and else when it becomes ready: so no moment is left between an attempt and the wait.
//!
//! ```text
//!   goroutine that has the turn                whoever polls
//!   lock the side, ask, note the ticket        take an answer from the port
//!   unlock, park                               lock the side, claim the ticket, unlock
//! ```
//! The answer may come before the ticket is noted, but is looked at under the lock.
//!
//! A wait that ends otherwise (its time is over, the socket is closed) takes its question back. The next wait may find that it is
//! not answered yet. Then it does not ask, but waits for that answer, which comes soon and is told as [`Waited::Again`], and its
//! caller begins anew. So an answer to a question about a socket that had the number before is never taken for another's.
//!
//! What does not make a socket ready and yet concerns who waits for it, such as that receiving was shut down here, is announced by
//! [`look_again`], after it has been made so. That counts. Who is about to wait has sampled the count ([`Turn::look`]) before
//! it looked at the socket, and does not wait if it has changed when it has the lock; from then on it is woken.
//!
//! # Numbers change hands
//! `opened` and `closing`, called by the hooks of calls that make and close sockets, begin a new generation: facts are forgotten, and
//! whoever waits, for the socket or for the turn, is woken with [`Waited::Closed`]. A wait compares the generation under the lock.
//! A socket that is closed behind the hooks, by another module, has the driver answer.

mod desc;
mod events;
#[path = "../table.rs"]
mod table;
mod turn;

pub(crate) use events::{anybody_waits, close, in_use, interrupt, looks, poll, wait_for_events, Room, ROOM};
pub use turn::Turn;

use crate::debug::why::Why;
use crate::sched::global::Batch;
use crate::sched::wake;
use core::ffi::c_int;
use desc::Desc;

/// What a goroutine wants to do with a socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Interest {
    /// Receive, accept, or learn of the end.
    Read = 0,
    /// Send, or learn that a connection was made.
    Write = 1,
}

/// How a wait ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Waited {
    /// The socket was ready.
    Ready,
    /// Perhaps nothing has happened: to be looked at again.
    Again,
    /// The deadline has passed.
    TimedOut,
    /// The socket was closed meanwhile.
    Closed,
    /// It cannot be waited for: no socket of the driver's, or no memory.
    Unpollable,
}

/// Which socket a number stood for when it was asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stamp(u32);

/// A socket's number and what is known of it.
#[derive(Clone, Copy)]
pub struct Socket {
    number: c_int,
    desc: &'static Desc,
}

/// The number under which a handle's record is. (Handles are multiples of four.)
fn number(handle: usize) -> Option<c_int> {
    handle.is_multiple_of(4).then(|| c_int::try_from(handle / 4).ok()).flatten()
}

/// The record of a socket. None: its handle is out of range, or there is no memory for a record.
#[inline]
pub fn socket(handle: usize) -> Option<Socket> {
    let number = number(handle)?;
    table::get(number).map(|desc| Socket { number, desc })
}

impl Socket {
    /// What is known of the socket behind the number, and its stamp; 0: nothing.
    #[inline]
    pub fn facts(self) -> (Stamp, u32) {
        let (generation, bits) = self.desc.facts();
        (Stamp(generation), bits)
    }

    /// Takes `clear` out of what is known of the socket that had `stamp`, and puts `set` in. Forgotten when the number is
    /// opened or closed through a hook.
    pub fn change_facts(self, stamp: Stamp, clear: u32, set: u32) {
        self.desc.change_facts(stamp.0, clear, set);
    }

    /// What a goroutine waits for that waits for this.
    fn why(self, interest: Interest) -> Why {
        match interest {
            Interest::Read => Why::read(self.number.wrapping_mul(4)),
            Interest::Write => Why::write(self.number.wrapping_mul(4)),
        }
    }
}

/// A hooked call has made this socket: what was known of its number is of another, and is returned.
pub fn opened(handle: usize) -> u32 {
    change_hands(handle)
}

/// This socket is about to be closed: who waits for it is woken with [`Waited::Closed`]. What was known of it.
pub fn closing(handle: usize) -> u32 {
    change_hands(handle)
}

fn change_hands(handle: usize) -> u32 {
    let Some(desc) = number(handle).and_then(table::find).filter(|desc| !desc.is_untouched()) else { return 0 };
    let (_, facts) = desc.facts();
    desc.next_generation();
    let mut runnable = Batch::new();
    for side in desc.sides() {
        if side.close(&mut runnable) {
            events::take_back(side);
        }
        turn::disturb(side);
    }
    make_ready(runnable);
    facts
}

/// Has goroutines that wait for this socket, or are about to, look again at what the caller has changed.
pub fn look_again(handle: usize) {
    if let Some(desc) = number(handle).and_then(table::find) {
        look_again_at(desc);
    }
}

/// The same for all sockets of which `chosen` says yes, by what is known of them.
pub fn look_again_where(chosen: impl Fn(u32) -> bool) {
    table::for_each(|_, desc| {
        if chosen(desc.facts().1) {
            look_again_at(desc);
        }
    });
}

fn look_again_at(desc: &'static Desc) {
    let mut runnable = Batch::new();
    for side in desc.sides() {
        if side.call(&mut runnable) {
            events::take_back(side);
        }
    }
    make_ready(runnable);
}

/// Nothing to do: a wait needs no looking after.
pub(crate) fn revalidate() -> bool {
    false
}

/// Gives the records of all sockets back.
///
/// # Safety
/// Nobody waits, nothing is asked, and no function of this module is called any more.
pub(crate) unsafe fn unload() {
    // SAFETY: the caller's promise, passed on.
    unsafe { table::unload() };
}

/// Makes goroutines runnable whose waits were claimed.
fn make_ready(mut runnable: Batch) {
    while let Some(task) = runnable.pop() {
        wake::ready(task, false);
    }
}

#[cfg(test)]
mod tests;
