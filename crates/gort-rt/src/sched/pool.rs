//! Things kept for reuse: two short stacks for each P, last in first out, over a shared depot.
//!
//! A P works on one stack of at most a batch; the other is its spare, empty or full. When the one is full and the spare too,
//! the spare goes to the depot; when both are empty a batch comes from there, or the few things that make none. So a P comes
//! to the depot once for a batch, unless that is all but empty, and a batch changes hands by its top alone: the things in it, which were in another
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
/// What a depot keeps at least however little it is used; up to two batches more.
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
        // What died last comes on top.
        for mut list in [own.spare.take(), own.hot.take()] {
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

#[cfg(test)]
mod tests {
    use super::*;

    struct Thing {
        next: Cell<*const Thing>,
        next_batch: Cell<*const Thing>,
        free: Cell<bool>,
    }

    impl Link for Thing {
        fn next(&self) -> &Cell<*const Thing> {
            &self.next
        }

        fn next_batch(&self) -> &Cell<*const Thing> {
            &self.next_batch
        }
    }

    /// Makes a thing free, which it is not yet; returns its address.
    fn frees(thing: &Thing) -> *const Thing {
        assert!(!thing.free.replace(true));
        // Whatever is in a link counts only while somebody has written it.
        thing.next_batch.set(ptr::dangling());
        thing
    }

    fn took(thing: *const Thing) {
        // SAFETY: the test's things outlive it.
        assert!(unsafe { &*thing }.free.replace(false), "it was not there");
    }

    /// What the depot says of itself is so.
    fn verify(depot: &Depot<Thing>) -> usize {
        let shared = depot.shared.lock();
        let of = |list: &List<Thing>| {
            let mut n = 0;
            let mut at = list.first;
            // SAFETY: as above.
            while let Some(thing) = unsafe { at.as_ref() } {
                assert!(thing.free.get());
                n += 1;
                at = thing.next.get();
            }
            assert_eq!(n, list.len);
            n
        };
        let mut len = of(&shared.loose);
        assert!(len < BATCH);
        let mut at = shared.batches;
        // SAFETY: as above.
        while let Some(top) = unsafe { at.as_ref() } {
            len += of(&List { first: at, len: BATCH });
            at = top.next_batch.get();
        }
        assert_eq!(shared.len, len);
        assert!(shared.low <= len);
        len
    }

    /// Ps that spawn, that end, that go, and sysmon, in any order: each thing is in one place.
    #[test]
    fn nothing_is_lost_and_nothing_is_there_twice() {
        const THINGS: usize = 40 * BATCH;
        for seed in 1..=20u64 {
            let mut state = seed;
            let mut random = |n: usize| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 33) as usize % n
            };
            let thing =
                || Thing { next: Cell::new(ptr::null()), next_batch: Cell::new(ptr::null()), free: Cell::new(false) };
            let things: Vec<Thing> = std::iter::repeat_with(thing).take(THINGS).collect();
            let depot = Depot::new();
            let mut ps = [const { Kept::new() }; 3];
            let mut used: Vec<&Thing> = things.iter().collect();
            for _ in 0..2000 {
                let p = &mut ps[random(3)];
                let some = random(2 * BATCH);
                match random(8) {
                    0..3 => {
                        for thing in used.drain(used.len().saturating_sub(some)..) {
                            // SAFETY: the things live as long as the lists, and this one is nobody's.
                            unsafe { depot.put(p, frees(thing)) };
                        }
                    }
                    3..6 => {
                        for thing in (0..some).map_while(|_| depot.get(p)) {
                            took(thing);
                            // SAFETY: one of `things`.
                            used.push(unsafe { &*thing });
                        }
                    }
                    6 => {
                        if let Some(thing) = depot.get_shared() {
                            took(thing);
                            // SAFETY: as above.
                            used.push(unsafe { &*thing });
                        }
                        if let Some(thing) = (random(2) == 0).then(|| used.pop()).flatten() {
                            // SAFETY: as above.
                            unsafe { depot.put_shared(frees(thing)) };
                        }
                    }
                    _ => {
                        let mut surplus = depot.surplus();
                        while let Some(thing) = surplus.pop() {
                            took(thing);
                            // SAFETY: as above.
                            used.push(unsafe { &*thing });
                        }
                        if random(4) == 0 {
                            depot.give_back(p);
                        }
                    }
                }
                verify(&depot);
                for p in &ps {
                    assert!(p.hot.len <= BATCH && (p.spare.len == 0 || p.spare.len == BATCH));
                }
            }
            ps.iter_mut().for_each(|p| depot.give_back(p));
            assert_eq!(verify(&depot) + used.len(), THINGS);
        }
    }
}
