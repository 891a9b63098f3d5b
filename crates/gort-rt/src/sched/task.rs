//! What queues hold: a goroutine that is ready to go on, or one that has not begun.
//!
//! A stack with an identity is two pages of memory at least, and a goroutine needs it only from the moment when it first
//! runs. So `spawn` makes no more than an [`Unborn`], a small block with the closure, and the M that is about to run it *embodies*
//! it: takes the stack of the goroutine that died last, still warm in the cache, moves the closure onto it and lays out the
//! first frame. A hundred thousand goroutines that are spawned and run to their end one after the other share one stack.
//!
//! Blocks are of one size, pooled like stacks: malloc would give every goroutine that frees one a cache of its own
//! (0.7 KiB in glibc), and cost more. A closure that does not fit is boxed once more.
//!
//! That a stack can be had is made sure when the goroutine is spawned (see `budget`), so that it is `spawn` that fails.

use crate::arch;
use crate::debug::record::Origin;
use crate::sched::g::G;
use crate::sched::p::P;
use crate::sched::pool::{Depot, Link};
use crate::sched::spawn;
use crate::thread::{self, Inner};
use core::cell::Cell;
use core::marker::PhantomData;
use core::mem;
use core::ptr;
use std::alloc::{handle_alloc_error, GlobalAlloc, Layout, System};
use std::sync::Arc;

/// A link in a queue. Owned by whoever holds it: queue, list or the M that took it out.
#[repr(C)]
pub(crate) struct Task {
    /// The next task in the queue that holds this one.
    pub(crate) next: Cell<*const Task>,
    /// The one before it, in the lists that go both ways.
    pub(crate) prev: Cell<*const Task>,
    /// The goroutine; null while it has none.
    g: Cell<*const G>,
    /// How to embody an [`Unborn`] of this type.
    embody: Option<unsafe fn(*const Task, *const G)>,
    /// How to drop the contents of an [`Unborn`] of this type.
    discard: Option<unsafe fn(*const Task)>,
}

impl Task {
    /// The task in a goroutine's own G.
    pub(crate) const fn of_goroutine() -> Task {
        Task {
            next: Cell::new(ptr::null()),
            prev: Cell::new(ptr::null()),
            g: Cell::new(ptr::null()),
            embody: None,
            discard: None,
        }
    }

    /// Makes the task find the G that it lies in.
    pub(crate) fn set_g(&self, g: *const G) {
        self.g.set(g);
    }

    /// The goroutine, if the task has begun.
    pub(crate) fn g(&self) -> Option<*const G> {
        Some(self.g.get()).filter(|g| !g.is_null())
    }

    /// Gives an unborn goroutine the body `g`, which is dead or new. The task is gone then.
    ///
    /// # Safety
    /// The task is unborn and the caller's, `g` is the caller's, reset, and its stack holds closure and first frame.
    pub(crate) unsafe fn embody(task: *const Task, g: *const G) {
        // SAFETY: unborn tasks have the function for their type.
        unsafe {
            let embody = (*task).embody.expect("only unborn tasks are embodied");
            embody(task, g);
        }
    }

    /// Drops an unborn goroutine, closure and all.
    ///
    /// # Safety
    /// The task is unborn and the caller's.
    pub(crate) unsafe fn discard(task: *const Task) {
        // SAFETY: as in `embody`; without a P the block goes to the depot.
        unsafe {
            let discard = (*task).discard.expect("only unborn tasks are discarded");
            discard(task);
            recycle(None, task);
        }
    }
}

/// A goroutine that has been spawned and has not run. `O` is the type that says where it comes from.
#[repr(C)]
pub(crate) struct Unborn<F, O> {
    task: Task,
    thread: Option<Arc<Inner>>,
    f: F,
    origin: PhantomData<fn() -> O>,
}

/// Bytes of a block; two cache lines.
const BLOCK: usize = 128;
const BLOCK_LAYOUT: Layout = match Layout::from_size_align(BLOCK, 64) {
    Ok(layout) => layout,
    Err(_) => unreachable!(),
};

impl Link for Task {
    fn next(&self) -> &Cell<*const Task> {
        &self.next
    }

    fn next_batch(&self) -> &Cell<*const Task> {
        &self.prev
    }
}

static BLOCKS: Depot<Task> = Depot::new();

/// A block for an [`Unborn`]; from the pool of the P of `m`, inside the runtime, or from the depot, or a new one.
pub(crate) fn block(p: Option<&P>) -> *mut Task {
    let pooled = match p {
        // SAFETY: the holder of the P, inside the runtime, is the only one who touches its list.
        Some(p) => BLOCKS.get(unsafe { &mut *p.blocks.get() }),
        None => BLOCKS.get_shared(),
    };
    if let Some(block) = pooled {
        return block.cast_mut();
    }
    // Not by the global allocator, which may be one that waits.
    // SAFETY: the layout is not empty.
    let block = unsafe { System.alloc(BLOCK_LAYOUT) };
    if block.is_null() {
        handle_alloc_error(BLOCK_LAYOUT);
    }
    block.cast()
}

/// At the end of the runtime, when Ps keep none: frees all blocks.
pub(crate) fn give_up() {
    // SAFETY: it comes from there.
    core::iter::from_fn(|| BLOCKS.get_shared()).for_each(|block| unsafe { free(block) });
}

/// Frees a block.
///
/// # Safety
/// It was taken from a list of blocks, so [`block`] made it and nobody uses it.
unsafe fn free(block: *const Task) {
    // SAFETY: the caller's promise; all blocks have this layout.
    unsafe { System.dealloc(block.cast_mut().cast(), BLOCK_LAYOUT) };
}

/// The holder of `p` puts the blocks that it keeps where all find them.
pub(crate) fn give_back(p: &P) {
    // SAFETY: the holder of the P is the only one who touches its list.
    BLOCKS.give_back(unsafe { &mut *p.blocks.get() });
}

/// sysmon, about once a second: frees half of the blocks that were not needed since the last call.
pub(crate) fn trim() {
    let mut surplus = BLOCKS.surplus();
    while let Some(block) = surplus.pop() {
        // SAFETY: it comes from there.
        unsafe { free(block) };
    }
}

impl<F, D, O> Unborn<F, O>
where
    F: FnOnce() -> D,
    D: FnOnce(),
{
    /// Whether an `Unborn` with this closure fits a block.
    pub(crate) const FITS: bool = mem::size_of::<Unborn<F, O>>() <= BLOCK && mem::align_of::<Unborn<F, O>>() <= 64;

    /// Writes a goroutine to be into `block`, which belongs to the caller and then to queues.
    pub(crate) fn make(block: *mut Task, thread: Option<Arc<Inner>>, f: F) -> *const Task {
        assert!(Self::FITS);
        let task = Task {
            next: Cell::new(ptr::null()),
            prev: Cell::new(ptr::null()),
            g: Cell::new(ptr::null()),
            embody: Some(Self::embody),
            discard: Some(Self::discard),
        };
        // SAFETY: the block is the caller's, and large and aligned enough.
        unsafe { block.cast::<Unborn<F, O>>().write(Unborn { task, thread, f, origin: PhantomData }) };
        block
    }

    unsafe fn discard(task: *const Task) {
        // SAFETY: as in `embody`.
        drop(unsafe { task.cast::<Unborn<F, O>>().read() });
    }

    unsafe fn embody(task: *const Task, g: *const G) {
        // SAFETY: the function pointer in the task is that of its type, and `make` wrote it. (`repr(C)`: the task comes
        // first.) The contents are moved out; the block goes back to the pool.
        let Unborn { thread, f, .. } = unsafe { task.cast::<Unborn<F, O>>().read() };
        // SAFETY: the caller vouches for `g`; the closure, at most a block long, and the first frame go below `top`, on a
        // stack that nobody else touches.
        unsafe {
            let at = ((*g).top.get() as usize - mem::size_of::<F>()) & !(mem::align_of::<F>().max(16) - 1);
            let closure = at as *mut u8;
            closure.cast::<F>().write(f);
            (*g).closure.set(closure);
            let (record, origin) = ((*g).record, Origin::of::<O>());
            match &thread {
                Some(thread) => {
                    thread.bind((*g).wait);
                    match thread.name() {
                        None => record.born(thread.id(), origin),
                        Some(name) => record.born_with_name(thread.id(), origin, name.as_bytes(), (*g).slot().name()),
                    }
                }
                None => record.born(thread::new_id(), origin),
            }
            (*g).thread.set(thread.map_or(ptr::null(), Arc::into_raw));
            (*g).sp.set(arch::prepare(closure, spawn::main::<F, D>, g.cast_mut().cast()));
        }
    }
}

/// Gives the block of a task whose contents were moved out back, to a P's pool or to the depot.
///
/// # Safety
/// The task was the caller's, and so is `p`, inside the runtime.
pub(crate) unsafe fn recycle(p: Option<&P>, block: *const Task) {
    // SAFETY: the block's contents were moved out, so it is the caller's; for the list see `block`. A Task's links are
    // plain data and stay valid.
    unsafe {
        match p {
            Some(p) => BLOCKS.put(&mut *p.blocks.get(), block),
            None => BLOCKS.put_shared(block),
        }
    }
}
