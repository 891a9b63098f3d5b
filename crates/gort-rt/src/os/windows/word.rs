//! Thread-local words that need no thread-local storage of a module's: what the runtime looks at before it knows whether the
//! thread has any, and after it had.
//!
//! C threads that call in may have been made long before the library was loaded, and call in for the last time after Rust's own
//! thread-local variables have gone. A word in a [`Slot`] is there from the thread's beginning to its end, empty at first. The
//! first look of a thread stores the initial value, so that later looks find it by one load.

use super::slot::{self, Place, Slot};

/// What fits a word, and is never all zeroes there: that is the word of a thread that has not looked.
pub(crate) trait Word: Copy {
    fn to(self) -> usize;
    fn of(word: usize) -> Self;
}

impl Word for *const usize {
    #[inline(always)]
    fn to(self) -> usize {
        self.expose_provenance()
    }

    #[inline(always)]
    fn of(word: usize) -> Self {
        core::ptr::with_exposed_provenance(word)
    }
}

impl Word for bool {
    #[inline(always)]
    fn to(self) -> usize {
        2 + usize::from(self)
    }

    #[inline(always)]
    fn of(word: usize) -> Self {
        word == 3
    }
}

/// See the module's head. Made by [`thread_word`].
pub(crate) struct ThreadWord<T: 'static> {
    slot: Slot,
    initial: T,
}

// SAFETY: threads share the initial value, which is a plain one that nobody changes, and the number of the slot.
unsafe impl<T: Word> Sync for ThreadWord<T> {}

impl<T: Word> ThreadWord<T> {
    pub(crate) const fn new(initial: T) -> ThreadWord<T> {
        ThreadWord { slot: Slot::new(), initial }
    }

    /// The calling thread's value.
    #[inline(always)]
    pub(crate) fn get(&'static self) -> T {
        match self.slot.near() {
            0 => self.far(),
            word => T::of(word),
        }
    }

    /// Changes the calling thread's value.
    #[inline]
    pub(crate) fn set(&'static self, value: T) {
        if !self.slot.set(value.to()) {
            super::write_stderr(b"gort: out of memory for a word of a thread\n");
            std::process::abort();
        }
    }

    /// Where the words are.
    pub(crate) fn place(&'static self) -> Place {
        self.slot.place()
    }

    /// The first look of a thread; or a slot in the table.
    #[cold]
    fn far(&'static self) -> T {
        match self.slot.get() {
            0 => {
                self.set(self.initial);
                self.initial
            }
            word => T::of(word),
        }
    }
}

/// Makes a thread-local word: `static NAME: TYPE = INITIAL`.
macro_rules! thread_word {
    ($($(#[$attr:meta])* static $name:ident : $type:ty = $init:expr);* $(;)?) => {
        $(
            $(#[$attr])*
            static $name: $crate::os::ThreadWord<$type> = $crate::os::ThreadWord::new($init);
        )*
    };
}
pub(crate) use thread_word;

/// Gives the slots of all words back, and of keys.
///
/// # Safety
/// Nobody looks at a word any more.
pub(crate) unsafe fn forget_thread_words() {
    // SAFETY: the caller's promise, passed on.
    unsafe { slot::give_back() };
}

#[cfg(test)]
mod tests {
    use core::ptr;

    thread_word! {
        static FLAG: bool = false;
        static PLACE: *const usize = &raw const ZERO;
    }
    static ZERO: usize = 0;

    #[test]
    fn values_begin_as_said_on_every_thread() {
        for _ in 0..2 {
            std::thread::spawn(|| {
                assert!(!FLAG.get() && PLACE.get() == &raw const ZERO);
                FLAG.set(true);
                PLACE.set(ptr::without_provenance(8));
                assert!(FLAG.get() && PLACE.get().addr() == 8);
                FLAG.set(false);
                assert!(!FLAG.get());
            })
            .join()
            .unwrap();
        }
    }
}
