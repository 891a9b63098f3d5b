//! The report when a goroutine overflows its stack.
//!
//! The guard faults; the handler, on the kernel thread's signal stack, finds the slot by the address, writes two lines and
//! aborts, as std does for threads. Everything else that arrives here is somebody else's and goes to whatever handler was
//! there before: std's (which reports overflows of native threads), a crash reporter's, or the default.
//!
//! An access to a guard counts as an overflow only if the stack pointer is in the same slot. A wild pointer into a guard
//! from elsewhere is an ordinary segmentation fault.
//!
//! The handler allocates nothing and takes no lock: it may have interrupted anything. It decides by two addresses alone, so it
//! does not matter whose identity it runs under: between the two halves of a switch the thread pointer is another's than the
//! stack. Only when a guard has been hit from its own stack does the report ask the thread-local word whose that is, and
//! compares slots: where nothing overflows, as between those halves, which touch no stack but at its known top, it is not asked;
//! and code that runs on a goroutine's stack under the kernel thread's identity gets a report without a name.

use core::ffi::{c_int, c_void};

use super::report::report;
use super::{find, Slot};
use crate::arch;
use crate::chain::{Chain, Former};

pub(crate) use super::altstack::{thread_altstack, AltStack};
pub(crate) use super::report::set_describe;

/// Linux reports faults of memory with rights or a mapping missing by the first, of files cut short by the second; other
/// systems report stack overflows by the second.
static CHAINS: [Chain; 2] = [Chain::new(libc::SIGSEGV), Chain::new(libc::SIGBUS)];

/// Installs the handlers. The ones that were there are kept and called for faults that are not ours. Does nothing if they
/// are installed. Not to be called from two threads at a time.
pub(crate) fn install() -> Result<(), i32> {
    CHAINS.iter().try_for_each(|chain| chain.install(on_fault, 0))
}

/// Puts the previous handlers back and says whether that was possible: it is
/// not when somebody has installed a handler since and may call ours. Not to be called from two threads at a time.
pub(crate) fn uninstall() -> bool {
    // Both, whatever becomes of the first.
    CHAINS.iter().filter(|chain| !chain.uninstall(on_fault)).count() == 0
}

/// The handler. The kernel passes the signal, what is known of it, and the interrupted context.
extern "C" fn on_fault(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: with SA_SIGINFO the kernel passes valid pointers to both records.
    let (fault, stack_pointer) = unsafe { (fault_address(&*info), arch::stack_pointer_of(&*context.cast())) };
    if let Some(slot) = fault.and_then(|fault| overflowed(fault, stack_pointer)) {
        report(&slot);
        // SAFETY: abort may be called in a signal handler.
        unsafe { libc::abort() };
    }
    pass_on(signal, info, context, fault.is_some());
}

/// The address that the fault was about; `None` for a signal that somebody sent, and for faults without an address.
fn fault_address(info: &libc::siginfo_t) -> Option<usize> {
    /// `SI_KERNEL`: a general protection fault, whose address the processor does not tell.
    const KERNEL: c_int = 0x80;
    // SAFETY: for faults (positive codes) the kernel fills in the address.
    (info.si_code > 0 && info.si_code != KERNEL).then(|| unsafe { info.si_addr() } as usize)
}

/// The slot whose guard was hit by code that runs on that same slot.
fn overflowed(fault: usize, stack_pointer: usize) -> Option<Slot> {
    let (slot, in_guard) = find(fault)?;
    let (running_on, _) = find(stack_pointer)?;
    (in_guard && running_on.index == slot.index).then_some(slot)
}

/// Does what would have happened without us. `fault` says that the signal will come again when the handler returns,
/// because the instruction that caused it is executed again.
fn pass_on(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void, fault: bool) {
    let Some(chain) = CHAINS.iter().find(|chain| chain.signal == signal) else { return };
    match chain.former() {
        Former::Ignored if !fault => {}
        // To ignore a fault is to die of it, which is what the kernel does with both when it comes again.
        Former::Default | Former::Ignored => {
            chain.step_aside();
            if !fault {
                // Nothing is executed again, so send it again; it is delivered when this handler returns.
                // SAFETY: raise is async-signal-safe.
                unsafe { libc::raise(signal) };
            }
        }
        // SAFETY: there is one, and it gets what the kernel gave us.
        Former::Handler => unsafe { chain.call(info, context) },
    }
}

#[cfg(test)]
#[path = "overflow_tests.rs"]
mod tests;
