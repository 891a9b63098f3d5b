//! The netpoller on Windows: there is none yet, so nobody waits in it. (Goroutines are kernel threads there, and wait for sockets
//! as those do.)

use crate::sched::global::Batch;

/// Room for events, of which there are none.
pub(crate) type Room = ();
pub(crate) const ROOM: Room = ();

/// Whether any goroutine has ever waited for a descriptor.
#[inline]
pub(crate) fn in_use() -> bool {
    false
}

/// Whether any goroutine waits for a descriptor.
pub(crate) fn anybody_waits() -> bool {
    false
}

/// Collects the goroutines whose descriptors have become ready.
#[inline]
pub(crate) fn poll(_room: &mut Room) -> Batch {
    Batch::new()
}

/// The same, but sleeps: only where the netpoller is in use.
pub(crate) fn wait_for_events(_deadline: Option<u64>) -> Batch {
    unreachable!("the netpoller is never in use")
}

/// Ends the sleep of the M that waits for events.
pub(crate) fn interrupt() {}

/// How often somebody has looked for events.
pub(crate) fn looks() -> u32 {
    0
}

/// Looks after waits that are older than a second. True: some are younger.
pub(crate) fn revalidate() -> bool {
    false
}

/// The runtime ends.
pub(crate) fn close() {}

/// Gives all records back.
///
/// # Safety
/// None that this would need.
pub(crate) unsafe fn unload() {}
