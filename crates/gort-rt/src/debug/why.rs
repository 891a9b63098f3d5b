//! What a goroutine waits for, in one word, which also says of which wait it tells.
//!
//! The word is written by the goroutine when it has begun a wait, and read by whoever makes a dump, at any time and on any
//! thread. There is no order between this word and the wait word: so each word carries the lower bits of the wait's number,
//! and a reader that finds them to differ has come between two waits and knows no reason. (Both words change together, so
//! they could agree by accident only after two thousand waits between two loads.)
//!
//! ```text
//!   63   59        48                                  0
//!   ┌─────┬─────────┬──────────────────────────────────┐
//!   │ tag │ wait    │ address, descriptor or number    │
//!   └─────┴─────────┴──────────────────────────────────┘
//! ```

use core::ffi::c_int;
use core::fmt;

/// What a goroutine waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Why {
    /// A word of memory at this address: what std's locks, conditions, channels and `thread::park` come down to.
    Word(usize),
    /// A mutex or read-write lock of libc's at this address.
    Lock(usize),
    /// A condition variable of libc's at this address.
    Condition(usize),
    /// A semaphore of libc's at this address.
    Semaphore(usize),
    /// Reading from this descriptor.
    Read(c_int),
    /// Writing to this descriptor.
    Write(c_int),
    /// One of so many descriptors, of which this is the first.
    Any(c_int, usize),
    /// The end of the goroutine with this number.
    Join(u64),
    /// The end of the goroutines of a scope.
    Scope,
    /// `unpark`.
    Unpark,
    /// A moment.
    Moment,
}

const OPERAND: u32 = 48;
const WAIT: u32 = 11;

/// The part of a word that tells of which wait it tells. Waits count by fours; see `sched::waitword`.
fn wait_bits(seq: u64) -> u64 {
    (seq >> 2) & ((1 << WAIT) - 1)
}

impl Why {
    /// The word for the wait numbered `seq`.
    #[inline]
    pub(crate) fn pack(self, seq: u64) -> u64 {
        let (tag, operand) = match self {
            Why::Word(at) => (1, at as u64),
            Why::Lock(at) => (2, at as u64),
            Why::Condition(at) => (3, at as u64),
            Why::Semaphore(at) => (4, at as u64),
            Why::Read(fd) => (5, u64::from(fd as u32)),
            Why::Write(fd) => (6, u64::from(fd as u32)),
            Why::Any(fd, n) => (7, u64::from(fd as u32) | (n.min(0xffff) as u64) << 32),
            Why::Join(id) => (8, id),
            Why::Scope => (9, 0),
            Why::Unpark => (10, 0),
            Why::Moment => (11, 0),
        };
        tag << (OPERAND + WAIT) | wait_bits(seq) << OPERAND | operand & ((1 << OPERAND) - 1)
    }

    /// What a word says of the wait numbered `seq`; None: it tells of another.
    pub(crate) fn unpack(word: u64, seq: u64) -> Option<Why> {
        if (word >> OPERAND) & ((1 << WAIT) - 1) != wait_bits(seq) {
            return None;
        }
        let operand = word & ((1 << OPERAND) - 1);
        let (at, fd) = (operand as usize, operand as u32 as c_int);
        Some(match word >> (OPERAND + WAIT) {
            1 => Why::Word(at),
            2 => Why::Lock(at),
            3 => Why::Condition(at),
            4 => Why::Semaphore(at),
            5 => Why::Read(fd),
            6 => Why::Write(fd),
            7 => Why::Any(fd, at >> 32),
            8 => Why::Join(operand),
            9 => Why::Scope,
            10 => Why::Unpark,
            11 => Why::Moment,
            _ => return None,
        })
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Why::Word(at) => write!(f, "lock, condition or channel at {at:#x}"),
            Why::Lock(at) => write!(f, "pthread lock at {at:#x}"),
            Why::Condition(at) => write!(f, "pthread condition at {at:#x}"),
            Why::Semaphore(at) => write!(f, "semaphore at {at:#x}"),
            Why::Read(fd) => write!(f, "read of descriptor {fd}"),
            Why::Write(fd) => write!(f, "write of descriptor {fd}"),
            Why::Any(_, 0) => f.write_str("no descriptor"),
            Why::Any(fd, 1) => write!(f, "descriptor {fd}"),
            Why::Any(fd, n) => write!(f, "{n} descriptors, {fd} and others"),
            Why::Join(id) => write!(f, "join of goroutine {id}"),
            Why::Scope => f.write_str("end of a scope"),
            Why::Unpark => f.write_str("unpark"),
            Why::Moment => f.write_str("sleep"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_survives_its_word_and_belongs_to_its_wait() {
        const ALL: [Why; 12] = [
            Why::Word(0x7fff_dead_bee0),
            Why::Lock(0x7fff_dead_bee0),
            Why::Condition(16),
            Why::Semaphore(0xffff_ffff_fff0),
            Why::Read(0),
            Why::Write(i32::MAX),
            Why::Any(-1, 0),
            Why::Any(7, 1000),
            Why::Join(1 << 40),
            Why::Scope,
            Why::Unpark,
            Why::Moment,
        ];
        for why in ALL {
            for seq in [4, 8, 8188, 8192, 1 << 62] {
                assert_eq!(Why::unpack(why.pack(seq), seq), Some(why));
                assert_eq!(Why::unpack(why.pack(seq), seq + 4), None);
            }
        }
        assert_eq!(Why::unpack(0, 8192 << 2), None, "a word that was never written");
    }
}
