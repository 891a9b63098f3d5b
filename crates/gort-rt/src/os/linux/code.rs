//! Numbers of errors, as `errno` has them.

/// Too little memory, or address space.
pub(crate) const NO_MEMORY: i32 = libc::ENOMEM;
/// A wrong argument, or what this kernel does not have.
pub(crate) const INVALID: i32 = libc::EINVAL;
/// Too many of something, at this moment.
pub(crate) const AGAIN: i32 = libc::EAGAIN;
/// Somebody has to go first.
pub(crate) const BUSY: i32 = libc::EBUSY;
/// There is nobody to do it any more.
pub(crate) const SHUT: i32 = libc::ESHUTDOWN;
/// All that mean that memory, address space or kernel threads are used up.
pub(crate) const EXHAUSTED: &[i32] = &[NO_MEMORY, AGAIN];
