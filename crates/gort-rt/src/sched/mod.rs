//! The scheduler: G, M and P.
//!
//! | File | Subject |
//! |---|---|
//! | `g`, `m`, `p` | the three records |
//! | `waitword` | how a wait ends, once |
//! | `runnext`, `ring`, `queue`, `batch` | who is ready: next on a P, on a P, anywhere; several in order |
//! | `switch` | leaving and resuming a goroutine |
//! | `find`, `idle` | what an M does next; sleep |
//! | `wake` | making goroutines runnable and finding them a processor |
//! | `revoke` | entering the runtime, and taking a P from one who is outside |
//! | `sysmon` | who takes it, and when |
//! | `task`, `young`, `spawn`, `pool`, `gfree`, `odd`, `budget` | birth, death and reuse of goroutines |
//! | `global`, `run` | what is shared; a kernel thread's life |
//! | `procs` | how many Ps there are, and changing that |
//! | `census` | how many goroutines there are |
//! | `deadlock` | the report that nothing can go on |

pub(crate) mod batch;
pub(crate) mod budget;
pub(crate) mod census;
pub(crate) mod deadlock;
pub(crate) mod find;
pub(crate) mod g;
pub(crate) mod gfree;
pub(crate) mod global;
pub(crate) mod idle;
pub(crate) mod m;
pub(crate) mod odd;
pub(crate) mod p;
pub(crate) mod pool;
pub(crate) mod procs;
pub(crate) mod queue;
pub(crate) mod revoke;
pub(crate) mod ring;
pub(crate) mod run;
pub(crate) mod runnext;
pub(crate) mod spawn;
pub(crate) mod switch;
pub(crate) mod sysmon;
pub(crate) mod task;
pub(crate) mod waitword;
pub(crate) mod wake;
pub(crate) mod young;

use crate::atomic::Ordering;
use crate::tls;
use g::{Kind, G};
use p::P;

pub(crate) use switch::{park, yield_now};

/// The running goroutine, if there is one and it may park here: not inside the runtime itself, where an allocator or a
/// signal handler may find itself.
#[inline(always)]
pub(crate) fn parkable() -> Option<&'static G> {
    // SAFETY: the current goroutine lives as long as the code that runs on it.
    let g = unsafe { tls::current_goroutine().as_ref() }?;
    // SAFETY: the M of a running goroutine is set and lives for ever.
    (unsafe { (*g.m.get()).in_runtime.load(Ordering::Relaxed) } == 0).then_some(g)
}

/// The running goroutine, of either backend; it may be unable to park.
#[inline]
pub(crate) fn goroutine() -> Option<&'static G> {
    // SAFETY: the current G lives as long as the code that runs on it.
    let g = unsafe { tls::getg().as_ref() }?;
    matches!(g.kind, Kind::Goroutine | Kind::Thread).then_some(g)
}

/// A scheduling point on the way: a goroutine whose slice is used up lets others run, and one that has lost its P queues
/// for another. For calls that a goroutine may make in a long loop; not for signal handlers.
#[inline]
pub(crate) fn checkpoint() {
    if let Some(g) = parkable() {
        // SAFETY: the M of a running goroutine is set and lives for ever.
        let m = unsafe { &*g.m.get() };
        if m.lost_p() || m.p().is_some_and(P::wants_to_switch) {
            rejoin(g);
        }
    }
}

/// After so many wakes, on average, one gives way to the woken: of a word that several wait for, which must be a lock, and of
/// any other. (Rarely, because the waker may still hold a lock, as std's channels do, for which the woken would spin.)
const GIVE_WAY_EVERY: [u32; 2] = [32, 1024];

/// The caller, a goroutine that may park, has woken a goroutine that waited for a lock, perhaps. A scheduling point; and now
/// and then the woken runs at once: a goroutine that takes a lock again and again, and yields only while it holds it, would
/// otherwise keep it from the others for ever. (Kernel threads are saved from that by being preempted anywhere.)
pub(crate) fn after_wake(g: &G, others: bool) {
    // SAFETY: the M of a running goroutine is set and lives for ever.
    let p = unsafe { (*g.m.get()).p() };
    // Not at every 32nd wake exactly: goroutines that take turns at a lock would fall into step with that. The product's upper
    // bits are as good as random. Should the P be lost just now, the count is off by one.
    let sides = GIVE_WAY_EVERY[usize::from(!others)];
    let die = |p: &P| P::bump(&p.wakes).wrapping_mul(0x9e37_79b1) >> 16;
    if p.is_some_and(|p| die(p).is_multiple_of(sides)) {
        yield_now(g);
    } else {
        checkpoint();
    }
}

/// Puts a goroutine that may have lost its P, or used its slice up, back into the scheduler's order.
#[cold]
pub(crate) fn rejoin(g: &G) {
    let m = revoke::enter(g);
    let found = m.p().is_none() && idle::take_idle_p(m);
    if let (true, Some(p)) = (found, m.p()) {
        switch::count_switch(p, false); // a slice of its own begins
    }
    revoke::leave(m);
    if !found {
        switch::give_way(g);
    }
}
