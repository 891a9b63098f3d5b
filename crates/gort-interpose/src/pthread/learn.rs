//! What the bytes of libc's objects say, found out by comparing.
//!
//! Whether a mutex is shared between processes, say, can only be seen in its memory, whose layout is libc's own affair. So we
//! have libc initialise objects with an attribute and without it, and compare them: the bits that differ are the ones that
//! tell. In the same way we find where the owner's number is kept: it is the one number that a mutex and a readers-writer
//! lock have in common when the same thread holds both. What cannot be found out is treated as if every object had the
//! attribute, and goroutines then wait in the kernel.

use super::own;
use core::cell::UnsafeCell;
use core::ffi::c_int;
use core::mem::{size_of, zeroed, MaybeUninit};
use core::sync::atomic::{AtomicU32, AtomicU8, Ordering};
use libc::{pthread_cond_t, pthread_mutex_t, pthread_rwlock_t, sem_t};

/// Bits of one 32-bit word of an object, and their value in objects that have the attribute.
#[derive(Clone, Copy)]
struct Bits {
    word: usize,
    mask: u32,
    value: u32,
}

impl Bits {
    /// Whether the object has the attribute.
    ///
    /// # Safety
    /// `object` is readable, and of the type that this was learnt from.
    unsafe fn are_in<T>(self, object: *const T) -> bool {
        // SAFETY: the caller's promise; words of these objects are aligned.
        unsafe { word(object, self.word) & self.mask == self.value }
    }
}

/// A 32-bit word of an object that others may change.
///
/// # Safety
/// The object is readable, aligned for words, and has that many.
unsafe fn word<T>(object: *const T, n: usize) -> u32 {
    // SAFETY: the caller's promise; libc changes its words by atomic operations too, if by code that Rust does not see.
    unsafe { (*object.cast::<AtomicU32>().add(n)).load(Ordering::Relaxed) }
}

/// What was found out; None: not.
#[derive(Clone, Copy)]
struct Facts {
    /// Set in mutexes that others than our hooks release: shared, robust, of a priority protocol. Any of the mask.
    mutex_foreign: Option<Bits>,
    mutex_checks: Option<Bits>,
    mutex_owner: Option<usize>,
    cond_shared: Option<Bits>,
    cond_monotonic: Option<Bits>,
    rwlock_shared: Option<Bits>,
    rwlock_writers_first: Option<Bits>,
    rwlock_writer: Option<usize>,
    sem_shared: Option<Bits>,
}

/// The facts once they are known. A thread that comes while another writes them finds them out for itself.
struct Known {
    state: AtomicU8,
    facts: UnsafeCell<MaybeUninit<Facts>>,
}

// SAFETY: written by the one thread that took the state from UNKNOWN to WRITING, read after it said KNOWN.
unsafe impl Sync for Known {}

const UNKNOWN: u8 = 0;
const WRITING: u8 = 1;
const KNOWN: u8 = 2;

static FACTS: Known = Known { state: AtomicU8::new(UNKNOWN), facts: UnsafeCell::new(MaybeUninit::uninit()) };

fn facts() -> Facts {
    if FACTS.state.load(Ordering::Acquire) == KNOWN {
        // SAFETY: KNOWN is stored after the facts, which do not change any more.
        return unsafe { (*FACTS.facts.get()).assume_init() };
    }
    let facts = find_out();
    if FACTS.state.compare_exchange(UNKNOWN, WRITING, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
        // SAFETY: nobody else writes, and nobody reads before KNOWN.
        unsafe { (*FACTS.facts.get()).write(facts) };
        FACTS.state.store(KNOWN, Ordering::Release);
    }
    facts
}

/// How a goroutine is to wait for an object.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Manner {
    /// In the runtime's table.
    Park,
    /// In the kernel: not everybody who releases it calls our hooks.
    HandOff,
    /// Not at all: the caller itself has the lock, and libc would say `EDEADLK`.
    Never,
    /// In the runtime's table, but for one who waits in the kernel.
    Sentry,
}

/// How to wait for a mutex that was found taken.
///
/// # Safety
/// The mutex is initialised; the caller is a goroutine.
pub(super) unsafe fn mutex(mutex: *const pthread_mutex_t) -> Manner {
    let facts = facts();
    let (Some(foreign), Some(checks), Some(owner)) = (facts.mutex_foreign, facts.mutex_checks, facts.mutex_owner)
    else {
        return Manner::HandOff;
    };
    // SAFETY: the caller's promise.
    unsafe {
        if word(mutex, foreign.word) & foreign.mask != 0 {
            Manner::HandOff
        } else if checks.are_in(mutex) && word(mutex, owner) == me(owner) {
            Manner::Never
        } else {
            Manner::Park
        }
    }
}

/// How to wait for a readers-writer lock that was found taken, to write or to read.
///
/// # Safety
/// The lock is initialised; the caller is a goroutine.
pub(super) unsafe fn rwlock(lock: *const pthread_rwlock_t, write: bool) -> Manner {
    let facts = facts();
    let (Some(shared), Some(first), Some(writer), Some(owner)) =
        (facts.rwlock_shared, facts.rwlock_writers_first, facts.rwlock_writer, facts.mutex_owner)
    else {
        return Manner::HandOff;
    };
    // SAFETY: the caller's promise.
    unsafe {
        if shared.are_in(lock) {
            Manner::HandOff
        } else if word(lock, writer) == me(owner) {
            Manner::Never
        } else if write && first.are_in(lock) {
            Manner::Sentry
        } else {
            Manner::Park
        }
    }
}

/// The clock of a condition variable that is private to the process; None: it is shared, or one cannot tell.
///
/// # Safety
/// The condition variable is initialised.
pub(super) unsafe fn clock_of_private(cond: *const pthread_cond_t) -> Option<libc::clockid_t> {
    let facts = facts();
    let (shared, monotonic) = (facts.cond_shared?, facts.cond_monotonic?);
    // SAFETY: the caller's promise.
    unsafe {
        let clock = if monotonic.are_in(cond) { libc::CLOCK_MONOTONIC } else { libc::CLOCK_REALTIME };
        (!shared.are_in(cond)).then_some(clock)
    }
}

/// Whether a semaphore is private to the process.
///
/// # Safety
/// The semaphore is initialised.
pub(super) unsafe fn is_private_sem(sem: *const sem_t) -> bool {
    // SAFETY: the caller's promise.
    facts().sem_shared.is_some_and(|shared| unsafe { !shared.are_in(sem) })
}

/// The caller's number as the owner of a lock; `owner` is the word of a mutex that holds it.
fn me(owner: usize) -> u32 {
    // SAFETY: a zeroed mutex is an initialised one; it is ours alone. libc's own functions are called, past the hooks.
    unsafe {
        let mut mutex: pthread_mutex_t = zeroed();
        own::pthread_mutex_trylock(&raw mut mutex);
        let me = word(&raw const mutex, owner);
        own::pthread_mutex_unlock(&raw mut mutex);
        me
    }
}

/// An object, zeroed and then initialised by `init`, as words. None: libc refused.
fn made<T, const N: usize>(init: impl FnOnce(*mut T) -> c_int) -> Option<[u32; N]> {
    assert!(size_of::<T>() >= 4 * N);
    // SAFETY: the types are plain words to us, for which zeros are a value.
    let mut object: T = unsafe { zeroed() };
    let at = &raw mut object;
    // SAFETY: the object has N words, and is aligned for longer ones.
    (init(at) == 0).then(|| core::array::from_fn(|n| unsafe { word(at, n) }))
}

/// The bits in which two objects differ, which must be in one word.
fn differ<const N: usize>(without: &[u32; N], with: &[u32; N]) -> Option<Bits> {
    let mut words = (0..N).filter(|&n| without[n] != with[n]);
    let word = words.next()?;
    let mask = without[word] ^ with[word];
    words.next().is_none().then_some(Bits { word, mask, value: with[word] & mask })
}

const MUTEX: usize = size_of::<pthread_mutex_t>() / 4;
const COND: usize = size_of::<pthread_cond_t>() / 4;
const RWLOCK: usize = size_of::<pthread_rwlock_t>() / 4;
const SEM: usize = size_of::<sem_t>() / 4;

/// Defines a function that makes an object of libc's with an attribute.
macro_rules! with_attribute {
    ($name:ident, $object:ty, $words:expr, $attribute:ty, $attr_init:path, $init:path, $destroy:path) => {
        fn $name(set: impl FnOnce(*mut $attribute) -> c_int) -> Option<[u32; $words]> {
            // SAFETY: the attribute is ours, initialised before it is used and destroyed afterwards.
            unsafe {
                let mut attribute: $attribute = zeroed();
                if $attr_init(&raw mut attribute) != 0 || set(&raw mut attribute) != 0 {
                    return None;
                }
                let words = made(|at: *mut $object| $init(at, &raw const attribute));
                $destroy(&raw mut attribute);
                words
            }
        }
    };
}

with_attribute!(
    mutex_with,
    pthread_mutex_t,
    MUTEX,
    libc::pthread_mutexattr_t,
    libc::pthread_mutexattr_init,
    libc::pthread_mutex_init,
    libc::pthread_mutexattr_destroy
);
with_attribute!(
    cond_with,
    pthread_cond_t,
    COND,
    libc::pthread_condattr_t,
    libc::pthread_condattr_init,
    libc::pthread_cond_init,
    libc::pthread_condattr_destroy
);
with_attribute!(
    rwlock_with,
    pthread_rwlock_t,
    RWLOCK,
    libc::pthread_rwlockattr_t,
    libc::pthread_rwlockattr_init,
    libc::pthread_rwlock_init,
    libc::pthread_rwlockattr_destroy
);

extern "C" {
    fn pthread_rwlockattr_setkind_np(attribute: *mut libc::pthread_rwlockattr_t, kind: c_int) -> c_int;
}

/// `PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP` of pthread.h.
const WRITERS_FIRST: c_int = 2;

fn find_out() -> Facts {
    const SHARED: c_int = libc::PTHREAD_PROCESS_SHARED;
    let (mutex_owner, rwlock_writer) = owners().unzip();
    // SAFETY: every function below is given an initialised attribute, and values that the standard or the manual names.
    unsafe {
        let cond = cond_with(|_| 0);
        let rwlock = rwlock_with(|_| 0);
        let sem = |shared| made::<sem_t, SEM>(|at| libc::sem_init(at, shared, 0));
        Facts {
            mutex_foreign: mutex_foreign(),
            mutex_checks: mutex_checks(),
            mutex_owner,
            cond_shared: pair(cond, cond_with(|a| libc::pthread_condattr_setpshared(a, SHARED))),
            cond_monotonic: pair(cond, cond_with(|a| libc::pthread_condattr_setclock(a, libc::CLOCK_MONOTONIC))),
            rwlock_shared: pair(rwlock, rwlock_with(|a| libc::pthread_rwlockattr_setpshared(a, SHARED))),
            rwlock_writers_first: pair(rwlock, rwlock_with(|a| pthread_rwlockattr_setkind_np(a, WRITERS_FIRST))),
            rwlock_writer,
            sem_shared: pair(sem(0), sem(1)),
        }
    }
}

fn pair<const N: usize>(without: Option<[u32; N]>, with: Option<[u32; N]>) -> Option<Bits> {
    differ(&without?, &with?)
}

/// The bits that say of a mutex that it is shared, robust or of a priority protocol: all in the word that says it is shared.
fn mutex_foreign() -> Option<Bits> {
    let plain = mutex_with(|_| 0)?;
    // SAFETY: as in `find_out`.
    let others = unsafe {
        [
            mutex_with(|a| libc::pthread_mutexattr_setpshared(a, libc::PTHREAD_PROCESS_SHARED)),
            mutex_with(|a| libc::pthread_mutexattr_setrobust(a, libc::PTHREAD_MUTEX_ROBUST)),
            mutex_with(|a| libc::pthread_mutexattr_setprotocol(a, libc::PTHREAD_PRIO_INHERIT)),
            mutex_with(|a| libc::pthread_mutexattr_setprotocol(a, libc::PTHREAD_PRIO_PROTECT)),
        ]
    };
    let word = differ(&plain, &others[0]?)?.word;
    let mut mask = 0;
    // A kernel without an attribute refuses to make such a mutex: then there are none.
    for other in others.iter().flatten() {
        let bits = plain[word] ^ other[word];
        if bits == 0 {
            return None;
        }
        mask |= bits;
    }
    (plain[word] & mask == 0).then_some(Bits { word, mask, value: mask })
}

/// The value of the bits for the type that says error-checking.
fn mutex_checks() -> Option<Bits> {
    let plain = mutex_with(|_| 0)?;
    // SAFETY: as in `find_out`.
    let of_type = |t| mutex_with(|a| unsafe { libc::pthread_mutexattr_settype(a, t) });
    let checking = of_type(libc::PTHREAD_MUTEX_ERRORCHECK)?;
    let mut bits = differ(&plain, &checking)?;
    for other in [libc::PTHREAD_MUTEX_RECURSIVE, libc::PTHREAD_MUTEX_ADAPTIVE_NP] {
        bits.mask |= plain[bits.word] ^ of_type(other)?[bits.word];
    }
    bits.value = checking[bits.word] & bits.mask;
    Some(bits)
}

/// The words of a mutex and of a readers-writer lock that hold the number of the thread that has locked them.
fn owners() -> Option<(usize, usize)> {
    // SAFETY: the objects are initialised and ours alone; libc's own functions, past the hooks.
    unsafe {
        let mutex: [u32; MUTEX] = made(|at: *mut pthread_mutex_t| {
            libc::pthread_mutex_init(at, core::ptr::null()) | own::pthread_mutex_trylock(at)
        })?;
        let rwlock: [u32; RWLOCK] = made(|at: *mut pthread_rwlock_t| {
            libc::pthread_rwlock_init(at, core::ptr::null()) | own::pthread_rwlock_trywrlock(at)
        })?;
        // Flags and counts of a lock that is held once are small; the number of a thread or a goroutine is not.
        const SMALL: u32 = 15;
        let mut pairs = (0..MUTEX).flat_map(|m| (0..RWLOCK).map(move |r| (m, r)));
        let is_owner = |&(m, r): &(usize, usize)| mutex[m] == rwlock[r] && mutex[m] > SMALL;
        let found = pairs.find(is_owner)?;
        pairs.all(|other| !is_owner(&other)).then_some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_found_out() {
        let Facts {
            mutex_foreign,
            mutex_checks,
            cond_shared,
            cond_monotonic,
            rwlock_shared,
            rwlock_writers_first,
            sem_shared,
            ..
        } = facts();
        let all = [mutex_checks, cond_shared, cond_monotonic, rwlock_shared, rwlock_writers_first, sem_shared];
        for bits in all.into_iter().chain([mutex_foreign]) {
            assert_ne!(bits.expect("libc makes objects of this kind").mask, 0);
        }
        // SAFETY: zeroed objects are initialised, and private ones of the usual kind.
        unsafe {
            let (it, cond, lock): (pthread_mutex_t, pthread_cond_t, pthread_rwlock_t) = (zeroed(), zeroed(), zeroed());
            assert_eq!(mutex(&raw const it), Manner::Park);
            assert_eq!(clock_of_private(&raw const cond), Some(libc::CLOCK_REALTIME));
            assert_eq!(rwlock(&raw const lock, true), Manner::Park);
        }
    }

    #[test]
    fn bits_in_two_words_are_not_understood() {
        assert!(differ(&[0, 0, 0], &[1, 0, 1]).is_none());
        assert!(differ(&[5, 6], &[5, 6]).is_none());
        let bits = differ(&[0, 8], &[0, 0x88]).unwrap();
        assert_eq!((bits.word, bits.mask, bits.value), (1, 0x80, 0x80));
    }
}
