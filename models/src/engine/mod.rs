//! Who orders the steps, loom or shuttle, and what lives as long as one execution of a model.

#[cfg(feature = "loom")]
mod loom;
#[cfg(feature = "shuttle")]
mod shuttle;

#[cfg(feature = "loom")]
use self::loom as chosen;
#[cfg(feature = "shuttle")]
use self::shuttle as chosen;
#[cfg(feature = "loom")]
use ::loom as checker;
#[cfg(feature = "shuttle")]
use ::shuttle as checker;

pub(crate) use chosen::{
    explore, fence, me, membarrier, paid_fence, spawn, yield_now, Ordering, Thread, Tracked, Word,
};

use checker::sync::{Mutex, MutexGuard};
use checker::thread;
use core::cell::{Cell, RefCell, UnsafeCell};
use core::mem::ManuallyDrop;

/// Whose promises about the order of memory accesses hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Machine {
    /// What the language promises.
    C11,
    /// Besides, a read-modify-write is a full fence.
    X86,
}

/// Memory of one execution.
trait Kept {}
impl<T> Kept for T {}

std::thread_local! {
    static RUN: Cell<u64> = const { Cell::new(1) };
    static SPARE: RefCell<Vec<Word>> = const { RefCell::new(Vec::new()) };
    static KEPT: RefCell<Vec<Box<dyn Kept>>> = const { RefCell::new(Vec::new()) };
}

/// The number of this execution of the model. All executions, and all their threads, run on one kernel thread, by turns.
pub(crate) fn run() -> u64 {
    RUN.get()
}

/// An execution begins: what an earlier one made is gone, statics are as they were.
fn forget() {
    RUN.set(RUN.get() + 1);
    KEPT.with(|kept| kept.borrow_mut().clear());
    make_words();
}

/// Makes the words. They are made here because the checker takes the making of a word for an access to it, which threads
/// that are there already would not be ordered against.
fn make_words() {
    SPARE.with(|spare| {
        let mut spare = spare.borrow_mut();
        core::mem::take(&mut *spare).into_iter().for_each(core::mem::forget);
        spare.extend((0..chosen::WORDS).map(|_| Word::new(0)));
    });
}

/// A word that holds 0.
pub(crate) fn word() -> Word {
    SPARE.with(|spare| spare.borrow_mut().pop()).unwrap_or_else(chosen::late_word)
}

/// Moves `value` to a place where it stays until the execution has ended. It is not dropped.
pub(crate) fn keep<T: 'static>(value: T) -> &'static T {
    let kept = Box::new(ManuallyDrop::new(value));
    let at: *const T = &raw const **kept;
    KEPT.with(|all| all.borrow_mut().push(kept));
    // SAFETY: the box is freed when the next execution begins, and models hand nothing on from one to the next.
    unsafe { &*at }
}

/// A lock of the model's own, such as those in the kernel.
pub(crate) struct Lock<T>(Mutex<T>);

impl<T> Lock<T> {
    pub(crate) fn new(value: T) -> Lock<T> {
        Lock(Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().expect("no model goes on after a panic")
    }
}

/// A thread that can be let go on.
#[derive(Clone)]
pub(crate) struct Parker(thread::Thread);

impl Parker {
    pub(crate) fn here() -> Parker {
        Parker(thread::current())
    }

    /// Waits for [`Parker::unpark`]; one that came before counts.
    pub(crate) fn park() {
        thread::park();
    }

    pub(crate) fn unpark(&self) {
        self.0.unpark();
    }
}

/// A value that each execution makes anew when it first asks for it; so it may lie in a static.
pub(crate) struct PerRun<T> {
    run: Cell<u64>,
    value: UnsafeCell<Option<T>>,
}

// SAFETY: the threads of all executions run on one kernel thread, by turns, and no turn ends within a method.
unsafe impl<T> Sync for PerRun<T> {}
// SAFETY: as above.
unsafe impl<T> Send for PerRun<T> {}

impl<T> PerRun<T> {
    pub(crate) const fn new() -> PerRun<T> {
        PerRun { run: Cell::new(0), value: UnsafeCell::new(None) }
    }

    pub(crate) fn get(&self) -> Option<&T> {
        // SAFETY: nobody else is in here, and the value is only replaced by a new execution's.
        (self.run.get() == run()).then(|| unsafe { (*self.value.get()).as_ref() }).flatten()
    }

    pub(crate) fn get_or_init(&self, make: impl FnOnce() -> T) -> &T {
        if self.get().is_none() {
            let value = make();
            // SAFETY: as in `get`; the old value, of an earlier execution, is not dropped, since the checker has forgotten it.
            unsafe { core::mem::forget((*self.value.get()).replace(value)) };
            self.run.set(run());
        }
        self.get().expect("made just now")
    }
}

/// A variable of each thread of a model.
pub(crate) struct Local<T: 'static> {
    init: fn() -> T,
    all: PerRun<RefCell<Vec<Option<&'static T>>>>,
}

impl<T> Local<T> {
    pub(crate) const fn new(init: fn() -> T) -> Local<T> {
        Local { init, all: PerRun::new() }
    }

    pub(crate) fn with<R>(&'static self, f: impl FnOnce(&T) -> R) -> R {
        let me = me();
        let all = self.all.get_or_init(|| RefCell::new(Vec::new()));
        let mut vec = all.borrow_mut();
        if vec.len() <= me {
            vec.resize_with(me + 1, || None);
        }
        let own = *vec[me].get_or_insert_with(|| keep((self.init)()));
        drop(vec);
        f(own)
    }
}

impl<T: Copy> Local<Cell<T>> {
    pub(crate) fn get(&'static self) -> T {
        self.with(Cell::get)
    }

    pub(crate) fn set(&'static self, value: T) {
        self.with(|own| own.set(value));
    }
}
