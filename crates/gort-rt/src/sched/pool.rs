//! Things kept for reuse: a short list for each P, last in first out, over a shared depot.
//!
//! What is too much for a P's list goes to the depot, under a lock, half a list at a time. Once a second sysmon looks at the
//! depot's low-water mark: what nobody needed during that second is surplus, and half of it is given back.

use crate::atomic::bound;
use crate::sync::rawmutex::RawMutex;
use core::cell::Cell;
use core::ptr;

/// Things that a P keeps before it gives half of them to the depot.
pub(crate) const PER_P: usize = bound(64, 2);
/// What a depot keeps however little it is used.
const DEPOT_KEEPS: usize = bound(256, 0);
/// The most that is given back at a time.
const AT_A_TIME: usize = 4096;

/// A thing that can be in a list.
pub(crate) trait Link {
    /// The next thing in the list that holds this one.
    fn next(&self) -> &Cell<*const Self>;
}

/// A stack of things, which own nothing but their place in it.
pub(crate) struct List<T> {
    first: *const T,
    len: usize,
}

// SAFETY: what is in a list belongs to the list.
unsafe impl<T> Send for List<T> {}

impl<T: Link> List<T> {
    pub(crate) const fn new() -> List<T> {
        List { first: ptr::null(), len: 0 }
    }

    /// Puts `thing` on top.
    ///
    /// # Safety
    /// It is the caller's, and lives while it is in the list.
    pub(crate) unsafe fn push(&mut self, thing: *const T) {
        // SAFETY: the caller's promise.
        unsafe { (*thing).next().set(self.first) };
        self.first = thing;
        self.len += 1;
    }

    /// Takes the top.
    pub(crate) fn pop(&mut self) -> Option<*const T> {
        let thing = self.first;
        if thing.is_null() {
            return None;
        }
        // SAFETY: what is in the list lives.
        self.first = unsafe { (*thing).next().get() };
        self.len -= 1;
        Some(thing)
    }

    fn move_to(&mut self, other: &mut List<T>, n: usize) {
        for _ in 0..n {
            let Some(thing) = self.pop() else { return };
            // SAFETY: it was in a list, so it lives, and is ours now.
            unsafe { other.push(thing) };
        }
    }
}

/// What all Ps share.
pub(crate) struct Depot<T> {
    shared: RawMutex<Shared<T>>,
}

struct Shared<T> {
    list: List<T>,
    /// Fewest things in the list since sysmon's last look.
    low: usize,
}

impl<T: Link> Depot<T> {
    pub(crate) const fn new() -> Depot<T> {
        Depot { shared: RawMutex::new(Shared { list: List::new(), low: 0 }) }
    }

    /// Takes a thing from a P's list, or from the depot.
    #[inline]
    pub(crate) fn get(&self, own: &mut List<T>) -> Option<*const T> {
        own.pop().or_else(|| self.refill(own))
    }

    #[cold]
    fn refill(&self, own: &mut List<T>) -> Option<*const T> {
        let mut shared = self.shared.lock();
        shared.list.move_to(own, PER_P / 2);
        shared.low = shared.low.min(shared.list.len);
        drop(shared);
        own.pop()
    }

    /// Takes a thing from the depot.
    pub(crate) fn get_shared(&self) -> Option<*const T> {
        let mut shared = self.shared.lock();
        let thing = shared.list.pop();
        shared.low = shared.low.min(shared.list.len);
        thing
    }

    /// Puts a thing into a P's list; the depot takes what is too much.
    ///
    /// # Safety
    /// As for [`List::push`].
    #[inline]
    pub(crate) unsafe fn put(&self, own: &mut List<T>, thing: *const T) {
        // SAFETY: the caller's promise.
        unsafe { own.push(thing) };
        if own.len > PER_P {
            own.move_to(&mut self.shared.lock().list, PER_P / 2);
        }
    }

    /// Puts a thing into the depot.
    ///
    /// # Safety
    /// As for [`List::push`].
    pub(crate) unsafe fn put_shared(&self, thing: *const T) {
        // SAFETY: the caller's promise.
        unsafe { self.shared.lock().list.push(thing) };
    }

    /// Takes all that a P keeps.
    pub(crate) fn give_back(&self, own: &mut List<T>) {
        own.move_to(&mut self.shared.lock().list, usize::MAX);
    }

    /// Takes half of what nobody needed since the last call.
    pub(crate) fn surplus(&self) -> List<T> {
        let mut surplus = List::new();
        let mut shared = self.shared.lock();
        let spare = shared.low.saturating_sub(DEPOT_KEEPS).div_ceil(2);
        shared.list.move_to(&mut surplus, spare.min(AT_A_TIME));
        shared.low = shared.list.len;
        surplus
    }
}
