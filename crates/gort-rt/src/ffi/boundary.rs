//! The frame by which a callback is entered and left, so that one that was jumped over does not go unnoticed.
//!
//! C's `longjmp` takes frames away without asking them. Where one of them is a callback's, Rust values below it are
//! never dropped, locks never released, and the runtime takes the thread for one that is inside for ever. Nothing is
//! told of a jump, so it is found out afterwards: each callback leaves a *boundary* in its own frame, and the TLS block
//! knows the innermost.
//!
//! ```text
//!   block ──▶ innermost ──outer──▶ boundary ──outer──▶ 0        (towards the stack's beginning, upwards)
//! ```
//!
//! Two boundaries that are alive are two places in memory, and stacks grow downwards. So of two callbacks, one within
//! the other on one stack, the inner has the lower address; and who leaves is the innermost. If either is not so, the
//! innermost has been jumped over, or hosts with fibers have switched to another stack meanwhile. What tells these
//! apart is the *seal*, a word in the boundary that depends on its address:
//!
//! | The innermost that should not be where it is | Judged |
//! |---|---|
//! | lies less than [`NEAR`] below the one who looks | jumped over: a stack has more room than that left where a callback runs |
//! | its memory is gone, or the seal is not there | jumped over: the frame's memory has been used for other things |
//! | its seal is whole | alive, on a fiber |
//!
//! Nothing that is alive is ever taken for dead, as long as nobody overwrites frames or has fibers with no room left. A
//! dead one whose memory nobody has used yet is taken for a fiber; it is found later, or at the end of the thread, when
//! no callback may be under way. The process aborts then, with a message: going on would be undefined behaviour.
//!
//! Fibers may leave in any order. Then the chain's order means nothing any more, and what was innermost before is
//! [`UNKNOWN`] from there on; callbacks that are entered afterwards are watched as before.
//!
//! A signal handler may call in between any two instructions here: it puts the innermost back as it was. The seal is
//! whole whenever the block knows the boundary.

use crate::os;
use crate::tls::{self, TlsBlock};
use core::cell::Cell;
use core::mem::MaybeUninit;
use core::ptr;
use core::sync::atomic::{compiler_fence, Ordering};

/// Less room than this, in bytes, no stack has below the frame of a callback that runs.
const NEAR: usize = 2048;
/// In place of an address: some callbacks are under way, and their order is not known.
const UNKNOWN: usize = 1;
/// What a seal is, but for the address.
const SEAL: usize = 0x5ea1_ed0f_ca11_bac5_u64 as usize;

/// A boundary's word in the frame of [`run`], where it does not move; its address is the boundary's. Not set until it
/// is known.
type Seal = Cell<MaybeUninit<usize>>;

/// Runs `f` as a callback. `block` is what the calling thread's or goroutine's TLS word points at, and not the zero block.
#[inline(always)]
pub(super) fn run<T>(block: &TlsBlock, f: impl FnOnce() -> T) -> T {
    let seal: Seal = Cell::new(MaybeUninit::uninit());
    let _leaves = Boundary::enter(block, &seal);
    f()
}

/// See the module's head. Dropping it is leaving, by panic too.
struct Boundary<'a> {
    block: &'a TlsBlock,
    /// The address of the next outer one, [`UNKNOWN`], or 0.
    outer: usize,
    seal: &'a Seal,
}

impl<'a> Boundary<'a> {
    #[inline(always)]
    fn enter(block: &'a TlsBlock, seal: &'a Seal) -> Boundary<'a> {
        let entered = Boundary { block, outer: block.boundary(), seal };
        if entered.outer.wrapping_sub(1) < entered.address() {
            not_below(entered.address(), entered.outer);
        }
        seal.set(MaybeUninit::new(entered.address() ^ SEAL));
        compiler_fence(Ordering::SeqCst); // for signal handlers on this thread
        block.set_boundary(entered.address());
        entered
    }

    #[inline(always)]
    fn address(&self) -> usize {
        ptr::from_ref(self.seal).expose_provenance()
    }
}

impl Drop for Boundary<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        if self.block.boundary() == self.address() && tls::is_current(self.block) {
            self.block.set_boundary(self.outer);
        } else {
            out_of_order(self.block, self.address());
        }
        compiler_fence(Ordering::SeqCst); // as in `enter`
        self.seal.set(MaybeUninit::new(0));
    }
}

/// A callback is entered at `here`, not below the innermost, `other`.
#[cold]
fn not_below(here: usize, other: usize) {
    if other != UNKNOWN && is_dead(here, other) {
        die(JUMPED);
    }
}

/// A callback with its boundary at `here`, which is not the innermost of this thread, leaves.
#[cold]
fn out_of_order(block: &TlsBlock, here: usize) {
    if !tls::is_current(block) {
        die(MOVED);
    }
    let innermost = block.boundary();
    if innermost != 0 && innermost != UNKNOWN && is_dead(here, innermost) {
        die(JUMPED);
    }
    block.set_boundary(UNKNOWN);
}

/// Whether the boundary at `other` has been jumped over, as far as can be told by one whose boundary is at `here`.
/// Async-signal-safe.
fn is_dead(here: usize, other: usize) -> bool {
    if here.wrapping_sub(other) < NEAR {
        return true;
    }
    let seal = ptr::with_exposed_provenance::<usize>(other);
    // SAFETY: the word is one that this thread used for a boundary, aligned, and can be read: the kernel says so. Any value
    // will do.
    !os::mem::is_readable(seal.cast()) || unsafe { seal.read_volatile() } != other ^ SEAL
}

/// No callback is under way on the caller's thread: the order is known again.
#[inline(always)]
pub(super) fn none_left(block: &TlsBlock) {
    if block.boundary() != 0 {
        block.set_boundary(0);
    }
}

/// Whether a callback is known to be under way on the thread or goroutine with this block. (After fibers have left in any order it
/// is not known.)
pub(crate) fn is_inside(block: &TlsBlock) -> bool {
    !matches!(block.boundary(), 0 | UNKNOWN)
}

/// The thread or goroutine with this block has come to its end, above all callbacks.
#[inline]
pub(crate) fn at_the_end(block: &TlsBlock) {
    match block.boundary() {
        0 => {}
        UNKNOWN => block.set_boundary(0),
        _ => left_behind(),
    }
}

/// A thread or goroutine has ended within a callback.
#[cold]
pub(super) fn left_behind() -> ! {
    die(ENDED)
}

/// A goroutine has come to its end under the identity of a kernel thread.
#[cold]
pub(crate) fn left_on_system_stack() -> ! {
    die(ELSEWHERE)
}

const ELSEWHERE: &[u8] =
    b"gort: a call on the system stack was left without a return: longjmp has jumped out of it. The goroutine went on \
    with the thread-local storage of a kernel thread.\n";
const JUMPED: &[u8] =
    b"gort: a callback was left without a return: longjmp has jumped over it, or the fiber that it was on was given \
    up. Frames of Rust are not to be jumped over.\n";
const MOVED: &[u8] =
    b"gort: a callback returned on another thread than it was called on: the host has moved a fiber within it.\n";
const ENDED: &[u8] =
    b"gort: a thread ended within a callback that had not returned: longjmp has jumped over it, or the fiber that it \
    was on was given up. Frames of Rust are not to be jumped over.\n";

#[cold]
fn die(line: &[u8]) -> ! {
    os::write_stderr(line);
    std::process::abort()
}
