//! How many Ps there are, and changing that while goroutines run.
//!
//! Ps lie side by side in address space that was reserved for the most that there may ever be; one that was made stays for
//! ever, so whoever holds a pointer to it, and whoever goes through all of them, need not care. A P that is too many is
//! *retired*: nobody is given it any more, and nothing waits on it. Three numbers:
//!
//! * *made*: Ps that exist, retired ones included. Grows only.
//! * *in use*: those that are not retired: held by an M, on their way to one, or idle.
//! * *wanted*: what was asked for last.
//!
//! The last two change under the scheduler's lock, together with the lists of idle and of retired Ps.
//!
//! # More
//! Whoever asks takes Ps back from the list of retired ones, then makes new ones, and puts them on the idle list. One of
//! them is woken to look for work; that it wakes the next if it finds some is the scheduler's usual way.
//!
//! # Fewer
//! That is sysmon's work, since sysmon can have any P: an idle one from the list, and one that is held by revoking it,
//! which goes wrong only while its M is inside the runtime and is tried again at the next look. Nothing on the paths of
//! goroutines asks whether a P is too many. The goroutine that ran on it goes on as a thread until its next scheduling
//! point, as with any other revocation. sysmon, who holds the P now, empties it:
//!
//! * goroutines that wait on it, in any of its three queues, go to the global queue, and an idle P is woken for them;
//! * dead goroutines and blocks go to their depots, promises of stacks back to the budget;
//! * timers stay: whoever looks at timers looks at those of all Ps that were made.
//!
//! Only then it decides, under the lock, whether there is still one P too many, since more may have been asked for
//! meanwhile: so of two changes that overlap the later one counts, and `in use` never falls below `wanted`. What the P may
//! have been the last to see to (events, timers) is seen to by handing off an idle P, as when an M gives up its own.
//!
//! The price: whoever goes through all Ps, for timers or for work to steal, goes through the retired ones too.

use crate::arch;
use crate::atomic::{AtomicPtr, AtomicUsize, Ordering};
use crate::os;
use crate::sched::budget;
use crate::sched::gfree;
use crate::sched::global::{self, Batch, Sched};
use crate::sched::p::P;
use crate::sched::pool;
use crate::sched::revoke;
use crate::sched::task;
use crate::sched::wake;
use crate::sched::young;
use crate::stack;
use core::mem;
use core::ops::Deref;
use core::ptr;
use core::slice;

/// The most Ps that there may be.
pub(crate) const MOST: usize = 1024;

/// All Ps that were made. See the module's head.
pub(crate) struct Procs {
    first: AtomicPtr<P>,
    made: AtomicUsize,
    in_use: AtomicUsize,
    wanted: AtomicUsize,
}

impl Deref for Procs {
    type Target = [P];

    #[inline(always)]
    fn deref(&self) -> &[P] {
        // Acquire: the contents of the newest.
        let made = self.made.load(Ordering::Acquire);
        // SAFETY: so many have been written, side by side, and they are never moved or freed.
        unsafe { slice::from_raw_parts(self.first.load(Ordering::Relaxed), made) }
    }
}

impl Procs {
    /// No P, and no room for any.
    pub(crate) const fn none() -> Procs {
        Procs {
            first: AtomicPtr::new(ptr::NonNull::dangling().as_ptr()),
            made: AtomicUsize::new(0),
            in_use: AtomicUsize::new(0),
            wanted: AtomicUsize::new(0),
        }
    }

    /// Makes room for Ps, of which none is made so far.
    fn reserve(&self) -> Result<(), i32> {
        self.first.store(os::mem::reserve(Procs::bytes())?.cast(), Ordering::Release);
        Ok(())
    }

    /// Bytes of that room.
    fn bytes() -> usize {
        (MOST * mem::size_of::<P>()).next_multiple_of(os::mem::page_size())
    }

    /// Ps that are not retired.
    #[inline]
    pub(crate) fn in_use(&self) -> usize {
        self.in_use.load(Ordering::SeqCst)
    }

    /// How many were asked for.
    pub(crate) fn wanted(&self) -> usize {
        self.wanted.load(Ordering::SeqCst)
    }

    /// Whether some are too many.
    #[inline]
    pub(crate) fn too_many(&self) -> bool {
        self.in_use() > self.wanted()
    }

    /// Makes one more. Under the scheduler's lock.
    fn make(&self) -> &'static P {
        let n = self.made.load(Ordering::Relaxed);
        assert!(n < MOST, "`set` keeps to the limit");
        // SAFETY: there is room for `MOST`, and nobody reads beyond `made`, which we alone raise, under the lock.
        let p = unsafe {
            let at = self.first.load(Ordering::Relaxed).add(n);
            at.write(P::new(n as u32));
            &*at
        };
        // Release: its contents.
        self.made.store(n + 1, Ordering::Release);
        p
    }
}

/// Begins with `n` Ps, all idle, when the runtime starts: nobody holds any. Or the error of the system, which has no address
/// space for them.
pub(crate) fn begin(s: &'static Sched, n: usize) -> Result<(), i32> {
    if s.ps.is_empty() {
        s.ps.reserve()?;
    }
    let mut idle = s.idle.lock();
    while s.ps.len() < n {
        s.ps.make();
    }
    let (first, others): (&'static [P], &'static [P]) = s.ps.split_at(n);
    idle.begin(first, others);
    s.ps.in_use.store(n, Ordering::SeqCst);
    s.ps.wanted.store(n, Ordering::SeqCst);
    share_stacks(n);
    Ok(())
}

/// Each of `n` Ps may keep stacks for goroutines that it has none for now, and have goroutines that wait to begin.
fn share_stacks(n: usize) {
    stack::keep_spare(n * pool::PER_P);
    young::share(stack::most(), n);
}

/// Makes it `n` Ps from now on: 1 to `MOST`. Returns how many were wanted before.
pub(crate) fn set(s: &'static Sched, n: usize) -> usize {
    debug_assert!((1..=MOST).contains(&n));
    let mut idle = s.idle.lock();
    let before = s.ps.wanted.swap(n, Ordering::SeqCst);
    if n > before {
        share_stacks(n);
        budget::reckon_again(); // fewer can be promised
    }
    while s.ps.in_use.load(Ordering::Relaxed) < n {
        let p = idle.take_retired().unwrap_or_else(|| s.ps.make());
        idle.put_p(p);
        s.ps.in_use.fetch_add(1, Ordering::SeqCst);
    }
    drop(idle);
    if s.ps.too_many() {
        // SeqCst above and there: sysmon, before it sleeps, looks whether there are too many.
        wake::rouse_sysmon();
    } else if s.has_global() || s.ps.iter().any(P::has_work) {
        wake::wake_idle_p();
    }
    before
}

/// sysmon: retires Ps that are too many, as far as they can be had now. True: there were some.
pub(crate) fn retire(s: &'static Sched) -> bool {
    if !s.ps.too_many() {
        return false;
    }
    // Idle ones first: they disturb nobody.
    while s.ps.too_many() {
        let Some(p) = s.idle.lock().take_p() else { break };
        retire_one(s, p);
    }
    for p in s.ps.iter() {
        // SAFETY: Ms are never freed.
        let held = unsafe { p.m.load(Ordering::Acquire).as_ref() };
        if s.ps.too_many() && held.is_some_and(|m| revoke::take(p, m)) {
            retire_one(s, p);
        }
    }
    true
}

/// Frees all Ps and the room for them.
///
/// # Safety
/// The runtime has ended, and nobody looks at what it had.
pub(crate) unsafe fn unload() {
    let Some(Sched { ps, .. }) = global::try_sched() else { return };
    let first = ps.first.load(Ordering::Relaxed);
    let made = ps.made.swap(0, Ordering::Relaxed);
    if made > 0 {
        // SAFETY: so many have been written side by side, in memory that `reserve` has made; and the caller's promise.
        unsafe {
            ptr::slice_from_raw_parts_mut(first, made).drop_in_place();
            os::mem::unreserve(first.cast(), Procs::bytes());
        }
    }
}

/// Gives what `p`, which is the caller's, keeps for goroutines to come to where all find it.
pub(crate) fn give_back(p: &P) {
    gfree::give_back(p);
    task::give_back(p);
    budget::give_back(p);
}

/// Empties `p`, which is the caller's, and retires it, if there is one too many.
fn retire_one(s: &'static Sched, p: &'static P) {
    let mut waiting = Batch::new();
    p.take_all(|task| waiting.push(task));
    s.put_global(waiting);
    give_back(p);
    let mut idle = s.idle.lock();
    if s.ps.too_many() {
        idle.put_retired(p);
        s.ps.in_use.fetch_sub(1, Ordering::SeqCst);
    } else {
        idle.put_p(p);
    }
    let other = idle.take_p();
    drop(idle);
    // Who sets a timer on its way looks at the count of Ps afterwards, and we at timers: one of us sees the other.
    arch::fence_after_rmw();
    if let Some(other) = other {
        wake::hand_off(other);
    }
}
