//! The runtime's room `atomic`, in which each operation is a step for the checker.
//!
//! Every type lies on a word of 64 bits, the narrow ones too, so that code that looks at one half of a wide one (as a
//! kernel that sleeps on 32 bits does) reads what is there.

use crate::engine::{self, PerRun, Word};
use core::cell::{self, Cell};
use core::marker::PhantomData;
use core::mem::{ManuallyDrop, MaybeUninit};

pub(crate) use crate::engine::{fence, paid_fence, Ordering, PerRun as OnceLock};

/// What a lock guards; may lie in a static, where each execution finds it as it was at first.
pub(crate) struct UnsafeCell<T> {
    initial: ManuallyDrop<T>,
    run: Cell<u64>,
    value: cell::UnsafeCell<MaybeUninit<T>>,
}

impl<T> UnsafeCell<T> {
    pub(crate) const fn new(value: T) -> UnsafeCell<T> {
        let (initial, value) = (ManuallyDrop::new(value), cell::UnsafeCell::new(MaybeUninit::uninit()));
        UnsafeCell { initial, run: Cell::new(0), value }
    }

    pub(crate) fn get(&self) -> *mut T {
        let value: *mut T = self.value.get().cast();
        if self.run.replace(engine::run()) != engine::run() {
            // SAFETY: one copy is in use in an execution, and none is dropped; who may write here is the lock's business.
            unsafe { value.copy_from_nonoverlapping(&raw const *self.initial, 1) };
        }
        value
    }
}

/// A look in a loop that ends after some looks. No step: were it a yield, the checker would let the others run before the next
/// look, and never see what happens when they do not.
pub(crate) fn spin_loop() {}

/// A fence for the compiler only: the processors see nothing of it.
pub(crate) fn compiler_fence(_: Ordering) {}

/// A limit in models.
pub(crate) const fn bound(_usual: usize, small: usize) -> usize {
    small
}

macro_rules! thread_word_in_models {
    ($($(#[$attr:meta])* static $name:ident : $type:ty = $init:expr);* $(;)?) => {
        $(
            $(#[$attr])*
            static $name: $crate::engine::Local<core::cell::Cell<$type>> =
                $crate::engine::Local::new(|| core::cell::Cell::new($init));
        )*
    };
}
pub(crate) use thread_word_in_models as thread_word;

/// What fits a word.
pub(crate) trait Bits: Copy {
    fn to(self) -> u64;
    fn of(bits: u64) -> Self;
}

macro_rules! bits {
    ($($type:ty),*) => {
        $(impl Bits for $type {
            fn to(self) -> u64 {
                self as u64
            }
            fn of(bits: u64) -> Self {
                bits as $type
            }
        })*
    };
}
bits!(u32, u64, usize, i32, i64);

impl Bits for bool {
    fn to(self) -> u64 {
        u64::from(self)
    }
    fn of(bits: u64) -> Self {
        bits != 0
    }
}

impl<T> Bits for *mut T {
    fn to(self) -> u64 {
        self as usize as u64
    }
    fn of(bits: u64) -> Self {
        bits as usize as *mut T
    }
}

/// An atomic, which may lie in a static. At its first use in an execution it takes one of the words that the engine made
/// when the execution began; its initial value is what a zero there stands for.
#[repr(C)]
pub(crate) struct Atomic<T> {
    word: PerRun<Word>,
    initial: u64,
    of: PhantomData<T>,
}

// SAFETY: the checker orders all accesses.
unsafe impl<T> Sync for Atomic<T> {}
// SAFETY: as above.
unsafe impl<T> Send for Atomic<T> {}

pub(crate) type AtomicBool = Atomic<bool>;
pub(crate) type AtomicU32 = Atomic<u32>;
pub(crate) type AtomicI32 = Atomic<i32>;
pub(crate) type AtomicU64 = Atomic<u64>;
pub(crate) type AtomicI64 = Atomic<i64>;
pub(crate) type AtomicUsize = Atomic<usize>;
pub(crate) type AtomicPtr<T> = Atomic<*mut T>;

macro_rules! new {
    ($($type:ty),*) => {
        $(impl Atomic<$type> {
            pub(crate) const fn new(value: $type) -> Self {
                Atomic { word: PerRun::new(), initial: value as u64, of: PhantomData }
            }
        })*
    };
}
new!(bool, u32, i32, u64, i64, usize);

impl<T> Atomic<*mut T> {
    /// Null, in all the runtime: an address is not a number yet when a static is made.
    pub(crate) const fn new(value: *mut T) -> Self {
        // SAFETY: `value` is a pointer like any other; null is what is asked for.
        let null = value.is_null();
        assert!(null, "pointers begin as null");
        Atomic { word: PerRun::new(), initial: 0, of: PhantomData }
    }
}

impl<T: Bits> Atomic<T> {
    fn word(&self) -> &Word {
        self.word.get_or_init(engine::word)
    }

    fn to(&self, value: T) -> u64 {
        value.to() ^ self.initial
    }

    fn from(&self, word: u64) -> T {
        T::of(word ^ self.initial)
    }

    pub(crate) fn load(&self, order: Ordering) -> T {
        self.from(self.word().load(order))
    }

    pub(crate) fn store(&self, value: T, order: Ordering) {
        self.word().store(self.to(value), order);
    }

    pub(crate) fn swap(&self, value: T, order: Ordering) -> T {
        self.from(self.word().swap(self.to(value), order))
    }

    pub(crate) fn compare_exchange(&self, old: T, new: T, yes: Ordering, no: Ordering) -> Result<T, T> {
        let result = self.word().cas(self.to(old), self.to(new), yes, no);
        result.map(|word| self.from(word)).map_err(|word| self.from(word))
    }

    pub(crate) fn compare_exchange_weak(&self, old: T, new: T, yes: Ordering, no: Ordering) -> Result<T, T> {
        self.compare_exchange(old, new, yes, no)
    }

    pub(crate) fn fetch_add(&self, n: T, order: Ordering) -> T {
        assert_eq!(self.initial, 0, "counters begin at zero");
        T::of(self.word().add(n.to(), order))
    }

    pub(crate) fn fetch_sub(&self, n: T, order: Ordering) -> T {
        assert_eq!(self.initial, 0, "counters begin at zero");
        T::of(self.word().add(n.to().wrapping_neg(), order))
    }
}

impl<T: Bits + Default> Default for Atomic<T> {
    fn default() -> Self {
        Atomic { word: PerRun::new(), initial: T::default().to(), of: PhantomData }
    }
}

/// Whether this mutation of the runtime is on; asked for by the copy of its files that `ci/mutate.py` makes.
pub(crate) fn mutant(name: &str) -> bool {
    static ON: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    ON.get_or_init(|| std::env::var("MUTANT").ok()).as_deref() == Some(name)
}
