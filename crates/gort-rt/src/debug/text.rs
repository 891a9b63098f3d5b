//! Text for a descriptor: formatted into a buffer on the stack and written by system calls, without allocation, lock or
//! `errno`. For signal handlers, which may have little stack.

use crate::os;
use core::ffi::c_int;
use core::fmt::{self, Write};
use core::mem;

/// Bytes that are written at a time.
const BUFFER: usize = 1024;

/// See the module's head. What is left in the buffer is written by [`Text::finish`].
pub(super) struct Text {
    fd: c_int,
    buffer: [u8; BUFFER],
    len: usize,
    /// Why the descriptor takes no more.
    failed: Option<i32>,
}

impl Text {
    pub(super) fn to(fd: c_int) -> Text {
        Text { fd, buffer: [0; BUFFER], len: 0, failed: None }
    }

    /// Appends bytes that come from elsewhere; those that could spoil a line or a terminal become question marks.
    pub(super) fn push_foreign(&mut self, bytes: &[u8]) -> fmt::Result {
        bytes.iter().try_for_each(|&byte| self.push(&[if byte.is_ascii_control() { b'?' } else { byte }]))
    }

    fn push(&mut self, mut bytes: &[u8]) -> fmt::Result {
        while !bytes.is_empty() {
            if self.len == BUFFER {
                self.flush()?;
            }
            let (now, later) = bytes.split_at(bytes.len().min(BUFFER - self.len));
            self.buffer[self.len..self.len + now.len()].copy_from_slice(now);
            self.len += now.len();
            bytes = later;
        }
        Ok(())
    }

    fn flush(&mut self) -> fmt::Result {
        let len = mem::take(&mut self.len);
        if self.failed.is_none() {
            self.failed = os::write_all(self.fd, &self.buffer[..len]).err();
        }
        match self.failed {
            None => Ok(()),
            Some(_) => Err(fmt::Error),
        }
    }

    /// Writes what is left. The errno value if the descriptor has not taken everything.
    pub(super) fn finish(mut self) -> Result<(), i32> {
        let _ = self.flush(); // it is noted
        self.failed.map_or(Ok(()), Err)
    }
}

impl Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.push(text.as_bytes())
    }
}
