//! The birth and death of a goroutine.

use crate::arch;
use crate::atomic::Ordering;
use crate::backend::Runtime;
use crate::chaos;
use crate::error::Error;
use crate::ffi::boundary;
use crate::fork;
use crate::gate;
use crate::identity;
use crate::os;
use crate::sched;
use crate::sched::budget;
use crate::sched::census::{self, Event};
use crate::sched::g::G;
use crate::sched::gfree;
use crate::sched::global::{sched, Sched};
use crate::sched::m::M;
use crate::sched::odd;
use crate::sched::revoke::{enter, leave};
use crate::sched::switch;
use crate::sched::task::{self, Task, Unborn};
use crate::sched::wake;
use crate::stack::{self, Slot};
use crate::start;
use crate::thread::Inner;
use crate::tls;
use core::mem;
use core::ops::Range;
use core::ptr;
use std::sync::Arc;

/// Real threads have ids below 2^22 (`PID_MAX_LIMIT`); goroutines have theirs above, below 2^30.
const TIDS: Range<usize> = 1 << 22..1 << 30;
/// Lines of 64 bytes by which neighbouring stacks' tops are shifted, so that what all goroutines touch first does not
/// compete for the same few sets of the first-level cache.
const COLOURS: u32 = 8;

/// Starts a goroutine that runs `f` and, after its thread-local destructors, what `f` returned.
///
/// `f` must not unwind. `stack`: usable bytes, or None for the configured size. `O` is the type that dumps name as its origin.
///
/// # Safety
/// What `f` borrows outlives the goroutine.
pub(crate) unsafe fn spawn<O, F, D>(
    s: &'static Sched,
    thread: Arc<Inner>,
    stack: Option<usize>,
    f: F,
) -> Result<(), Error>
where
    F: FnOnce() -> D,
    D: FnOnce(),
{
    if !Unborn::<F, O>::FITS {
        let boxed: Box<dyn FnOnce() -> Box<dyn FnOnce()>> = {
            let f: Box<dyn FnOnce() -> Box<dyn FnOnce()> + '_> = Box::new(move || Box::new(f()));
            // SAFETY: the caller vouches that what `f` borrows outlives the goroutine, and only the goroutine holds it.
            unsafe { mem::transmute(f) }
        };
        // SAFETY: the same contract.
        return unsafe { spawn_small::<O, _, _>(s, thread, stack, boxed) };
    }
    // SAFETY: the same contract.
    unsafe { spawn_small::<O, _, _>(s, thread, stack, f) }
}

/// As [`spawn`], of a goroutine without a handle and with a stack of `usable` bytes at least, which `introduce` gets to see
/// before it can run. `f` is small: it fits a block.
///
/// # Safety
/// As for [`spawn`].
pub(crate) unsafe fn spawn_embodied<F, D>(usable: usize, introduce: impl FnOnce(&G), f: F) -> Result<(), Error>
where
    F: FnOnce() -> D,
    D: FnOnce(),
{
    let entry = start::runtime()?;
    let Runtime::Scheduler(s) = entry.runtime else {
        return Err(Error::invalid("goroutines are kernel threads".into()));
    };
    // Never of the usual size, of which there must be as many as `budget` has promised: rather of the next larger one.
    let usable = if is_usual(s, usable) { stack::slot_bytes(slot_size(s.stack_size()))? } else { usable };
    let task = Unborn::<F, F>::make(admit(s, false)?, None, f);
    // SAFETY: the task is ours and unborn.
    let g = unsafe { embody_now(s, task, usable)? };
    // SAFETY: the goroutine is ours until it is queued.
    introduce(unsafe { &*g });
    // SAFETY: as above.
    wake::ready(unsafe { &raw const (*g).task }, true);
    sched::checkpoint();
    Ok(())
}

/// Whether a stack of `usable` bytes is served by one of the configured size: a little less is, and what comes to the same.
fn is_usual(s: &Sched, usable: usize) -> bool {
    let slot = |usable| stack::slot_bytes(slot_size(usable)).ok();
    (usable <= s.stack_size() && usable > s.stack_size() / 4) || slot(usable) == slot(s.stack_size())
}

unsafe fn spawn_small<O, F, D>(s: &'static Sched, thread: Arc<Inner>, stack: Option<usize>, f: F) -> Result<(), Error>
where
    F: FnOnce() -> D,
    D: FnOnce(),
{
    let usual = stack.is_none_or(|n| is_usual(s, n));
    let block = admit(s, usual)?;
    let task = Unborn::<F, O>::make(block, Some(thread), f);
    match stack {
        // SAFETY: the task is ours and unborn; its goroutine is ours until it is queued.
        Some(usable) if !usual => unsafe { wake::ready(&raw const (*embody_now(s, task, usable)?).task, true) },
        _ => wake::spawned(task),
    }
    sched::checkpoint();
    Ok(())
}

/// Gives a goroutine that was admitted a body at once, with a stack of `usable` bytes, which is not the usual size. Drops it if
/// there is none to be had.
///
/// # Safety
/// The task is the caller's and unborn.
unsafe fn embody_now(s: &Sched, task: *const Task, usable: usize) -> Result<*const G, Error> {
    match create_odd(usable) {
        Ok(g) => {
            // SAFETY: both are ours, and without a P the block goes to the depot.
            unsafe {
                Task::embody(task, g);
                task::recycle(None, task);
            }
            Ok(g)
        }
        Err(e) => {
            census::count(s, None, Event::Ended);
            census::count(s, None, Event::Buried);
            gate::left();
            // Last, because dropping the closure may panic.
            // SAFETY: the task is ours and unborn.
            unsafe { Task::discard(task) };
            Err(e)
        }
    }
}

/// Counts one goroutine more as alive, commits a stack of the usual size to it if need be, and gives a block for it.
fn admit(s: &'static Sched, usual: bool) -> Result<*mut Task, Error> {
    let commit = |p| if usual { budget::commit(p, s.stack_size()) } else { Ok(()) };
    let Some(me) = sched::parkable() else {
        commit(None)?;
        census::count(s, None, Event::Born);
        return Ok(task::block(None));
    };
    let m = enter(me);
    let p = m.p();
    let admitted = commit(p).map(|()| {
        census::count(s, p, Event::Born);
        task::block(p)
    });
    leave(m);
    admitted
}

/// Counts the end of `g`, which runs.
fn ended(g: &G) {
    let m = enter(g);
    census::count(sched(), m.p(), Event::Ended);
    g.record.ended();
    leave(m);
}

/// The goroutine of a task that is about to run, on an M with a P, inside the runtime. One that has not begun gets the body
/// of the goroutine that died last; None if there is no dead one.
#[inline]
pub(crate) fn embody(m: &M, task: *const Task) -> Option<*const G> {
    // SAFETY: the task came from a queue: it is ours.
    match unsafe { (*task).g() } {
        Some(g) => Some(g),
        None => reincarnate(m, task),
    }
}

fn reincarnate(m: &M, task: *const Task) -> Option<*const G> {
    let g = gfree::get(m)?;
    // SAFETY: the goroutine is dead and ours; nobody runs on its block. The task is ours and unborn.
    unsafe {
        if !identity::reset((*g).tp.get()) {
            gfree::go_cold(g); // libraries come or go: a new body has what they bring
            return None;
        }
        Task::embody(task, g);
        task::recycle(m.p(), task);
    }
    Some(g)
}

/// As [`embody`], on g0: makes a new body if there is no dead one. Not on a goroutine, whose C library would make a malloc
/// cache for it on the way.
pub(crate) fn embody_on_g0(m: &M, task: *const Task) -> *const G {
    embody(m, task).unwrap_or_else(|| new_body(m, task))
}

/// Makes a body of the usual size. The budget has made sure that there is room for it: but not of memory for the kernel's
/// tables and for a thread vector, nor that a body is not on its way from one place to another. So this tries for a while.
#[cold]
fn new_body(m: &M, task: *const Task) -> *const G {
    /// How often to try, and the pause between two attempts in nanoseconds.
    const ATTEMPTS: u32 = 1000;
    const PAUSE: u64 = 1_000_000;
    let s = sched();
    for attempt in 1.. {
        match create(s.stack_size()) {
            Ok(g) => {
                // SAFETY: `g` was made just now, and the task is ours and unborn.
                unsafe {
                    s.usual_slot.store((*g).slot().usable(), Ordering::Relaxed);
                    Task::embody(task, g);
                    task::recycle(m.p(), task);
                }
                return g;
            }
            Err(_) if attempt < ATTEMPTS => os::sleep_ns(PAUSE),
            Err(e) => {
                let chaos = chaos::describe();
                os::write_stderr(
                    format!("gort: out of memory for a goroutine that was spawned: {e}{chaos}\n").as_bytes(),
                );
                std::process::abort();
            }
        }
        if let Some(g) = embody(m, task) {
            return g;
        }
    }
    unreachable!("the last attempt returns or aborts")
}

/// First frame of every goroutine.
pub(crate) unsafe extern "C" fn main<F, D>(arg: *mut u8) -> !
where
    F: FnOnce() -> D,
    D: FnOnce(),
{
    // SAFETY: `Unborn::embody` passes the G, which lives in this very stack mapping.
    let g = unsafe { &*arg.cast::<G>() };
    // SAFETY: the resumer set the M; the block in the G lives while the goroutine does; this is its own base.
    unsafe {
        tls::settls(&g.tls);
        let m = &*g.m.get();
        switch::finish(m);
        leave(m);
        identity::start();
    }
    // SAFETY: `Unborn::embody` wrote an F there, and nobody else reads it.
    let f = unsafe { g.closure.get().cast::<F>().read() };
    let done = f();
    if arch::thread_pointer() != g.tp.get() {
        boundary::left_on_system_stack();
    }
    // SAFETY: we are on the goroutine, at its end: nothing of the user's runs on it after its destructors.
    unsafe { identity::run_destructors() };
    boundary::at_the_end(&g.tls);
    ended(g); // before anybody who joins can look
    done();
    // The result may have been dropped just now, and its drop may have used thread-locals: their destructors must not be left
    // for the next goroutine on this stack.
    // SAFETY: as above.
    unsafe { identity::run_destructors() };
    if fork::is_child() {
        // The last thread of the process has returned, as far as its code can tell.
        // SAFETY: exit may be called anywhere.
        unsafe { libc::exit(0) };
    }
    let thread = g.thread.replace(ptr::null());
    if !thread.is_null() {
        // SAFETY: `Unborn::embody` stored it by `into_raw`; it is dropped once.
        drop(unsafe { Arc::from_raw(thread) });
    }
    switch::exit(g)
}

/// Bytes of a slot's usable memory that a goroutine with a stack of `usable` bytes takes.
pub(crate) fn slot_size(usable: usize) -> usize {
    let layout = identity::layout();
    let shift = 64 * (COLOURS as usize + 2);
    let overhead = layout.below + layout.above + layout.align + mem::size_of::<G>() + shift;
    // What is too large stays too large: the arena says so.
    usable.saturating_add(overhead).max(identity::least() + shift)
}

/// Bytes of the slot for a goroutine with a stack of `usable` bytes. Too large a stack is told as it was asked for.
fn slot_bytes(usable: usize) -> Result<usize, stack::AllocError> {
    stack::slot_bytes(slot_size(usable)).map_err(|e| match e {
        stack::AllocError::TooLarge { .. } => stack::AllocError::TooLarge { usable },
        other => other,
    })
}

/// A stack of a size of its own, with an identity and a G: new, or of a dead goroutine. A larger one than was asked for where
/// there is no guard for another.
fn create_odd(usable: usize) -> Result<*const G, Error> {
    create(usable).or_else(|e| {
        let bytes = slot_bytes(usable)?;
        reborn(|| odd::get_larger(bytes)).map_or_else(|| build(stack::alloc_larger(slot_size(usable)).ok_or(e)?), Ok)
    })
}

/// The first of the dead goroutines from `get` that can begin anew.
fn reborn(get: impl Fn() -> Option<*const G>) -> Option<*const G> {
    while let Some(g) = get() {
        // SAFETY: the goroutine is dead and ours; nobody runs on its block.
        if unsafe { identity::reset((*g).tp.get()) } {
            return Some(g);
        }
        gfree::go_cold(g); // as in `reincarnate`
    }
    None
}

/// A stack with an identity and a G at its top: of a dead goroutine with a size of its own, or new.
fn create(usable: usize) -> Result<*const G, Error> {
    let bytes = slot_bytes(usable)?;
    if let Some(g) = reborn(|| odd::get(bytes)) {
        return Ok(g);
    }
    build(stack::alloc(slot_size(usable))?)
}

/// The id of the goroutine on a stack: by the stack's address, since the process may have other libraries with goroutines of
/// their own, and C's mutexes, which all share, know their owner by it. No two stacks that lie within 32 TiB have the same.
fn tid(slot: &Slot) -> u32 {
    (TIDS.start + slot.lo as usize / stack::LEAST_SLOT % TIDS.len()) as u32
}

/// Makes an identity and a G at the top of a stack.
fn build(slot: Slot) -> Result<*const G, Error> {
    let layout = identity::layout();
    // SAFETY: the slot is ours, zero, and large enough for what is put at its top, see `slot_size`.
    unsafe {
        let hi = slot.hi.sub(64 * (slot.index % COLOURS) as usize);
        // Known before it is made, so that a library that is loaded meanwhile fills its variables in.
        slot.set_tp(layout.thread_pointer(hi as usize));
        let tp = match identity::create(slot.lo, hi, tid(&slot)) {
            Ok(tp) => tp,
            Err(e) => {
                slot.clear_tp();
                stack::release(slot);
                return Err(e.into());
            }
        };
        debug_assert_eq!(tp, layout.thread_pointer(hi as usize));
        let g = G::below(tp).cast_mut();
        g.write(G::goroutine(slot, tp));
        (*g).own();
        (*g).top.set(g.cast());
        Ok(g)
    }
}
