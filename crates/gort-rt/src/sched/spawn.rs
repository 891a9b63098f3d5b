//! The birth and death of a goroutine.

use crate::error::Error;
use crate::fork;
use crate::identity;
use crate::os;
use crate::sched;
use crate::sched::budget;
use crate::sched::g::G;
use crate::sched::gfree;
use crate::sched::global::{sched, Sched};
use crate::sched::m::M;
use crate::sched::p::P;
use crate::sched::revoke::{enter, leave};
use crate::sched::switch;
use crate::sched::task::{self, Task, Unborn};
use crate::sched::wake;
use crate::stack;
use crate::start;
use crate::thread::Inner;
use crate::tls;
use core::mem;
use core::ptr;
use core::sync::atomic::Ordering;
use std::sync::Arc;

/// Real threads have ids below 2^22 (`PID_MAX_LIMIT`); goroutines have theirs above.
const FIRST_TID: u32 = 1 << 22;
/// Lines of 64 bytes by which neighbouring stacks' tops are shifted, so that what all goroutines touch first does not
/// compete for the same few sets of the first-level cache.
const COLOURS: u32 = 8;

/// Starts a goroutine that runs `f` and, after its thread-local destructors, what `f` returned.
///
/// `f` must not unwind. `stack`: usable bytes, or None for the configured size.
///
/// # Safety
/// What `f` borrows outlives the goroutine.
pub(crate) unsafe fn spawn<F, D>(thread: Arc<Inner>, stack: Option<usize>, f: F) -> Result<(), Error>
where
    F: FnOnce() -> D,
    D: FnOnce(),
{
    if !Unborn::<F>::FITS {
        let boxed: Box<dyn FnOnce() -> Box<dyn FnOnce()>> = {
            let f: Box<dyn FnOnce() -> Box<dyn FnOnce()> + '_> = Box::new(move || Box::new(f()));
            // SAFETY: the caller vouches that what `f` borrows outlives the goroutine, and only the goroutine holds it.
            unsafe { mem::transmute(f) }
        };
        // SAFETY: the same contract.
        return unsafe { spawn_small(thread, stack, boxed) };
    }
    // SAFETY: the same contract.
    unsafe { spawn_small(thread, stack, f) }
}

unsafe fn spawn_small<F, D>(thread: Arc<Inner>, stack: Option<usize>, f: F) -> Result<(), Error>
where
    F: FnOnce() -> D,
    D: FnOnce(),
{
    let s = start::runtime()?;
    // A little less than usual is served by a usual stack.
    let usual = stack.is_none_or(|n| n <= s.stack_size && n > s.stack_size / 4);
    let block = admit(s, usual)?;
    let task = Unborn::make(block, thread, f);
    let task = match stack {
        Some(usable) if !usual => match create(usable) {
            // SAFETY: both are ours and new, and without a P the block goes to the depot.
            Ok(g) => unsafe {
                Task::embody(task, g);
                task::recycle(None, task);
                &raw const (*g).task
            },
            Err(e) => {
                s.live.fetch_sub(1, Ordering::Relaxed);
                // Last, because dropping the closure may panic.
                // SAFETY: the task is ours and unborn.
                unsafe { Task::discard(task) };
                return Err(e);
            }
        },
        _ => {
            wake::spawned(task);
            sched::checkpoint();
            return Ok(());
        }
    };
    wake::ready(task, true);
    sched::checkpoint();
    Ok(())
}

/// Counts one goroutine more as alive, commits a stack of the usual size to it if need be, and gives a block for it.
fn admit(s: &'static Sched, usual: bool) -> Result<*mut Task, Error> {
    let commit = |p| if usual { budget::commit(p, s.stack_size) } else { Ok(()) };
    let Some(me) = sched::parkable() else {
        commit(None)?;
        s.live.fetch_add(1, Ordering::Relaxed);
        return Ok(task::block(None));
    };
    let m = enter(me);
    let p = m.p();
    let admitted = commit(p).map(|()| {
        add_live(s, p, 1);
        task::block(p)
    });
    leave(m);
    admitted
}

/// Adds to the count of goroutines alive, on behalf of `g`, which runs.
fn count(g: &G, by: i64) {
    let m = enter(g);
    add_live(sched(), m.p(), by);
    leave(m);
}

/// The same, inside the runtime: a P's holder has a count of its own.
fn add_live(s: &Sched, p: Option<&P>, by: i64) {
    match p {
        Some(p) => p.live.store(p.live.load(Ordering::Relaxed) + by, Ordering::Relaxed),
        None => {
            s.live.fetch_add(by, Ordering::Relaxed);
        }
    }
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
        identity::reset((*g).tp.get());
        Task::embody(task, g);
        task::recycle(m.p(), task);
    }
    Some(g)
}

/// As [`embody`], on g0: makes a new body if there is no dead one. Not on a goroutine, whose C library would make a malloc
/// cache for it on the way.
pub(crate) fn embody_on_g0(m: &M, task: *const Task) -> *const G {
    embody(m, task).unwrap_or_else(|| {
        let g = new_body();
        // SAFETY: both are ours and new.
        unsafe {
            Task::embody(task, g);
            task::recycle(m.p(), task);
        }
        g
    })
}

/// A stack of the usual size, for which the budget has made sure that there is room.
#[cold]
fn new_body() -> *const G {
    let s = sched();
    match create(s.stack_size) {
        Ok(g) => {
            // SAFETY: `g` was made just now.
            s.usual_slot.store(unsafe { (*g).slot().usable() }, Ordering::Relaxed);
            g
        }
        Err(e) => {
            // Address space was promised; the kernel has no memory for its tables or for a thread vector.
            os::write_stderr(format!("gort: out of memory for a goroutine that was spawned: {e}\n").as_bytes());
            std::process::abort();
        }
    }
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
    // SAFETY: we are on the goroutine, at its end: nothing of the user's runs on it after its destructors.
    unsafe { identity::run_destructors() };
    count(g, -1); // before anybody who joins can look
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
    // SAFETY: `Unborn::embody` stored it by `into_raw`; it is dropped once.
    drop(unsafe { Arc::from_raw(g.thread.replace(ptr::null())) });
    switch::exit(g)
}

/// Bytes of a slot's usable memory that a goroutine with a stack of `usable` bytes takes.
pub(crate) fn slot_size(usable: usize) -> usize {
    let layout = identity::layout();
    let overhead = layout.tcb + layout.below + layout.align + mem::size_of::<G>() + 64 * (COLOURS as usize + 2);
    // What is too large stays too large: the arena says so.
    usable.saturating_add(overhead)
}

/// A new stack with an identity and a G at its top.
fn create(usable: usize) -> Result<*const G, Error> {
    if let Some(g) = gfree::get_odd(usable) {
        // SAFETY: as in `be_born`.
        unsafe { identity::reset((*g).tp.get()) };
        return Ok(g);
    }
    let layout = identity::layout();
    let slot = stack::alloc(slot_size(usable))?;
    // SAFETY: the slot is ours, zero, and large enough for what is put at its top, see `slot_size`.
    unsafe {
        let hi = slot.hi.sub(64 * (slot.index % COLOURS) as usize);
        // Known before it is made, so that a library that is loaded meanwhile fills its variables in.
        slot.set_tp(layout.thread_pointer(hi as usize));
        let tp = match identity::create(slot.lo, hi, FIRST_TID + slot.index) {
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
