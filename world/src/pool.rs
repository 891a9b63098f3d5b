//! A few things for many users: a stack behind a mutex of std, and a condition variable to wait at.

use std::ops::{Deref, DerefMut};
use std::sync::{Condvar, Mutex};

/// Things that are lent to one user at a time.
pub struct Pool<T> {
    free: Mutex<Vec<T>>,
    back: Condvar,
}

impl<T> Pool<T> {
    /// A pool of these.
    pub fn new(all: impl IntoIterator<Item = T>) -> Pool<T> {
        Pool { free: Mutex::new(all.into_iter().collect()), back: Condvar::new() }
    }

    /// Lends one, and waits for it if there is none.
    pub fn take(&self) -> Lent<'_, T> {
        let free = self.free.lock().expect("nothing panics while it is locked");
        let mut free = self.back.wait_while(free, |free| free.is_empty()).expect("nothing panics while it is locked");
        Lent { pool: self, thing: free.pop() }
    }

    /// All that are in the pool.
    pub fn into_inner(self) -> Vec<T> {
        self.free.into_inner().expect("nothing panics while it is locked")
    }
}

/// A thing that goes back when this is dropped.
pub struct Lent<'a, T> {
    pool: &'a Pool<T>,
    /// Taken out in `drop` only.
    thing: Option<T>,
}

impl<T> Deref for Lent<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.thing.as_ref().expect("there until dropped")
    }
}

impl<T> DerefMut for Lent<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.thing.as_mut().expect("there until dropped")
    }
}

impl<T> Drop for Lent<'_, T> {
    fn drop(&mut self) {
        if let (Some(thing), Ok(mut free)) = (self.thing.take(), self.pool.free.lock()) {
            free.push(thing);
            self.pool.back.notify_one();
        }
    }
}
