//! shuttle: orders of the steps of many threads, chosen at random from a seed, and by the scheduler of "A randomized
//! scheduler with probabilistic guarantees of finding bugs" (PCT). Memory is sequentially consistent here; what
//! weaker memory does is loom's subject.

use super::{forget, Machine};
use core::cell::{RefCell, UnsafeCell};
use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::sync::atomic::AtomicU64;
use shuttle::{thread, Config, FailurePersistence, MaxSteps, Runner};
use std::collections::HashMap;
pub(crate) use std::sync::atomic::Ordering;

std::thread_local! {
    /// Numbers of this execution's threads.
    static THREADS: RefCell<HashMap<thread::ThreadId, usize>> = RefCell::new(HashMap::new());
}

/// The calling thread's number in this execution.
pub(crate) fn me() -> usize {
    let id = thread::current().id();
    THREADS.with(|threads| {
        let mut threads = threads.borrow_mut();
        let n = threads.len();
        *threads.entry(id).or_insert(n)
    })
}

pub(crate) fn fence(_: Ordering) {}

pub(crate) fn paid_fence() {}

pub(crate) fn membarrier() {}

/// 64 bits of memory.
pub(crate) struct Word(AtomicU64);

impl Word {
    pub(crate) fn new(value: u64) -> Word {
        Word(AtomicU64::new(value))
    }

    pub(crate) fn load(&self, _: Ordering) -> u64 {
        self.0.load(Ordering::SeqCst)
    }

    pub(crate) fn store(&self, value: u64, _: Ordering) {
        self.0.store(value, Ordering::SeqCst);
    }

    pub(crate) fn swap(&self, value: u64, _: Ordering) -> u64 {
        self.0.swap(value, Ordering::SeqCst)
    }

    pub(crate) fn cas(&self, old: u64, new: u64, _: Ordering, _: Ordering) -> Result<u64, u64> {
        self.0.compare_exchange(old, new, Ordering::SeqCst, Ordering::SeqCst)
    }

    pub(crate) fn add(&self, n: u64, _: Ordering) -> u64 {
        self.0.fetch_add(n, Ordering::SeqCst)
    }
}

/// Words that an execution begins with.
pub(super) const WORDS: usize = 0;

/// A word more than those.
pub(super) fn late_word() -> Word {
    Word::new(0)
}

/// A place of memory; see loom's.
pub(crate) struct Tracked<T>(UnsafeCell<T>);

impl<T> Tracked<T> {
    pub(crate) fn new(value: T) -> Tracked<T> {
        Tracked(UnsafeCell::new(value))
    }

    pub(crate) fn write<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        // SAFETY: all threads run on one kernel thread, by turns, and no turn ends within `f`.
        f(unsafe { &mut *self.0.get() })
    }

    pub(crate) fn read<R>(&self, f: impl FnOnce(&T) -> R) -> R {
        // SAFETY: as above.
        f(unsafe { &*self.0.get() })
    }
}

pub(crate) type Thread = thread::JoinHandle<()>;

/// What only one kernel thread ever touches.
struct Here<F>(F);

// SAFETY: all threads of a model run on one kernel thread.
unsafe impl<F> Send for Here<F> {}

impl<F: FnOnce()> Here<F> {
    fn call(self) {
        (self.0)();
    }
}

pub(crate) fn spawn(f: impl FnOnce() + 'static) -> Thread {
    let f = Here(f);
    thread::spawn(move || f.call())
}

/// Lets the other threads go on first.
pub(crate) fn yield_now() {
    thread::yield_now();
}

/// Runs `model` so many times in orders that are chosen at random, and in as many that PCT chooses.
pub(crate) fn explore(times: usize, _: Machine, model: fn()) {
    const SEED: u64 = 0x676f_7274;
    const DEPTH: usize = 3;
    let mut config = Config::new();
    config.stack_size = 1 << 17;
    config.max_steps = MaxSteps::FailAfter(2_000_000);
    config.failure_persistence = FailurePersistence::None;
    config.silence_warnings = true;
    let run = move || {
        THREADS.with(|threads| threads.borrow_mut().clear());
        forget();
        model();
    };
    Runner::new(RandomScheduler::new_from_seed(SEED, times), config.clone()).run(run);
    Runner::new(PctScheduler::new_from_seed(SEED, DEPTH, times), config).run(run);
}
