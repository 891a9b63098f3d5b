//! A signal handler before each instruction of a thread: by the processor's trap flag, which the kernel puts aside while a
//! handler runs.
//!
//! The thread must not block SIGTRAP meanwhile, as libc does at the very end of threads and while it makes one: that is death.

use crate::handlers::keeping_errno;
use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::sync::OnceLock;

/// Bit of the flags register.
const TRAP: i64 = 1 << 8;

/// Called in the handler with the number of steps that the thread has made, and the address of the next instruction. False: it
/// is to make no more.
pub type Each = fn(usize, usize) -> bool;

static EACH: OnceLock<Each> = OnceLock::new();

thread_local!(static STEPS: Cell<usize> = const { Cell::new(0) });

extern "C" fn step(_: c_int, _: *mut libc::siginfo_t, context: *mut c_void) {
    keeping_errno(|| {
        let each = EACH.get().expect("it was installed");
        let made = STEPS.replace(STEPS.get() + 1);
        // SAFETY: the kernel passes the interrupted context, and takes it back when the handler returns.
        let registers = unsafe { &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs };
        if !each(made, registers[libc::REG_RIP as usize] as usize) {
            registers[libc::REG_EFL as usize] &= !TRAP;
        }
    });
}

/// Has `each` called wherever threads are between [`begin`] and [`end`].
///
/// # Panics
/// Something has been installed before.
pub fn install(each: Each) {
    EACH.set(each).expect("one handler a process");
    // SAFETY: zero is a valid action; the handler makes calls that are safe in handlers, and leaves errno as it was.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = step as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO;
        assert_eq!(libc::sigaction(libc::SIGTRAP, &raw const action, std::ptr::null_mut()), 0);
    }
}

/// The calling thread is stepped through from here on.
#[inline(always)]
pub fn begin() {
    STEPS.set(0);
    // SAFETY: the flag changes nothing but that the kernel is told of each instruction, for which there is a handler. What is
    // pushed is popped.
    unsafe { std::arch::asm!("pushfq", "or qword ptr [rsp], 0x100", "popfq") };
}

/// Not any more. Returns how many steps it has made since [`begin`].
#[inline(always)]
pub fn end() -> usize {
    // SAFETY: as above, the other way.
    unsafe { std::arch::asm!("pushfq", "and qword ptr [rsp], ~0x100", "popfq") };
    STEPS.get()
}
