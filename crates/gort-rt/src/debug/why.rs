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

/// What a goroutine waits for: the word, without the wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Why(u64);

const OPERAND: u32 = 48;
const WAIT: u32 = 11;

const WORD: u64 = 1;
const LOCK: u64 = 2;
const CONDITION: u64 = 3;
const SEMAPHORE: u64 = 4;
const READ: u64 = 5;
const WRITE: u64 = 6;
const ANY: u64 = 7;
const JOIN: u64 = 8;
const SCOPE: u64 = 9;
const UNPARK: u64 = 10;
const MOMENT: u64 = 11;

/// The part of a word that tells of which wait it tells. Waits count by fours; see `sched::waitword`.
#[inline(always)]
fn wait_bits(seq: u64) -> u64 {
    ((seq >> 2) & ((1 << WAIT) - 1)) << OPERAND
}

impl Why {
    /// The end of the goroutines of a scope.
    pub(crate) const SCOPE: Why = Why::new(SCOPE, 0);
    /// `unpark`.
    pub(crate) const UNPARK: Why = Why::new(UNPARK, 0);
    /// A moment.
    pub(crate) const MOMENT: Why = Why::new(MOMENT, 0);

    #[inline(always)]
    const fn new(tag: u64, operand: u64) -> Why {
        Why(tag << (OPERAND + WAIT) | operand & ((1 << OPERAND) - 1))
    }

    /// A word of memory at this address: what std's locks, conditions, channels and `thread::park` come down to.
    #[inline(always)]
    pub fn word(at: usize) -> Why {
        Why::new(WORD, at as u64)
    }

    /// A mutex or read-write lock of libc's at this address.
    #[inline(always)]
    pub fn lock(at: usize) -> Why {
        Why::new(LOCK, at as u64)
    }

    /// A condition variable of libc's at this address.
    #[inline(always)]
    pub fn condition(at: usize) -> Why {
        Why::new(CONDITION, at as u64)
    }

    /// A semaphore of libc's at this address.
    #[inline(always)]
    pub fn semaphore(at: usize) -> Why {
        Why::new(SEMAPHORE, at as u64)
    }

    /// Reading from this descriptor.
    #[inline(always)]
    pub(crate) fn read(fd: c_int) -> Why {
        Why::new(READ, u64::from(fd as u32))
    }

    /// Writing to this descriptor.
    #[inline(always)]
    pub(crate) fn write(fd: c_int) -> Why {
        Why::new(WRITE, u64::from(fd as u32))
    }

    /// One of so many descriptors, of which this is the first.
    pub(crate) fn any(first: c_int, n: usize) -> Why {
        Why::new(ANY, u64::from(first as u32) | (n.min(0xffff) as u64) << 32)
    }

    /// The end of the goroutine with this number.
    #[inline(always)]
    pub(crate) fn join(id: u64) -> Why {
        Why::new(JOIN, id)
    }

    /// The word for the wait numbered `seq`.
    #[inline(always)]
    pub(crate) fn of_wait(self, seq: u64) -> u64 {
        self.0 | wait_bits(seq)
    }

    /// What a word says of the wait numbered `seq`; None: it tells of another, or of none.
    pub(crate) fn told(word: u64, seq: u64) -> Option<Why> {
        let why = Why(word & !(((1 << WAIT) - 1) << OPERAND));
        (why.0 != 0 && why.of_wait(seq) == word).then_some(why)
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.0 & ((1 << OPERAND) - 1);
        let fd = at as u32 as c_int;
        match self.0 >> (OPERAND + WAIT) {
            WORD => write!(f, "lock, condition or channel at {at:#x}"),
            LOCK => write!(f, "pthread lock at {at:#x}"),
            CONDITION => write!(f, "pthread condition at {at:#x}"),
            SEMAPHORE => write!(f, "semaphore at {at:#x}"),
            READ => write!(f, "read of descriptor {fd}"),
            WRITE => write!(f, "write of descriptor {fd}"),
            ANY => match at >> 32 {
                0 => f.write_str("no descriptor"),
                n => write!(f, "{n} descriptors, {fd} and others"),
            },
            JOIN => write!(f, "join of goroutine {at}"),
            SCOPE => f.write_str("end of a scope"),
            UNPARK => f.write_str("unpark"),
            MOMENT => f.write_str("sleep"),
            _ => f.write_str("waiting"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_survives_its_word_and_belongs_to_its_wait() {
        let all = [
            (Why::word(0x7fff_dead_bee0), "lock, condition or channel at 0x7fffdeadbee0"),
            (Why::lock(0x7fff_dead_bee0), "pthread lock at 0x7fffdeadbee0"),
            (Why::condition(16), "pthread condition at 0x10"),
            (Why::semaphore(0xffff_ffff_fff0), "semaphore at 0xfffffffffff0"),
            (Why::read(0), "read of descriptor 0"),
            (Why::write(i32::MAX), "write of descriptor 2147483647"),
            (Why::any(-1, 0), "no descriptor"),
            (Why::any(7, 1000), "1000 descriptors, 7 and others"),
            (Why::any(7, 100_000), "65535 descriptors, 7 and others"),
            (Why::join(1 << 40), "join of goroutine 1099511627776"),
            (Why::SCOPE, "end of a scope"),
            (Why::UNPARK, "unpark"),
            (Why::MOMENT, "sleep"),
        ];
        for (why, text) in all {
            assert_eq!(why.to_string(), text);
            for seq in [4, 8, 8188, 8192, 1 << 62] {
                assert_eq!(Why::told(why.of_wait(seq), seq), Some(why));
                assert_eq!(Why::told(why.of_wait(seq), seq + 4), None);
            }
        }
        assert_eq!(Why::told(0, 8192), None, "a word that was never written");
    }
}
