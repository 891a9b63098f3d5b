//! What a host has set up about signals: its handlers, and the mask and the signal stack of the calling thread.
//!
//! This file uses libc alone, so that programs without gort's hooks can include it too.

use std::ffi::c_int;
use std::fmt;

/// Numbers of signals: 1 to 64.
const SIGNALS: usize = 64;

/// The kernel's `struct sigaction`, on x86-64 and AArch64.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Action {
    handler: usize,
    flags: u64,
    restorer: usize,
    mask: u64,
}

/// See the module's head.
#[derive(Clone, PartialEq, Eq)]
pub struct HostState {
    actions: [Action; SIGNALS],
    mask: u64,
    stack: (usize, c_int, usize),
}

impl HostState {
    /// As it is now, asked of the kernel itself: libc hides its own two signals.
    pub fn now() -> HostState {
        let mut state = HostState { actions: [Action::default(); SIGNALS], mask: 0, stack: (0, 0, 0) };
        // SAFETY: each call writes one record of the kernel's layout, and changes nothing.
        unsafe {
            for (i, action) in state.actions.iter_mut().enumerate() {
                let done = libc::syscall(libc::SYS_rt_sigaction, i + 1, 0usize, action as *mut Action, 8usize);
                assert_eq!(done, 0, "signal {}", i + 1);
            }
            let how = libc::SIG_BLOCK;
            assert_eq!(libc::syscall(libc::SYS_rt_sigprocmask, how, 0usize, &raw mut state.mask, 8usize), 0);
            let mut stack: libc::stack_t = std::mem::zeroed();
            assert_eq!(libc::sigaltstack(std::ptr::null(), &raw mut stack), 0);
            state.stack = (stack.ss_sp as usize, stack.ss_flags, stack.ss_size);
        }
        state
    }

    /// The same, but for the handlers of these signals.
    pub fn without(mut self, signals: &[c_int]) -> HostState {
        for &signal in signals {
            self.actions[signal as usize - 1].handler = 0;
        }
        self
    }

    /// What is another way in `other`, in words; nothing if all is the same.
    pub fn differences(&self, other: &HostState) -> Vec<String> {
        let mut found = Vec::new();
        for (i, (one, other)) in self.actions.iter().zip(&other.actions).enumerate() {
            if one != other {
                found.push(format!("signal {}: {one:x?} and {other:x?}", i + 1));
            }
        }
        if self.mask != other.mask {
            found.push(format!("masks {:x} and {:x}", self.mask, other.mask));
        }
        if self.stack != other.stack {
            found.push(format!("signal stacks {:x?} and {:x?}", self.stack, other.stack));
        }
        found
    }
}

impl fmt::Debug for HostState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "mask {:x}, signal stack {:x?}, actions {:x?}", self.mask, self.stack, self.actions)
    }
}

/// Installs `handler` for all signals that a program may handle, every second one to run on the alternate stack, and blocks
/// two signals on the calling thread.
pub fn set_up_everything(handler: extern "C" fn(c_int)) {
    // SAFETY: the handlers of tests do nothing that a handler may not do. Signals that cannot be handled are refused.
    unsafe {
        for signal in 1..=SIGNALS as c_int {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = handler as *const () as usize;
            action.sa_flags = if signal % 2 == 0 { libc::SA_ONSTACK } else { libc::SA_RESTART };
            libc::sigaction(signal, &raw const action, std::ptr::null_mut());
        }
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGIO);
        libc::sigaddset(&raw mut set, libc::SIGTERM);
        assert_eq!(libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()), 0);
    }
}
