//! What is shown of a goroutine.
//!
//! A dump stops nobody: goroutines begin, wait, wake and end while somebody, perhaps a signal handler, looks at them. So
//! what it shows lies apart from what the scheduler works with, in records that are never unmapped and consist of atomics,
//! one beside each stack's wait word (`stack::chunk`; where goroutines are threads, in `oneone::seat`). A reader
//! touches nothing else: no G, whose memory goes cold; no handle, which is freed.
//!
//! Writing costs the goroutine plain stores into a cache line that it has at hand: two at its birth, one at its end, one for
//! each wait.
//!
//! # What a reader may believe
//! ```text
//!   birth, by the M that gives the body      reader
//!   fence                                    id                   (1)
//!   origin, name                             origin, name, waits
//!   id                                       fence
//!   ...                                      id                   (2)
//!   end, on the goroutine: id = 0
//! ```
//! If (1) and (2) find the same number, not 0, then origin and name are this goroutine's: numbers are never used twice,
//! a reader that saw a later one's name would see, behind its fence, the 0 that stands before that birth's fence. (A seqlock
//! whose sequence number is the goroutine's.) A name that is changed meanwhile may come out half old, half new.
//!
//! Of waits see `why`: their words carry the number of the wait that they tell of.

use crate::debug::why::Why;
use core::any::type_name;
use core::mem::transmute;
use core::ptr;
use core::sync::atomic::{fence, AtomicPtr, AtomicU64, Ordering};

/// Bytes of a name that are shown.
pub(crate) const NAME_BYTES: usize = 64;

/// The id's upper bits hold the length of the name.
const ID_BITS: u32 = 56;
const ID: u64 = (1 << ID_BITS) - 1;
/// The deadline's upper bits hold those of the number of its wait; it counts microseconds.
const UNTIL_BITS: u32 = 52;

/// See the module's head. All zero is a record of nobody.
#[repr(C)]
pub(crate) struct Record {
    /// The goroutine's number, and the length of its name; 0 while there is none.
    id: AtomicU64,
    /// Null, or an [`Origin`].
    origin: AtomicPtr<()>,
    why: AtomicU64,
    until: AtomicU64,
}

/// Room for a goroutine's name. Apart from the record, since most have none and their rooms then take no memory.
#[repr(C)]
pub(crate) struct Name([AtomicU64; NAME_BYTES / 8]);

/// Where a goroutine comes from: the name of its closure's type, which names the function that the closure stands in.
#[derive(Clone, Copy)]
pub(crate) struct Origin(fn() -> &'static str);

impl Origin {
    /// That of the closure type `F`.
    pub(crate) fn of<F>() -> Origin {
        Origin(type_name::<F>)
    }

    /// The type's name. Async-signal-safe: it returns a constant.
    pub(crate) fn name(self) -> &'static str {
        (self.0)()
    }
}

/// A goroutine as a reader found it.
pub(crate) struct Seen {
    pub(crate) id: u64,
    pub(crate) origin: Option<Origin>,
    name: [u8; NAME_BYTES],
    len: usize,
}

impl Seen {
    /// The name's bytes, as far as they are shown; none: it has no name.
    pub(crate) fn name(&self) -> &[u8] {
        &self.name[..self.len]
    }
}

impl Record {
    pub(crate) const fn new() -> Record {
        Record {
            id: AtomicU64::new(0),
            origin: AtomicPtr::new(ptr::null_mut()),
            why: AtomicU64::new(0),
            until: AtomicU64::new(0),
        }
    }

    /// A goroutine with this number, which has no name, begins here.
    #[inline(always)]
    pub(crate) fn born(&self, id: u64, origin: Origin) {
        fence(Ordering::Release);
        self.origin.store(origin.0 as *mut (), Ordering::Relaxed);
        self.id.store(id, Ordering::Release);
    }

    /// A goroutine with this number and name begins here.
    #[inline(never)]
    pub(crate) fn born_with_name(&self, id: u64, origin: Origin, name: &[u8], room: &Name) {
        fence(Ordering::Release);
        self.origin.store(origin.0 as *mut (), Ordering::Relaxed);
        let len = room.set(name);
        self.id.store(len << ID_BITS | id, Ordering::Release);
    }

    /// The goroutine has another name from now on. From any thread, also of a goroutine that ends meanwhile.
    pub(crate) fn rename(&self, name: &[u8], room: &Name) {
        let old = self.id.load(Ordering::Relaxed);
        if old != 0 {
            let len = room.set(name);
            // Fails if it has ended: then nobody is to be named.
            let _ = self.id.compare_exchange(old, len << ID_BITS | old & ID, Ordering::Release, Ordering::Relaxed);
        }
    }

    /// The goroutine has ended.
    #[inline]
    pub(crate) fn ended(&self) {
        self.id.store(0, Ordering::Relaxed);
    }

    /// The goroutine's number; 0: there is none.
    pub(crate) fn id(&self) -> u64 {
        self.id.load(Ordering::Relaxed) & ID
    }

    /// The goroutine has begun the wait numbered `seq`.
    #[inline]
    pub(crate) fn waits(&self, seq: u64, why: Why) {
        self.why.store(why.of_wait(seq), Ordering::Relaxed);
    }

    /// The wait numbered `seq` ends at `when` at the latest, in nanoseconds of the monotonic clock.
    #[inline]
    pub(crate) fn waits_until(&self, seq: u64, when: u64) {
        let micros = (when / 1000) & ((1 << UNTIL_BITS) - 1);
        self.until.store(seq >> 2 << UNTIL_BITS | micros, Ordering::Relaxed);
    }

    /// What the wait numbered `seq` is for, and when it ends at the latest, as far as that can be told.
    pub(crate) fn wait(&self, seq: u64) -> (Option<Why>, Option<u64>) {
        let why = Why::told(self.why.load(Ordering::Relaxed), seq);
        let until = self.until.load(Ordering::Relaxed);
        let of_this_wait = until != 0 && until >> UNTIL_BITS == seq >> 2 & (u64::MAX >> UNTIL_BITS);
        let micros = until & ((1 << UNTIL_BITS) - 1);
        (why, of_this_wait.then_some(micros * 1000))
    }

    /// The goroutine of this record; None: there is none, or it ended just now.
    pub(crate) fn look(&self, room: impl FnOnce() -> &'static Name) -> Option<Seen> {
        let id = self.id.load(Ordering::Acquire);
        if id == 0 {
            return None;
        }
        let origin = self.origin.load(Ordering::Relaxed);
        let len = ((id >> ID_BITS) as usize).min(NAME_BYTES);
        let name = if len == 0 { [0; NAME_BYTES] } else { room().get() };
        fence(Ordering::Acquire);
        if self.id.load(Ordering::Relaxed) != id {
            return None;
        }
        let origin = if origin.is_null() {
            None
        } else {
            // SAFETY: what is stored there other than null is an `Origin`'s function.
            Some(Origin(unsafe { transmute::<*mut (), fn() -> &'static str>(origin) }))
        };
        Some(Seen { id: id & ID, origin, name, len })
    }
}

impl Name {
    pub(crate) const fn new() -> Name {
        Name([const { AtomicU64::new(0) }; NAME_BYTES / 8])
    }

    /// Writes a name, or its beginning, and returns how many bytes that is.
    fn set(&self, name: &[u8]) -> u64 {
        let len = name.len().min(NAME_BYTES);
        for (word, part) in self.0.iter().zip(name[..len].chunks(8)) {
            let mut bytes = [0; 8];
            bytes[..part.len()].copy_from_slice(part);
            word.store(u64::from_ne_bytes(bytes), Ordering::Relaxed);
        }
        len as u64
    }

    fn get(&self) -> [u8; NAME_BYTES] {
        let mut bytes = [0; NAME_BYTES];
        for (word, part) in self.0.iter().zip(bytes.chunks_exact_mut(8)) {
            part.copy_from_slice(&word.load(Ordering::Relaxed).to_ne_bytes());
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room() -> &'static Name {
        static ROOM: Name = Name::new();
        &ROOM
    }

    #[test]
    fn a_record_tells_of_its_goroutine_and_of_nobody_after() {
        let record = Record::new();
        assert!(record.look(room).is_none());
        record.born_with_name(7, Origin::of::<u32>(), b"a name of more than eight bytes", room());
        let seen = record.look(room).unwrap();
        assert_eq!((seen.id, seen.name()), (7, &b"a name of more than eight bytes"[..]));
        assert_eq!(seen.origin.unwrap().name(), "u32");
        record.rename(&[b'x'; 100], room());
        assert_eq!(record.look(room).unwrap().name(), [b'x'; NAME_BYTES]);
        record.ended();
        assert!(record.look(room).is_none());
        record.rename(b"nobody", room());
        assert!(record.look(room).is_none(), "a name does not bring the dead back");
        record.born(8, Origin::of::<u64>());
        let seen = record.look(room).unwrap();
        assert!(seen.name().is_empty());
        assert_eq!(seen.origin.unwrap().name(), "u64");
    }

    #[test]
    fn a_wait_is_told_of_as_long_as_it_lasts() {
        let record = Record::new();
        assert_eq!(record.wait(4), (None, None));
        record.waits(4, Why::read(5));
        assert_eq!(record.wait(4), (Some(Why::read(5)), None));
        record.waits_until(4, 1_234_567_890);
        assert_eq!(record.wait(4), (Some(Why::read(5)), Some(1_234_567_000)));
        assert_eq!(record.wait(8), (None, None));
        record.waits(8, Why::SCOPE);
        assert_eq!(record.wait(8), (Some(Why::SCOPE), None), "the deadline was the other wait's");
    }
}
