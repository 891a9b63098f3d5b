//! The report when a goroutine overflows its stack: on Windows std makes it, as for any thread, since that is what goroutines are.

use super::Slot;

/// Tells whose stack a slot is: the goroutine's number, its name (empty if it has none) and the size of its stack in bytes.
pub(crate) type Describe = fn(&Slot) -> Option<(u64, &[u8], usize)>;

/// Registers the function that tells whose stack a slot is.
pub(crate) fn set_describe(_describe: Describe) {}

/// Installs what sees an overflow.
pub(crate) fn install() -> Result<(), i32> {
    Ok(())
}

/// Takes it out again, and says whether that was possible.
pub(crate) fn uninstall() -> bool {
    true
}

/// Where handlers run: on the stack that they have interrupted.
pub(crate) struct AltStack(());

impl AltStack {
    /// Its addresses: none.
    pub(crate) fn range(&self) -> (usize, usize) {
        (0, 0)
    }
}

/// Prepares the calling kernel thread for handlers.
pub(crate) fn thread_altstack() -> Result<AltStack, i32> {
    Ok(AltStack(()))
}
