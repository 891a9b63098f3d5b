//! A list of things that lie on their owners' stacks: who waits, or what was announced.
//!
//! Any of them can be taken out, by whoever holds the lock that the list is under, because a waiter whose time is over takes
//! itself out. Nothing is allocated.

use core::cell::Cell;
use core::ptr;

/// A thing's place in a list.
pub(crate) struct Links<N> {
    next: Cell<*const N>,
    prev: Cell<*const N>,
    linked: Cell<bool>,
}

/// What can be in a list, in one at a time.
pub(crate) trait Listed: Sized {
    fn links(&self) -> &Links<Self>;
}

/// See the module's head. All zero is an empty list.
pub(crate) struct List<N> {
    first: *const N,
    last: *const N,
}

// SAFETY: a list lies under a lock, and so does all that it links; its users answer for the rest of their things.
unsafe impl<N> Send for List<N> {}

impl<N> Links<N> {
    pub(crate) const fn new() -> Links<N> {
        Links { next: Cell::new(ptr::null()), prev: Cell::new(ptr::null()), linked: Cell::new(false) }
    }

    /// Whether the thing is in a list. Under the list's lock.
    pub(crate) fn is_linked(&self) -> bool {
        self.linked.get()
    }
}

impl<N: Listed> List<N> {
    pub(crate) const fn new() -> List<N> {
        List { first: ptr::null(), last: ptr::null() }
    }

    /// The oldest, or null.
    pub(crate) fn first(&self) -> *const N {
        self.first
    }

    /// What comes after `node`, which is in the list; null if nothing does. To be read before `node` is removed.
    pub(crate) fn after(node: &N) -> *const N {
        node.links().next.get()
    }

    /// Appends `node`.
    ///
    /// # Safety
    /// It is in no list, and stays where it is until it has been removed.
    pub(crate) unsafe fn push(&mut self, node: &N) {
        let links = node.links();
        links.next.set(ptr::null());
        links.prev.set(self.last);
        links.linked.set(true);
        // SAFETY: what is linked lives.
        match unsafe { self.last.as_ref() } {
            Some(last) => last.links().next.set(node),
            None => self.first = node,
        }
        self.last = node;
    }

    /// Takes `node` out.
    ///
    /// # Safety
    /// It is in this list.
    pub(crate) unsafe fn remove(&mut self, node: &N) {
        let links = node.links();
        let (prev, next) = (links.prev.get(), links.next.get());
        // SAFETY: neighbours of what is linked are linked, so they live.
        unsafe {
            match prev.as_ref() {
                Some(prev) => prev.links().next.set(next),
                None => self.first = next,
            }
            match next.as_ref() {
                Some(next) => next.links().prev.set(prev),
                None => self.last = prev,
            }
        }
        links.linked.set(false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Thing(u8, Links<Thing>);

    impl Listed for Thing {
        fn links(&self) -> &Links<Thing> {
            &self.1
        }
    }

    fn all(list: &List<Thing>) -> Vec<u8> {
        // SAFETY: the things of these tests live as long as their lists.
        core::iter::successors(unsafe { list.first().as_ref() }, |&at| unsafe { List::after(at).as_ref() })
            .map(|thing| thing.0)
            .collect()
    }

    #[test]
    fn in_order_and_out_of_order() {
        let things: Vec<_> = (0..5).map(|i| Thing(i, Links::new())).collect();
        let mut list = List::new();
        // SAFETY: each is in the list once, when it is removed, and outlives it.
        unsafe {
            things.iter().for_each(|thing| list.push(thing));
            assert_eq!(all(&list), [0, 1, 2, 3, 4]);
            for (i, left) in [(2, vec![0, 1, 3, 4]), (0, vec![1, 3, 4]), (4, vec![1, 3])] {
                list.remove(&things[i]);
                assert!(!things[i].1.is_linked());
                assert_eq!(all(&list), left);
            }
            list.push(&things[0]);
            assert_eq!(all(&list), [1, 3, 0]);
            for i in [1, 3, 0] {
                list.remove(&things[i]);
            }
        }
        assert!(list.first().is_null());
    }
}
