//! Finding a goroutine by its number, and what may be done with it.
//!
//! A number is one of ours if it lies on a stack of the arena. It is somebody's if the identity on that stack stands there,
//! and if that goroutine has one: goroutines of `gort::thread` have none that others may use, but may use their own.

use super::record::{Record, Refusal};
use super::{has_goroutines, record::NAME_BYTES};
use crate::arch;
use crate::fork;
use crate::identity;
use crate::sched::g::G;
use crate::sched::gfree;
use crate::stack::{self, Slot};
use crate::tls;
use core::ffi::{c_int, c_void};

/// A number of ours; perhaps of nobody any more.
#[derive(Clone, Copy)]
pub struct Numbered {
    number: usize,
    slot: Slot,
}

/// How long a join may wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Until {
    /// Not at all: `EBUSY`.
    Now,
    /// Until that moment, in nanoseconds of the monotonic clock: `ETIMEDOUT`.
    Deadline(u64),
    /// As long as it takes.
    End,
}

/// A goroutine's stack.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stack {
    /// The lowest usable byte.
    pub low: usize,
    /// Usable bytes, thread-local storage at the top included.
    pub size: usize,
    /// Bytes below `low` that fault.
    pub guard: usize,
}

/// The number of ours that `number` is; None: it is no goroutine's, so libc knows what to do with it.
///
/// Never waits; async-signal-safe.
#[inline]
pub fn find(number: libc::pthread_t) -> Option<Numbered> {
    if !has_goroutines() {
        return None;
    }
    let number = number as usize;
    let (slot, _) = stack::find(number)?;
    Some(Numbered { number, slot })
}

impl Numbered {
    /// The record in the goroutine with this number, if an identity with it exists.
    fn record(&self) -> Option<&'static Record> {
        let tp = stack::tp_of(self.slot.wait);
        if tp != identity::tp_of(self.number) {
            return None;
        }
        // SAFETY: there is an identity, so there is a G below it, in memory that is never unmapped. Should the goroutine
        // die and go cold just now, the record reads as zeroes, which are valid.
        Some(unsafe { &(*G::below(tp)).pthread })
    }

    fn open(&self) -> Option<&'static Record> {
        self.record().filter(|record| record.is_open())
    }

    /// Whether this is the caller's own number.
    pub fn is_self(&self) -> bool {
        self.number == identity::number_of(arch::thread_pointer())
    }

    /// Whether the number is somebody's: the caller's, or that of a goroutine that has not been joined yet.
    pub fn is_known(&self) -> bool {
        self.is_self() || self.open().is_some()
    }

    /// Whether nobody can join the goroutine.
    pub fn is_detached(&self) -> bool {
        self.open().is_none_or(Record::is_detached)
    }

    /// `pthread_join`: waits for the goroutine's end and returns what its start routine did; otherwise the error's number.
    pub fn join(self, until: Until) -> Result<*mut c_void, c_int> {
        let record = self.open().ok_or(libc::ESRCH)?;
        if fork::is_child() {
            return Err(libc::ESRCH); // it is the parent's
        }
        if self.is_self() && !record.is_detached() {
            return Err(libc::EDEADLK);
        }
        if until == Until::Now && !record.has_ended() {
            return Err(libc::EBUSY); // without a claim, which would refuse somebody who joins meanwhile
        }
        let deadline = match until {
            Until::Now => Some(0),
            Until::Deadline(when) => Some(when),
            Until::End => None,
        };
        record.begin_join().and_then(|()| record.await_end(self.slot.record.id(), deadline)).map_err(|refusal| {
            match refusal {
                Refusal::Nobody => libc::ESRCH,
                Refusal::Taken => libc::EINVAL,
                Refusal::Late => libc::ETIMEDOUT,
            }
        })?;
        let value = record.result();
        record.close(); // though the scheduler may not have let go yet
        self.let_go(record);
        Ok(value)
    }

    /// `pthread_detach`: 0 or the error's number.
    pub fn detach(self) -> c_int {
        let Some(record) = self.open() else { return libc::ESRCH };
        match record.detach() {
            Ok(true) => self.let_go(record),
            Ok(false) => {}
            Err(Refusal::Nobody) => return libc::ESRCH,
            Err(_) => return libc::EINVAL,
        }
        0
    }

    /// The number's hold on the body ends.
    fn let_go(self, record: &Record) {
        if record.let_go() {
            // SAFETY: the scheduler has let go before, so the goroutine is dead and nobody runs on its stack.
            unsafe { gfree::bury_from_outside(G::below(identity::tp_of(self.number))) };
        }
    }

    /// The goroutine's stack.
    pub fn stack(&self) -> Stack {
        Stack { low: self.slot.lo as usize, size: self.slot.usable(), guard: stack::GUARD }
    }

    /// The name that `pthread_setname_np` gave, with zero bytes behind it; for a goroutine of `gort::thread`, the beginning of
    /// the one that its builder gave. Empty if there is none.
    pub fn name(&self) -> [u8; NAME_BYTES] {
        match self.open() {
            Some(record) => record.name(),
            None if self.is_self() => builders_name(),
            None => [0; NAME_BYTES],
        }
    }

    /// Names the goroutine; of `name`, 15 bytes count. A goroutine of `gort::thread` keeps the name that it has.
    pub fn set_name(&self, name: &[u8]) {
        if let Some(record) = self.open() {
            record.set_name(name);
            self.slot.record.rename(&name[..name.len().min(NAME_BYTES - 1)], self.slot.name());
        }
    }
}

/// The name that the running goroutine's builder gave.
fn builders_name() -> [u8; NAME_BYTES] {
    let mut bytes = [0; NAME_BYTES];
    // SAFETY: the current goroutine lives, and so does its handle.
    let thread = unsafe { tls::current_goroutine().as_ref().and_then(|g| g.thread.get().as_ref()) };
    if let Some(thread) = thread {
        let name = thread.name_bytes();
        let length = name.len().min(NAME_BYTES - 1);
        bytes[..length].copy_from_slice(&name[..length]);
    }
    bytes
}
