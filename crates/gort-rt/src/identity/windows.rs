//! Identities on Windows: there are none yet, so goroutines are kernel threads there, which have what Windows and std give each
//! thread.
//!
//! [`init`] says so, and with it the start of a runtime that is asked for goroutines of the other kind. Nobody comes to have a
//! block, so what is done with blocks is never reached.

use std::fmt;

/// Whether goroutines can have thread blocks of their own on this target.
pub(crate) const SUPPORTED: bool = false;

/// Why goroutines cannot have thread blocks here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Error;

impl Error {
    /// Whether the environment asks for what has no meaning.
    pub(crate) fn is_setting(&self) -> bool {
        false
    }

    /// Whether goroutines can be kernel threads in place of that.
    pub(crate) fn leaves_threads(&self) -> bool {
        true
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "goroutines cannot have thread-local storage of their own on Windows yet")
    }
}

impl std::error::Error for Error {}

/// How blocks are made.
#[derive(PartialEq, Eq)]
pub(crate) enum Mode {
    /// Each for itself.
    Built,
}

/// The shape of a block.
pub(crate) struct Layout {
    /// Bytes of the block below the thread pointer.
    pub(crate) below: usize,
    /// Bytes of the block from the thread pointer up.
    pub(crate) above: usize,
    /// Alignment of the thread pointer, a power of two.
    pub(crate) align: usize,
}

impl Layout {
    /// The thread pointer of a block at the top of a mapping that ends at `hi`.
    pub(crate) fn thread_pointer(&self, hi: usize) -> usize {
        (hi - self.above) & !(self.align - 1)
    }
}

/// There is no block to do it with.
fn none() -> ! {
    unreachable!("no goroutine has a thread block here")
}

/// Takes what may be needed of the loader; nothing is.
pub(crate) fn look_up() {}

/// Finds out how thread blocks are made here: in no way.
pub(crate) fn init() -> Result<(), Error> {
    Err(Error)
}

/// The shape of blocks.
pub(crate) fn layout() -> Layout {
    none()
}

/// Bytes that a mapping must have for a block to be made in it.
pub(crate) fn least() -> usize {
    none()
}

/// How blocks are made.
pub(crate) fn mode() -> &'static Mode {
    none()
}

/// Makes a block: there is none to be had.
///
/// # Safety
/// None that this would need.
pub(crate) unsafe fn create(_lo: *mut u8, _hi: *mut u8, _tid: u32) -> Result<usize, Error> {
    Err(Error)
}

/// Makes the calling goroutine's state that of a new thread.
///
/// # Safety
/// Runs on a block of ours.
pub(crate) unsafe fn start() {
    none()
}

/// Runs the destructors of the goroutine's thread-local variables.
///
/// # Safety
/// Runs on a block of ours.
pub(crate) unsafe fn run_destructors() {
    none()
}

/// Runs destructors of thread-local variables that were first used after the others' had run: nobody does that here, as with
/// any thread of std's.
///
/// # Safety
/// The thread ends.
pub(crate) unsafe fn run_late_destructors() {}

/// Gives all thread-local variables their first values again.
///
/// # Safety
/// `tp` came from [`create`].
#[must_use]
pub(crate) unsafe fn reset(_tp: usize) -> bool {
    none()
}

/// Frees what a block owns.
///
/// # Safety
/// `tp` came from [`create`].
#[must_use]
pub(crate) unsafe fn destroy(_tp: usize) -> bool {
    none()
}

/// Learns of libraries that came or went.
pub(crate) fn catch_up() {
    none()
}

/// Waits until what [`catch_up`] has begun is done.
pub(crate) fn caught_up() {}

/// In a forked child, on a goroutine.
pub(crate) fn forget_native(_native: usize) {
    none()
}

/// Makes what changes credentials work while kernel threads run goroutines.
///
/// # Safety
/// None that this would need.
pub(crate) unsafe fn guard_credentials(_native: fn() -> usize) -> Result<(), Error> {
    Ok(())
}

/// Undoes [`guard_credentials`].
pub(crate) fn unguard_credentials(_and_wait: bool) -> bool {
    true
}
