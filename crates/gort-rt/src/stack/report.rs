//! The two lines about a goroutine that has overflowed its stack.
//!
//! They are written by a handler that has interrupted anything, so nothing here allocates or takes a lock.

use core::fmt::{self, Write};
use core::mem::transmute;
use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};

use super::Slot;
use crate::os;

/// Tells whose stack a slot is: the goroutine's number, its name (empty if it has none) and the size of its stack in
/// bytes. Called in the handler, so it must be async-signal-safe. `None` if there is no telling.
pub(crate) type Describe = fn(&Slot) -> Option<(u64, &[u8], usize)>;

/// The registered [`Describe`], or null.
static DESCRIBE: AtomicPtr<()> = AtomicPtr::new(ptr::null_mut());

/// Registers the function that tells whose stack a slot is.
pub(crate) fn set_describe(describe: Describe) {
    DESCRIBE.store(describe as *mut (), Ordering::Release);
}

/// Writes the two lines.
pub(super) fn report(slot: &Slot) {
    let describe = DESCRIBE.load(Ordering::Acquire);
    let known = if describe.is_null() {
        None
    } else {
        // SAFETY: what is stored in DESCRIBE other than null is a function of this type.
        let describe = unsafe { transmute::<*mut (), Describe>(describe) };
        describe(slot)
    };
    let (id, name, bytes) = known.unwrap_or((0, b"", slot.usable()));
    let mut line = Line::new();
    line.push(b"\ngort: goroutine '");
    line.push(if name.is_empty() { b"<unnamed>" } else { &name[..name.len().min(Line::LONGEST_NAME)] });
    // The line has room for the longest name and this, and would cut the text off if it had not.
    let _ = match known {
        Some(_) => write!(line, "' (id {id})"),
        None => write!(line, "' (stack {})", slot.index),
    };
    let _ = writeln!(line, " has overflowed its stack of {} KiB", bytes / 1024);
    line.push(b"gort: raise it with Builder::stack_size or GORT_STACK_SIZE\n");
    os::write_stderr(&line.bytes[..line.len]);
}

/// Text on the stack, cut off where the room ends.
struct Line {
    bytes: [u8; 512],
    len: usize,
}

impl Line {
    const LONGEST_NAME: usize = 256;

    fn new() -> Self {
        Self { bytes: [0; 512], len: 0 }
    }

    fn push(&mut self, text: &[u8]) {
        let n = text.len().min(self.bytes.len() - self.len);
        self.bytes[self.len..self.len + n].copy_from_slice(&text[..n]);
        self.len += n;
    }
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.push(text.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_are_cut() {
        let mut line = Line::new();
        line.push(&[b'x'; 500]);
        write!(line, "{}", 1_234_567_890_123_u64).unwrap();
        assert_eq!(line.len, 512);
        assert!(line.bytes.ends_with(b"x123456789012"));
    }
}
