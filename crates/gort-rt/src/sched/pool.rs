//! Things kept for reuse: two short stacks for each P, last in first out, over a shared depot.
//!
//! A P works on one stack of at most a batch; the other is its spare, empty or full. When the one is full and the spare too,
//! the spare goes to the depot; when both are empty a batch comes from there. So between two visits to the depot a P gives or
//! takes a whole batch at least, and a batch changes hands by its top alone: the things in it, which were in another
//! processor's cache as a rule, are touched one by one as they are used. (The two stacks are the magazines of Bonwick and Adams.)
//! What comes singly, or is no full batch, is in a list of its own.
//!
//! Once a second sysmon looks at the depot's low-water mark: what nobody needed during that second is surplus, and half of it
//! is given back.

use crate::atomic::bound;
use crate::sync::rawmutex::RawMutex;
use core::cell::Cell;
use core::mem;
use core::ptr;

/// Things in a batch.
const BATCH: usize = bound(32, 1);
/// The most that a P keeps.
pub(crate) const PER_P: usize = 2 * BATCH;
/// What a depot keeps however little it is used.
const DEPOT_KEEPS: usize = bound(256, 0);
/// The most that is given back at a time.
const AT_A_TIME: usize = 4096;

/// A thing that can be in a list.
pub(crate) trait Link {
    /// The next thing in the list that holds this one.
    fn next(&self) -> &Cell<*const Self>;
    /// The top of the next batch, for the top of one in the depot.
    fn next_batch(&self) -> &Cell<*const Self>;
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

    fn take(&mut self) -> List<T> {
        mem::replace(self, List::new())
    }
}

/// What a P keeps.
pub(crate) struct Kept<T> {
    /// At most a batch.
    hot: List<T>,
    /// Empty, or a batch.
    spare: List<T>,
}

impl<T: Link> Kept<T> {
    pub(crate) const fn new() -> Kept<T> {
        Kept { hot: List::new(), spare: List::new() }
    }
}

/// What all Ps share.
pub(crate) struct Depot<T> {
    shared: RawMutex<Shared<T>>,
}

struct Shared<T> {
    /// The top of the batch that came last.
    batches: *const T,
    /// Fewer things than a batch.
    loose: List<T>,
    /// Things in all.
    len: usize,
    /// The fewest since sysmon's last look.
    low: usize,
}

// SAFETY: what is in the depot belongs to it.
unsafe impl<T> Send for Shared<T> {}

impl<T: Link> Shared<T> {
    /// # Safety
    /// A batch, of things that live while they are here.
    unsafe fn push_batch(&mut self, batch: List<T>) {
        debug_assert_eq!(batch.len, BATCH);
        // SAFETY: the caller's promise.
        unsafe { (*batch.first).next_batch().set(self.batches) };
        self.batches = batch.first;
    }

    fn pop_batch(&mut self) -> Option<List<T>> {
        let first = self.batches;
        // SAFETY: what is here lives.
        self.batches = unsafe { first.as_ref() }?.next_batch().get();
        Some(List { first, len: BATCH })
    }

    /// # Safety
    /// As for [`List::push`].
    unsafe fn put_one(&mut self, thing: *const T) {
        // SAFETY: the caller's promise; a list of that length is a batch.
        unsafe {
            self.loose.push(thing);
            if self.loose.len == BATCH {
                let batch = self.loose.take();
                self.push_batch(batch);
            }
        }
        self.len += 1;
    }

    fn took(&mut self, n: usize) {
        self.len -= n;
        self.low = self.low.min(self.len);
    }
}

impl<T: Link> Depot<T> {
    pub(crate) const fn new() -> Depot<T> {
        let shared = Shared { batches: ptr::null(), loose: List::new(), len: 0, low: 0 };
        Depot { shared: RawMutex::new(shared) }
    }

    /// Takes a thing that a P keeps, or from the depot.
    #[inline]
    pub(crate) fn get(&self, own: &mut Kept<T>) -> Option<*const T> {
        own.hot.pop().or_else(|| self.refill(own))
    }

    #[cold]
    fn refill(&self, own: &mut Kept<T>) -> Option<*const T> {
        own.hot = own.spare.take();
        if own.hot.len == 0 {
            let mut shared = self.shared.lock();
            own.hot = shared.pop_batch().unwrap_or_else(|| shared.loose.take());
            shared.took(own.hot.len);
        }
        own.hot.pop()
    }

    /// Takes a thing from the depot.
    pub(crate) fn get_shared(&self) -> Option<*const T> {
        let mut shared = self.shared.lock();
        if shared.loose.len == 0 {
            shared.loose = shared.pop_batch()?;
        }
        shared.took(1);
        shared.loose.pop()
    }

    /// Keeps a thing for a P; the depot takes what is too much.
    ///
    /// # Safety
    /// As for [`List::push`].
    #[inline]
    pub(crate) unsafe fn put(&self, own: &mut Kept<T>, thing: *const T) {
        if own.hot.len == BATCH {
            self.make_room(own);
        }
        // SAFETY: the caller's promise.
        unsafe { own.hot.push(thing) };
    }

    #[cold]
    fn make_room(&self, own: &mut Kept<T>) {
        let spare = mem::replace(&mut own.spare, own.hot.take());
        if spare.len != 0 {
            let mut shared = self.shared.lock();
            // SAFETY: a spare is a batch, and what a P keeps lives.
            unsafe { shared.push_batch(spare) };
            shared.len += BATCH;
        }
    }

    /// Puts a thing into the depot.
    ///
    /// # Safety
    /// As for [`List::push`].
    pub(crate) unsafe fn put_shared(&self, thing: *const T) {
        // SAFETY: the caller's promise.
        unsafe { self.shared.lock().put_one(thing) };
    }

    /// Takes all that a P keeps.
    pub(crate) fn give_back(&self, own: &mut Kept<T>) {
        let mut shared = self.shared.lock();
        for mut list in [own.hot.take(), own.spare.take()] {
            while let Some(thing) = list.pop() {
                // SAFETY: it was in a list, so it lives, and is ours now.
                unsafe { shared.put_one(thing) };
            }
        }
    }

    /// Takes half of what nobody needed since the last call, but for less than a batch.
    pub(crate) fn surplus(&self) -> List<T> {
        let mut surplus = List::new();
        let mut shared = self.shared.lock();
        let spare = shared.low.saturating_sub(DEPOT_KEEPS).div_ceil(2).min(AT_A_TIME);
        for _ in 0..spare / BATCH {
            let Some(mut batch) = shared.pop_batch() else { break };
            shared.took(BATCH);
            while let Some(thing) = batch.pop() {
                // SAFETY: it was in a list, so it lives, and is ours now.
                unsafe { surplus.push(thing) };
            }
        }
        shared.low = shared.len;
        surplus
    }
}
