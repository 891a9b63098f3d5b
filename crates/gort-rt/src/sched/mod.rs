//! The scheduler: G, M and P.
//!
//! | File | Subject |
//! |---|---|
//! | `g`, `m`, `p` | the three records; the wait word; the ring |
//! | `switch` | leaving and resuming a goroutine |
//! | `find`, `idle` | what an M does next; sleep |
//! | `wake` | making goroutines runnable and finding them a processor |
//! | `revoke` | entering the runtime, and taking a P from one who is outside |
//! | `sysmon` | who takes it, and when |
//! | `spawn`, `gfree` | birth, death and reuse of goroutines |
//! | `global`, `run` | what is shared; a kernel thread's life |
//! | `deadlock`, `chaos` | the report that nothing can go on; the mode for tests |

pub(crate) mod chaos;
pub(crate) mod deadlock;
pub(crate) mod find;
pub(crate) mod g;
pub(crate) mod gfree;
pub(crate) mod global;
pub(crate) mod idle;
pub(crate) mod m;
pub(crate) mod p;
pub(crate) mod revoke;
pub(crate) mod run;
pub(crate) mod spawn;
pub(crate) mod switch;
pub(crate) mod sysmon;
pub(crate) mod wake;

use crate::tls;
use core::sync::atomic::Ordering;
use g::G;

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
