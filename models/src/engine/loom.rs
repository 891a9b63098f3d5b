//! loom: every order of the steps of a few threads, and every value that the memory model of C11 lets a load return, up to a
//! bound on preemptions.
//!
//! # Sequentially consistent accesses
//! loom knows fences of that order, but takes accesses of that order for acquire and release. What the order promises is made
//! up by a fence somewhere between a SeqCst store and the thread's next SeqCst load: right before that load, or before a
//! weaker store that comes earlier. So "SeqCst store, then SeqCst load" is ordered, and "SeqCst store, then relaxed load" or
//! "relaxed store, then SeqCst load" is not: no more than the processors promise (`xchg` and `mov`; `stlr` and `ldar`).
//! With [`Machine::X86`] each read-modify-write is a full fence, as on that processor.
//!
//! # The asymmetric fence
//! Stands for `membarrier`: [`paid_fence`] and [`membarrier`] are fences of sequentially consistent order, which is how the C++
//! committee's P1202 defines the pair. The order among paid fences alone, which that adds and the kernel does not give,
//! helps no model here: in each of them only one thread makes them.

use super::{forget, word, Machine, PerRun};
use core::cell::{Cell, RefCell};
use loom::sync::atomic as real;
use loom::thread;
use std::collections::HashMap;
pub(crate) use std::sync::atomic::Ordering;

std::thread_local! {
    /// Numbers of this execution's threads; whether each has made a SeqCst store since its last fence.
    static THREADS: RefCell<HashMap<thread::ThreadId, (usize, bool)>> = RefCell::new(HashMap::new());
    static MACHINE: Cell<Machine> = const { Cell::new(Machine::C11) };
}

/// The calling thread's number in this execution.
pub(crate) fn me() -> usize {
    with_me(|me| me.0)
}

fn with_me<R>(f: impl FnOnce(&mut (usize, bool)) -> R) -> R {
    let id = thread::current().id();
    THREADS.with(|threads| {
        let mut threads = threads.borrow_mut();
        let n = threads.len();
        f(threads.entry(id).or_insert((n, false)))
    })
}

pub(crate) fn fence(order: Ordering) {
    if order == Ordering::SeqCst {
        with_me(|me| me.1 = false);
    }
    real::fence(order);
}

pub(crate) fn paid_fence() {
    fence(Ordering::SeqCst);
}

pub(crate) fn membarrier() {
    fence(Ordering::SeqCst);
}

fn before_load(order: Ordering) {
    if order == Ordering::SeqCst && with_me(|me| me.1) {
        fence(Ordering::SeqCst);
    }
}

fn before_store(order: Ordering) {
    if order != Ordering::SeqCst && with_me(|me| me.1) {
        fence(Ordering::SeqCst);
    }
}

fn after_store(order: Ordering) {
    if order == Ordering::SeqCst {
        with_me(|me| me.1 = true);
    }
}

/// A read-modify-write: `order` on success.
fn modify<R>(order: Ordering, f: impl FnOnce() -> R) -> R {
    let x86 = MACHINE.get() == Machine::X86;
    if x86 {
        fence(Ordering::SeqCst);
    } else {
        before_load(order);
        before_store(order);
    }
    let result = f();
    if x86 {
        fence(Ordering::SeqCst);
    } else {
        after_store(order);
    }
    result
}

fn weaken(order: Ordering, strongest: Ordering) -> Ordering {
    if order == Ordering::SeqCst {
        strongest
    } else {
        order
    }
}

/// Every operation on a word begins here. loom keeps one access to an object in mind when it looks for orders that differ, the
/// last one; where two threads load what one of them then stores, it thus misses the order in which the other's load comes
/// later. An object that all operations change makes each of them depend on each.
fn step() {
    STEPS.get_or_init(word).0.swap(0, Ordering::Relaxed);
}

static STEPS: PerRun<Word> = PerRun::new();

/// 64 bits of memory.
pub(crate) struct Word(real::AtomicU64);

impl Word {
    pub(crate) fn new(value: u64) -> Word {
        Word(real::AtomicU64::new(value))
    }

    pub(crate) fn load(&self, order: Ordering) -> u64 {
        step();
        before_load(order);
        self.0.load(weaken(order, Ordering::Acquire))
    }

    pub(crate) fn store(&self, value: u64, order: Ordering) {
        step();
        before_store(order);
        self.0.store(value, weaken(order, Ordering::Release));
        after_store(order);
        if order == Ordering::SeqCst && MACHINE.get() == Machine::X86 {
            fence(Ordering::SeqCst);
        }
    }

    pub(crate) fn swap(&self, value: u64, order: Ordering) -> u64 {
        step();
        modify(order, || self.0.swap(value, weaken(order, Ordering::AcqRel)))
    }

    pub(crate) fn cas(&self, old: u64, new: u64, yes: Ordering, no: Ordering) -> Result<u64, u64> {
        step();
        let (weak_yes, weak_no) = (weaken(yes, Ordering::AcqRel), weaken(no, Ordering::Acquire));
        modify(yes, || self.0.compare_exchange(old, new, weak_yes, weak_no))
    }

    pub(crate) fn add(&self, n: u64, order: Ordering) -> u64 {
        step();
        modify(order, || self.0.fetch_add(n, weaken(order, Ordering::AcqRel)))
    }
}

/// Words that an execution begins with.
pub(super) const WORDS: usize = 96;

/// A word more than those.
pub(super) fn late_word() -> Word {
    panic!("the model has more words than an execution begins with")
}

/// A place of memory that two threads must not touch at the same time, or one after the other without an order between them.
pub(crate) struct Tracked<T>(loom::cell::UnsafeCell<T>);

impl<T> Tracked<T> {
    pub(crate) fn new(value: T) -> Tracked<T> {
        Tracked(loom::cell::UnsafeCell::new(value))
    }

    pub(crate) fn write<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        // SAFETY: loom fails the model if anybody else is at it.
        self.0.with_mut(|value| f(unsafe { &mut *value }))
    }

    pub(crate) fn read<R>(&self, f: impl FnOnce(&T) -> R) -> R {
        // SAFETY: as above.
        self.0.with(|value| f(unsafe { &*value }))
    }
}

pub(crate) type Thread = thread::JoinHandle<()>;

pub(crate) fn spawn(f: impl FnOnce() + 'static) -> Thread {
    thread::spawn(f)
}

/// Lets the other threads go on first.
pub(crate) fn yield_now() {
    thread::yield_now();
}

/// Runs `model` in every order of its steps with at most `preemptions` of them out of turn.
pub(crate) fn explore(preemptions: usize, machine: Machine, model: fn()) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.max_branches = 20_000;
    MACHINE.set(machine);
    builder.check(move || {
        THREADS.with(|threads| threads.borrow_mut().clear());
        forget();
        STEPS.get_or_init(word);
        model();
    });
}
