//! The alternate signal stack of a kernel thread: what a handler runs on when the thread's own stack has no room left.
//!
//! Signal stacks belong to kernel threads, not to goroutines: the kernel puts the handler on the stack that the thread
//! which runs the goroutine has registered.

use core::mem::MaybeUninit;
use core::ptr;

use crate::os::mem;

/// Room for a handler, above what the kernel puts on the stack itself.
const HANDLER_ROOM: usize = 16 * 1024;

/// Least size.
const LEAST: usize = 32 * 1024;

/// An alternate signal stack of the calling kernel thread. Dropping it, on the same thread, takes it away, unless the
/// application has put another in its place.
#[must_use = "the signal stack goes away when this is dropped"]
pub(crate) struct AltStack {
    /// The mapping, guard page first; null if the thread had a signal stack already, which is then left alone.
    start: *mut u8,
    len: usize,
}

/// Gives the calling kernel thread an alternate signal stack, unless it has one. An errno value if there is no memory.
pub(crate) fn thread_altstack() -> Result<AltStack, i32> {
    let none = AltStack { start: ptr::null_mut(), len: 0 };
    if current().is_none_or(|stack| stack.ss_flags & libc::SS_DISABLE == 0) {
        return Ok(none);
    }
    let page = mem::page_size();
    let size = size().next_multiple_of(page);
    let stack = AltStack { start: mem::reserve(page + size)?, len: page + size };
    // SAFETY: the range was reserved above, and nothing uses it yet.
    unsafe { mem::protect_none(stack.start, page)? };
    let description = libc::stack_t { ss_sp: stack.start.wrapping_add(page).cast(), ss_flags: 0, ss_size: size };
    // SAFETY: the range behind the guard page is ours until `drop`, which takes the registration back first.
    if unsafe { libc::sigaltstack(&description, ptr::null_mut()) } == 0 {
        Ok(stack)
    } else {
        Err(std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EINVAL))
    }
}

/// Bytes for a handler and for what the kernel saves: the vector registers alone may take 11 KiB.
fn size() -> usize {
    // SAFETY: getauxval reads a table that the kernel left for the process; any key is allowed.
    let frame = unsafe { libc::getauxval(libc::AT_MINSIGSTKSZ) } as usize;
    LEAST.max(frame.saturating_add(HANDLER_ROOM))
}

/// The calling thread's signal stack, as the kernel knows it.
fn current() -> Option<libc::stack_t> {
    let mut stack = MaybeUninit::uninit();
    // SAFETY: with no new stack the call only writes the old one to where it is told, which is room for one.
    let result = unsafe { libc::sigaltstack(ptr::null(), stack.as_mut_ptr()) };
    // SAFETY: a call that succeeded has filled it in.
    (result == 0).then(|| unsafe { stack.assume_init() })
}

impl AltStack {
    /// The addresses of the signal stack; empty if the thread has another.
    pub(crate) fn range(&self) -> (usize, usize) {
        (self.start as usize, self.start as usize + self.len)
    }
}

impl Drop for AltStack {
    fn drop(&mut self) {
        if self.start.is_null() {
            return;
        }
        let ours = self.start as usize..self.start as usize + self.len;
        if current().is_some_and(|stack| ours.contains(&(stack.ss_sp as usize))) {
            let off = libc::stack_t { ss_sp: ptr::null_mut(), ss_flags: libc::SS_DISABLE, ss_size: 0 };
            // SAFETY: disabling is always allowed, except on the signal stack itself, where it fails.
            if unsafe { libc::sigaltstack(&off, ptr::null_mut()) } != 0 {
                // A handler is running on it right now: memory in use must stay.
                return;
            }
        }
        // SAFETY: the mapping is this value's own, and the kernel does not know it as a signal stack any more.
        unsafe { mem::unreserve(self.start, self.len) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_gets_one_and_loses_it() {
        // A thread of std has one of its own, so take that away for a while.
        let std_stack = current().unwrap();
        let off = libc::stack_t { ss_sp: ptr::null_mut(), ss_flags: libc::SS_DISABLE, ss_size: 0 };
        // SAFETY: disabled here, restored below; this thread does not overflow in between.
        assert_eq!(unsafe { libc::sigaltstack(&off, ptr::null_mut()) }, 0);

        let mine = thread_altstack().unwrap();
        let seen = current().unwrap();
        assert_eq!(seen.ss_flags & libc::SS_DISABLE, 0);
        assert!(seen.ss_size >= LEAST);
        let second = thread_altstack().unwrap();
        assert!(second.start.is_null(), "it has one");
        drop(second);
        assert_eq!(current().unwrap().ss_sp, seen.ss_sp);
        drop(mine);
        assert_ne!(current().unwrap().ss_flags & libc::SS_DISABLE, 0);

        // SAFETY: std's stack, as it was.
        unsafe { libc::sigaltstack(&std_stack, ptr::null_mut()) };
    }
}
