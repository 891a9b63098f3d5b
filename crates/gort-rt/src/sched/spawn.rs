//! The birth and death of a goroutine.

use crate::arch;
use crate::error::Error;
use crate::identity;
use crate::sched;
use crate::sched::g::G;
use crate::sched::gfree;
use crate::sched::global::Sched;
use crate::sched::revoke::{enter, leave};
use crate::sched::switch;
use crate::sched::wake;
use crate::stack;
use crate::start;
use crate::thread::Inner;
use crate::tls;
use core::mem;
use core::ptr;
use core::sync::atomic::Ordering;
use std::sync::Arc;

/// Closures above this size are boxed, so that they leave room on the smallest stack.
const LARGEST_CLOSURE: usize = 8 << 10;
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
    if mem::size_of::<F>() > LARGEST_CLOSURE || mem::align_of::<F>() > 64 {
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
    let g = birth(s, stack)?;
    // SAFETY: `g` is fresh or was reset, and ours until `ready`; its mapping is writable from `lo` to `top`, and the
    // closure (at most LARGEST_CLOSURE bytes, alignment at most 64) and the first frame fit the smallest stack.
    unsafe {
        let at = ((*g).top.get() as usize - mem::size_of::<F>()) & !(mem::align_of::<F>().max(16) - 1);
        let closure = at as *mut u8;
        closure.cast::<F>().write(f);
        (*g).closure.set(closure);
        thread.bind(g, (*g).wait);
        (*g).thread.set(Arc::into_raw(thread));
        (*g).sp.set(arch::prepare(closure, main::<F, D>, g.cast_mut().cast()));
    }
    wake::ready(g, true);
    sched::checkpoint();
    Ok(())
}

/// First frame of every goroutine.
unsafe extern "C" fn main<F, D>(arg: *mut u8) -> !
where
    F: FnOnce() -> D,
    D: FnOnce(),
{
    // SAFETY: `spawn_small` passes the G, which lives in this very stack mapping.
    let g = unsafe { &*arg.cast::<G>() };
    // SAFETY: the resumer set the M; the block in the G lives while the goroutine does; this is its own base.
    unsafe {
        tls::settls(&g.tls);
        let m = &*g.m.get();
        switch::finish(m);
        leave(m);
        identity::start();
    }
    // SAFETY: `spawn_small` wrote an F there, and nobody else reads it.
    let f = unsafe { g.closure.get().cast::<F>().read() };
    let done = f();
    // SAFETY: we are on the goroutine, at its end: nothing of the user's runs on it after its destructors.
    unsafe { identity::run_destructors() };
    done();
    // SAFETY: `spawn_small` stored it by `into_raw`; it is dropped once.
    drop(unsafe { Arc::from_raw(g.thread.replace(ptr::null())) });
    switch::exit(g)
}

/// A goroutine to start: a dead one or a new one, counted as alive.
fn birth(s: &'static Sched, stack: Option<usize>) -> Result<*const G, Error> {
    // A little less than usual is served by a usual stack.
    let usual = stack.is_none_or(|n| n <= s.stack_size && n > s.stack_size / 4);
    // SAFETY: the current goroutine lives.
    let dead = match unsafe { tls::current_goroutine().as_ref() } {
        // SAFETY: the M of a running goroutine is set and lives for ever.
        Some(me) if unsafe { (*me.m.get()).in_runtime.load(Ordering::Relaxed) } == 0 => {
            let m = enter(me);
            match m.p() {
                Some(p) => p.live.store(p.live.load(Ordering::Relaxed) + 1, Ordering::Relaxed),
                None => {
                    s.live.fetch_add(1, Ordering::Relaxed);
                }
            }
            let dead = if usual { gfree::get(m) } else { None };
            leave(m);
            dead
        }
        _ => {
            s.live.fetch_add(1, Ordering::Relaxed);
            if usual {
                gfree::get_from_depot()
            } else {
                None
            }
        }
    };
    if let Some(g) = dead {
        // SAFETY: the goroutine is dead and ours; nobody runs on its block.
        unsafe { identity::reset((*g).tp.get()) };
        return Ok(g);
    }
    let born = match (usual, stack) {
        (false, Some(usable)) => create(usable),
        _ => create(s.stack_size).inspect(|g| {
            // SAFETY: `g` was made just now.
            s.usual_slot.store(unsafe { (**g).slot().usable() }, Ordering::Relaxed);
        }),
    };
    born.inspect_err(|_| {
        s.live.fetch_sub(1, Ordering::Relaxed);
    })
}

/// A new stack with an identity and a G at its top.
fn create(usable: usize) -> Result<*const G, Error> {
    if let Some(g) = gfree::get_odd(usable) {
        // SAFETY: as in `birth`.
        unsafe { identity::reset((*g).tp.get()) };
        return Ok(g);
    }
    let layout = identity::layout();
    let overhead = layout.tcb + layout.below + layout.align + mem::size_of::<G>() + 64 * (COLOURS as usize + 2);
    // What is too large stays too large: the arena says so.
    let slot = stack::alloc(usable.saturating_add(overhead))?;
    // SAFETY: the slot is ours, zero, and large enough for what is put at its top, see `overhead`.
    unsafe {
        let hi = slot.hi.sub(64 * (slot.index % COLOURS) as usize);
        // Known before it is made, so that a library that is loaded meanwhile fills its variables in.
        slot.set_tp(layout.thread_pointer(hi as usize));
        let tp = match identity::create(slot.lo, hi, FIRST_TID + slot.index) {
            Ok(tp) => tp,
            Err(e) => {
                slot.set_tp(0);
                stack::release(slot);
                return Err(e.into());
            }
        };
        debug_assert_eq!(tp, layout.thread_pointer(hi as usize));
        let at = (tp - layout.below - mem::size_of::<G>()) & !(mem::align_of::<G>() - 1);
        let g = at as *mut G;
        g.write(G::goroutine(slot, tp));
        (*g).own_tls();
        (*g).top.set(g.cast());
        Ok(g)
    }
}
