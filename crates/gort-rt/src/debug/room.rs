//! Stacks for dumps.
//!
//! Formatting takes some KiB of stack, more where code is not optimised. A signal handler may have less: std gives
//! its threads signal stacks of 8 KiB, of which the registers that the kernel saves take half, and a goroutine may be
//! near its end. So a dump is made on a stack of its own. There are some, made when they are first needed and kept, for as
//! many dumps at a time; one more is refused.

use crate::arch::{self, valgrind};
use crate::os::{self, mem};
use core::mem::ManuallyDrop;
use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

/// Bytes of each, besides its guard.
const SIZE: usize = 64 << 10;

/// See the module's head.
struct Room {
    taken: AtomicBool,
    /// The upper end; null before the first use. Of whoever has taken the room.
    top: AtomicPtr<u8>,
}

static ROOMS: [Room; 32] = [const { Room { taken: AtomicBool::new(false), top: AtomicPtr::new(ptr::null_mut()) } }; 32];

impl Room {
    /// The upper end of the stack, of a room that the caller has taken. The errno value if the system has no memory for it.
    fn top(&self) -> Result<*mut u8, i32> {
        let top = self.top.load(Ordering::Relaxed);
        if !top.is_null() {
            return Ok(top);
        }
        let page = mem::page_size();
        let start = mem::reserve(page + SIZE)?;
        // SAFETY: the page was reserved just now, and nothing uses it.
        unsafe { mem::protect_none(start, page) }.inspect_err(|_| {
            // SAFETY: as above.
            unsafe { mem::unreserve(start, page + SIZE) }
        })?;
        let top = start.wrapping_add(page + SIZE);
        valgrind::stack_register(start.wrapping_add(page), top);
        self.top.store(top, Ordering::Relaxed);
        Ok(top)
    }
}

/// Runs `f`, which must not unwind or park, on a stack with room for a dump. Async-signal-safe. The errno value if there is
/// none: `EBUSY` while too many others are in use.
pub(super) fn with_room<F: FnOnce()>(f: F) -> Result<(), i32> {
    // Acquire: whoever had it before has left.
    let room = ROOMS.iter().find(|room| !room.taken.swap(true, Ordering::Acquire)).ok_or(os::code::BUSY)?;
    let top = room.top();
    if let Ok(top) = top {
        // The kernel tells by the stack pointer whether the signal stack is in use: another handler would begin at its top,
        // over the frames of one that has called us.
        let _blocked = os::on_signal_stack().then(os::Blocked::all);
        let mut f = ManuallyDrop::new(f);
        // SAFETY: the stack is ours until we let go of the room. The thread pointer is the caller's own, so `f` runs as it
        // would here. `run` takes `f` once, which outlives the call.
        unsafe { arch::call_on_stack(run::<F>, (&raw mut f).cast(), top, arch::thread_pointer()) };
    }
    room.taken.store(false, Ordering::Release);
    top.map(drop)
}

/// Gives the stacks back.
///
/// # Safety
/// Nobody makes a dump any more.
pub(crate) unsafe fn unload() {
    for room in &ROOMS {
        let top = room.top.swap(ptr::null_mut(), Ordering::Relaxed);
        if !top.is_null() {
            let bytes = mem::page_size() + SIZE;
            // SAFETY: `Room::top` reserved so much, up to there; and the caller's promise.
            unsafe { mem::unreserve(top.wrapping_sub(bytes), bytes) };
        }
    }
}

/// On the other stack. A panic would end the process here.
unsafe extern "C" fn run<F: FnOnce()>(f: *mut u8) {
    // SAFETY: `with_room` passes an F, which outlives the call, and takes it no more.
    (unsafe { ManuallyDrop::take(&mut *f.cast::<ManuallyDrop<F>>()) })();
}
