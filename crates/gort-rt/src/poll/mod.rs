//! The netpoller: goroutines that wait for descriptors.
//!
//! A call that would block is tried without blocking first; a goroutine waits here only after a try has found nothing. The
//! kernel is asked once per descriptor: at its first wait a descriptor is registered with epoll, for every *change* of its
//! readiness (edge-triggered), and stays registered until it is closed. No wait costs an `epoll_ctl`.
//!
//! | File | Subject |
//! |---|---|
//! | `desc`, `table` | what is known of a descriptor number; where |
//! | `events` | from the kernel's events to runnable goroutines; who polls when |
//!
//! # Why a wake-up is not lost
//! Each record counts the changes that were reported, for reading and for writing.
//!
//! ```text
//!   goroutine                                     whoever polls
//!   sample the count                              epoll_wait reports a change
//!   try the call: EAGAIN                          lock the record
//!   lock the record                               count it
//!   count as sampled ?  no: try again             take a node out, claim its ticket
//!   register, if that was not done                unlock
//!   arm, queue a node, unlock
//!   park
//! ```
//! A change that makes the call succeed comes after the try. If it is reported before the goroutine has the lock, the count
//! differs and the goroutine tries again; if after, the node is there. Before the registration the kernel reports nothing,
//! but registering a descriptor that is ready reports it. So some report follows every change that a try did not see.
//!
//! # One event, several waiters
//! An event wakes one of those that read (or write) themselves; each of them, when its call has succeeded, wakes the next
//! ([`Attempt::finish`]), until one finds nothing. Those that only want to know (`poll`, `select`) do not consume anything,
//! so an event wakes all of them beside the one. The end of a stream and errors wake everybody, and the record remembers
//! that it must not conclude from the count that a try is in vain.
//!
//! # Numbers change hands
//! `opened` and `closing`, called by the hooks of calls that make and close descriptors, begin a new generation: facts are
//! forgotten, waiters are woken, the registration ends. Events carry the generation and are ignored if it has passed. A
//! descriptor that was closed and opened again behind the hooks keeps a record that is wrong about its registration, so
//! nobody would be woken: once per wait that lasts longer than a second, sysmon registers the descriptor if it is not, which
//! makes the kernel report it if it is ready ([`events::revalidate`]).
//!
//! Known limit: a signal handler that closes the very number whose record the code that it interrupted has locked waits for
//! itself. (That code is in the middle of a wait for a descriptor that its own thread closes.)

mod desc;
mod events;
mod table;

pub(crate) use events::{
    anybody_waits, close, in_use, interrupt, looks, poll, revalidate, wait_for_events, Room, ROOM,
};

use crate::chaos::{happens, Whim};
use crate::debug::why::Why;
use crate::fork;
use crate::sched;
use crate::sched::g::{Ticket, G};
use crate::sched::global::Batch;
use crate::sched::wake;
use crate::time;
use core::ffi::c_int;
use desc::{Desc, Node};

/// What a goroutine wants to do with a descriptor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Interest {
    /// Receive, accept, or learn of the end.
    Read = 0,
    /// Send, or learn that a connection was made.
    Write = 1,
}

/// How a wait for a descriptor ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Waited {
    /// The descriptor may be ready, or chaos says that it may: try again.
    Ready,
    /// The deadline has passed.
    TimedOut,
    /// The descriptor was closed meanwhile.
    Closed,
    /// The descriptor cannot be waited for: a regular file, no descriptor at all, or no memory.
    Unpollable,
}

/// Which file a descriptor number stood for when it was asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stamp(u32);

/// A descriptor number and what is known of it.
#[derive(Clone, Copy)]
pub struct Descriptor {
    fd: c_int,
    desc: &'static Desc,
}

/// The record of a number. None: it is out of range, or there is no memory for a record.
#[inline]
pub fn descriptor(fd: c_int) -> Option<Descriptor> {
    table::get(fd).map(|desc| Descriptor { fd, desc })
}

impl Descriptor {
    /// Samples the readiness; to be called before the call itself is tried.
    #[inline]
    pub fn attempt(self, interest: Interest) -> Attempt {
        Attempt { of: self, interest, changes: self.desc.changes(interest), woken: false, node: Node::new() }
    }

    /// What was said by [`Descriptor::set_facts`] of the file behind the number, and the stamp of that file; 0: nothing.
    #[inline]
    pub fn facts(self) -> (Stamp, u32) {
        let (generation, bits) = self.desc.facts();
        (Stamp(generation), bits)
    }

    /// Says something of the file that had `stamp`. Forgotten when the number is opened or closed through a hook.
    pub fn set_facts(self, stamp: Stamp, bits: u32) {
        self.desc.set_facts(stamp.0, bits);
    }
}

/// A try of a call, from the sample before it to its success. Does not move while its goroutine waits: it holds the node.
pub struct Attempt {
    of: Descriptor,
    interest: Interest,
    changes: u32,
    /// A change for this attempt alone woke it: to be passed on.
    woken: bool,
    node: Node,
}

impl Attempt {
    /// Whether an earlier try left nothing and no change was reported since: waiting without a try loses nothing.
    #[inline]
    pub fn is_spent(&self) -> bool {
        self.of.desc.is_spent(self.interest, self.changes)
    }

    /// The try found nothing, or less than it could have taken of a stream: only a change brings more.
    #[inline]
    pub fn spent(&self) {
        self.of.desc.set_spent(self.interest, self.changes);
    }

    /// Parks the goroutine until something may have changed since the sample, or until `deadline` (nanoseconds of the
    /// monotonic clock), and samples again. Where the caller may not park: [`Waited::Unpollable`].
    pub fn wait(&mut self, deadline: Option<u64>) -> Waited {
        wait_for(core::slice::from_mut(self), deadline, true)
    }

    /// As [`Attempt::wait`], for one who only wants to know: an event that ends this wait serves others too.
    pub(crate) fn wait_with_others(&mut self, deadline: Option<u64>) -> Waited {
        wait_for(core::slice::from_mut(self), deadline, false)
    }

    /// The call is over, for better or worse: passes a wake-up on, if others wait for the same.
    #[inline]
    pub fn finish(self) {
        if self.woken && self.of.desc.has_waiters() {
            let mut runnable = Batch::new();
            let mut state = self.of.desc.state.lock();
            self.of.desc.wake(&mut state, self.interest, false, Waited::Ready, &mut runnable);
            drop(state);
            make_ready(runnable);
        }
    }

    fn sample(&mut self) {
        self.changes = self.of.desc.changes(self.interest);
    }

    /// Queues the node, unless something changed or the descriptor cannot be registered.
    fn queue(&self, ticket: Ticket, exclusive: bool) -> Result<(), Waited> {
        let Descriptor { fd, desc } = self.of;
        let mut state = desc.state.lock();
        if desc.changes(self.interest) != self.changes {
            return Err(Waited::Ready);
        }
        if !state.registered {
            events::register(fd, desc).map_err(|()| Waited::Unpollable)?;
            state.registered = true;
        }
        if !desc.has_waiters() || state.since == 0 {
            state.since = events::tick();
        }
        // SAFETY: `wait_on` takes it out before it returns, and holds the attempt until then.
        unsafe { desc.push(&mut state, self.interest, &self.node, ticket, exclusive) };
        Ok(())
    }

    /// Takes the node out if it is in, and says how its wait ended.
    fn unqueue(&mut self) -> Option<Waited> {
        let desc = self.of.desc;
        let mut state = desc.state.lock();
        if self.node.links.is_linked() {
            // SAFETY: `queue` has put it there.
            unsafe { desc.remove(&mut state, self.interest, &self.node) };
        }
        self.node.outcome.take()
    }
}

/// Parks the goroutine until one of the attempts may succeed, or until `deadline`, and samples all of them again: what
/// `poll` and `select` wait by.
pub fn wait_any(attempts: &mut [Attempt], deadline: Option<u64>) -> Waited {
    wait_for(attempts, deadline, false)
}

fn wait_for(attempts: &mut [Attempt], deadline: Option<u64>, exclusive: bool) -> Waited {
    match sched::parkable() {
        Some(g) => wait_on(g, attempts, deadline, exclusive),
        None => Waited::Unpollable,
    }
}

fn wait_on(g: &G, attempts: &mut [Attempt], deadline: Option<u64>, exclusive: bool) -> Waited {
    let ticket = g.arm(reason(attempts));
    let mut queued = 0;
    let mut result = Waited::Ready;
    let all = attempts.iter().try_for_each(|attempt| {
        attempt.queue(ticket, exclusive)?;
        queued += 1;
        Ok(())
    });
    match all {
        Ok(()) if happens(Whim::Event, None) => {
            g.disarm(); // as below
        }
        Ok(()) => {
            let timer = deadline.map(|when| time::set(g, ticket, when));
            if sched::park(g) {
                result = Waited::TimedOut;
            } else if let Some(timer) = timer {
                timer.woken_early();
            }
        }
        Err(why) => {
            g.disarm(); // or somebody has claimed it: the nodes tell
            result = why;
        }
    }
    for attempt in &mut attempts[..queued] {
        match attempt.unqueue() {
            Some(Waited::Closed) => result = Waited::Closed,
            // An event was spent on this one, even if the timer was first.
            Some(_) => {
                attempt.woken = exclusive;
                if result == Waited::TimedOut {
                    result = Waited::Ready;
                }
            }
            None => {}
        }
    }
    attempts.iter_mut().for_each(Attempt::sample);
    result
}

/// What a goroutine waits for that waits on these attempts.
fn reason(attempts: &[Attempt]) -> Why {
    match attempts {
        [one] => match one.interest {
            Interest::Read => Why::read(one.of.fd),
            Interest::Write => Why::write(one.of.fd),
        },
        all => Why::any(all.first().map_or(-1, |first| first.of.fd), all.len()),
    }
}

/// A hooked call has made this number: what was known of it is of another file.
pub fn opened(fd: c_int) {
    change_hands(fd, false);
}

/// The numbers that the netpoller itself uses, lowest first, negative ones unused: a program that closes whatever is open
/// must not close them.
pub fn own_descriptors() -> [c_int; 2] {
    events::own()
}

/// This number is about to be closed, or replaced: its waiters are woken with [`Waited::Closed`].
pub fn closing(fd: c_int) {
    change_hands(fd, true);
}

#[inline]
fn change_hands(fd: c_int, closing: bool) {
    match table::find(fd) {
        Some(desc) if !desc.is_untouched() => forget(fd, desc, closing),
        _ => {}
    }
}

#[cold]
fn forget(fd: c_int, desc: &Desc, closing: bool) {
    if fork::is_child() {
        return; // the epoll set is the parent's
    }
    let mut runnable = Batch::new();
    let mut state = desc.state.lock();
    if closing && state.registered {
        events::unregister(fd);
    }
    let outcome = if closing { Waited::Closed } else { Waited::Ready };
    desc.forget(&mut state, outcome, &mut runnable);
    drop(state);
    make_ready(runnable);
}

/// Gives the records of all descriptors back.
///
/// # Safety
/// Nobody waits, and no function of this module is called any more.
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
