//! From the driver's answers to runnable goroutines.
//!
//! Who polls is as on Linux: an M without work looks once, one that runs goroutines every 64th switch, sysmon when nobody else
//! has; and of the Ms that sleep one, the poller, sleeps here in place of a futex. What interrupts it is meant for it alone: one
//! who only looks and finds that in the port puts it back.

use super::desc::Side;
use super::table;
use crate::atomic::{AtomicPtr, AtomicU32, Ordering};
use crate::os::afd::{Port, Told, NOTHING_TOLD};
use crate::sched::global::Batch;
use crate::sync::rawmutex::RawMutex;
use core::ptr;

/// Where answers come to; null before the first wait. A `Box`'s.
static PORT: AtomicPtr<Port> = AtomicPtr::new(ptr::null_mut());
static CREATE: RawMutex<()> = RawMutex::new(());
/// Questions that were asked and whose answers were not taken yet.
static ASKED: AtomicU32 = AtomicU32::new(0);
/// How often somebody has looked; a hint for sysmon.
static LOOKS: AtomicU32 = AtomicU32::new(0);

/// What the port tells in place of an answer: the poller is to wake.
const INTERRUPT: usize = 1;
/// Answers taken at a time.
const ANSWERS: usize = 64;

/// Room for answers; a P has one, so that looking takes no stack of a goroutine.
pub(crate) struct Room([Told; ANSWERS]);
pub(crate) const ROOM: Room = Room([NOTHING_TOLD; ANSWERS]);

// SAFETY: between two looks the room holds nothing of use.
unsafe impl Send for Room {}

fn port() -> Option<&'static Port> {
    // SAFETY: what is stored there stays until `close`, when nobody looks or waits any more.
    unsafe { PORT.load(Ordering::Acquire).as_ref() }
}

/// Whether any goroutine has ever waited for a socket.
#[inline]
pub(crate) fn in_use() -> bool {
    !PORT.load(Ordering::Relaxed).is_null()
}

#[cold]
fn create() -> Option<&'static Port> {
    let _creating = CREATE.lock();
    if !in_use() {
        PORT.store(Box::into_raw(Box::new(Port::new().ok()?)), Ordering::Release);
    }
    port()
}

/// Asks about a side of a socket. Under its lock, and it was not asked.
pub(super) fn ask(side: &'static Side, socket: usize, events: u32) -> Result<(), ()> {
    let port = port().or_else(create).ok_or(())?;
    ASKED.fetch_add(1, Ordering::SeqCst);
    // SAFETY: the record stays where it is, as long as the library at least, which does not go before `close`; and the caller
    // notes that the question was asked.
    let asked = unsafe { port.ask(&side.question, socket, events, ptr::from_ref(side).cast()) };
    if asked.is_err() {
        ASKED.fetch_sub(1, Ordering::SeqCst);
    }
    asked
}

/// Takes the question of a side back, if it was not answered.
pub(super) fn take_back(side: &'static Side) {
    if let Some(port) = port() {
        port.take_back(&side.question);
    }
}

/// Ends the sleep of the M that waits for events.
pub(crate) fn interrupt() {
    if let Some(port) = port() {
        port.tell(INTERRUPT);
    }
}

/// Collects, without waiting, the goroutines whose sockets have become ready. They are the caller's to make runnable.
#[inline]
pub(crate) fn poll(room: &mut Room) -> Batch {
    match port() {
        Some(port) => collect(port, room, Some(0)),
        None => Batch::new(),
    }
}

/// The same, but sleeps until there are some, [`interrupt`], or `deadline`.
pub(crate) fn wait_for_events(deadline: Option<u64>) -> Batch {
    collect(port().expect("who sleeps here has seen that it is in use"), &mut { ROOM }, deadline)
}

/// How often somebody has looked for events.
pub(crate) fn looks() -> u32 {
    LOOKS.load(Ordering::Relaxed)
}

fn collect(port: &Port, room: &mut Room, deadline: Option<u64>) -> Batch {
    let mut runnable = Batch::new();
    let mut interrupted = false;
    LOOKS.store(LOOKS.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    loop {
        let n = port.wait(&mut room.0, deadline);
        for told in &room.0[..n] {
            // SAFETY: what is told with an address is the answer to a question, and that was asked with its side's.
            match unsafe { told.lpOverlapped.cast::<Side>().as_ref() } {
                Some(side) => {
                    side.answered(&mut runnable);
                    ASKED.fetch_sub(1, Ordering::SeqCst);
                }
                None => interrupted = true,
            }
        }
        // A full room: there may be more, and goroutines that were ready first should run first.
        if n < ANSWERS || runnable.len >= 4 * ANSWERS || deadline != Some(0) {
            break;
        }
    }
    if interrupted && deadline == Some(0) {
        port.tell(INTERRUPT);
    }
    runnable
}

/// At the end of the runtime, when nobody waits and nobody looks: takes back what is still asked, and gives the port back.
pub(crate) fn close() {
    let _creating = CREATE.lock();
    let Some(port) = port() else { return };
    table::for_each(|_, desc| {
        desc.sides().iter().for_each(|side| {
            if side.state.lock().asked {
                port.take_back(&side.question);
            }
        })
    });
    // From then on the driver writes to no record.
    while ASKED.load(Ordering::SeqCst) != 0 {
        let ready = collect(port, &mut { ROOM }, None);
        debug_assert!(ready.len == 0, "nobody waits");
    }
    // SAFETY: it came from a `Box`, and nobody uses it any more.
    drop(unsafe { Box::from_raw(PORT.swap(ptr::null_mut(), Ordering::Relaxed)) });
}

/// Whether any goroutine waits for a socket.
pub(crate) fn anybody_waits() -> bool {
    let mut any = false;
    table::for_each(|_, desc| any |= desc.sides().iter().any(Side::is_waited_for));
    any
}
