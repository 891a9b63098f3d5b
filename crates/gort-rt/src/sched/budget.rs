//! Making sure, at spawn, that a stack can be had later.
//!
//! Every goroutine with a stack of the usual size that has been spawned and has not ended is *committed*. (Those with a size
//! of their own get their stack when they are spawned.) Commitments are counted against the stacks of the
//! usual size that the arena has address space (and guards) for; when they come near, the arena is asked to make room, and
//! if it cannot, `spawn` is told why. Ps take commitments in batches, so that spawning on many does not share a counter.

use crate::atomic::{AtomicUsize, Ordering};
use crate::error::Error;
use crate::sched::p::P;
use crate::sched::spawn::slot_size;
use crate::stack;

/// Commitments that a P takes at a time.
const BATCH: usize = 64;

static COMMITTED: AtomicUsize = AtomicUsize::new(0);
static CAPACITY: AtomicUsize = AtomicUsize::new(0);

/// Commits one goroutine; with a P, inside the runtime, from its batch.
pub(crate) fn commit(p: Option<&P>, stack_size: usize) -> Result<(), Error> {
    let Some(p) = p else { return take(1, stack_size) };
    let credit = p.credit.get();
    if credit > 0 {
        p.credit.set(credit - 1);
        return Ok(());
    }
    if take(BATCH, stack_size).is_ok() {
        p.credit.set(BATCH - 1);
        return Ok(());
    }
    take(1, stack_size)
}

/// A committed goroutine has ended.
pub(crate) fn release(p: Option<&P>) {
    let Some(p) = p else {
        COMMITTED.fetch_sub(1, Ordering::Relaxed);
        return;
    };
    p.credit.set(p.credit.get() + 1);
    if p.credit.get() > 2 * BATCH {
        p.credit.set(p.credit.get() - BATCH);
        COMMITTED.fetch_sub(BATCH, Ordering::Relaxed);
    }
}

/// The holder of `p` gives up what it may still promise.
pub(crate) fn give_back(p: &P) {
    COMMITTED.fetch_sub(p.credit.replace(0), Ordering::Relaxed);
}

/// What can be promised has become less, or is of another size from now on: the arena is asked anew.
pub(crate) fn reckon_again() {
    CAPACITY.store(0, Ordering::Relaxed);
}

fn take(n: usize, stack_size: usize) -> Result<(), Error> {
    let total = COMMITTED.fetch_add(n, Ordering::Relaxed) + n;
    if total <= CAPACITY.load(Ordering::Relaxed) {
        return Ok(());
    }
    match stack::ensure(slot_size(stack_size), total) {
        Ok(capacity) => {
            CAPACITY.fetch_max(capacity, Ordering::Relaxed);
            Ok(())
        }
        Err(e) => {
            COMMITTED.fetch_sub(n, Ordering::Relaxed);
            Err(e.into())
        }
    }
}
