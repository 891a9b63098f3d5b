//! Texts for people.

use crate::code::{failure, keep_error, run, take_last_error, Failure, GORT_EINVAL, GORT_ENONE, GORT_ERANGE};
use core::ffi::{c_char, c_int};
use gort_rt::{embed, ffi};

/// Copies a text with a zero behind it, as much of it as there is room for.
///
/// # Safety
/// `buffer` is null or has `size` writable bytes; `length` is null or writable.
unsafe fn copy(text: &str, buffer: *mut c_char, size: usize, length: *mut usize) -> Result<(), Failure> {
    if !length.is_null() {
        // SAFETY: the caller's promise.
        unsafe { *length = text.len() };
    }
    if buffer.is_null() && size > 0 {
        return Err(failure(GORT_EINVAL));
    }
    if size > 0 {
        let most = text.floor_char_boundary_of(size - 1);
        // SAFETY: the caller's promise; `most` is below `size`.
        unsafe {
            buffer.cast::<u8>().copy_from_nonoverlapping(text.as_ptr(), most);
            buffer.add(most).write(0);
        }
    }
    if text.len() < size {
        Ok(())
    } else {
        Err(failure(GORT_ERANGE))
    }
}

/// Where a text may be cut.
trait Cut {
    /// The largest border between two characters up to `at`.
    fn floor_char_boundary_of(&self, at: usize) -> usize;
}

impl Cut for str {
    fn floor_char_boundary_of(&self, at: usize) -> usize {
        (0..=at.min(self.len())).rev().find(|i| self.is_char_boundary(*i)).unwrap_or(0)
    }
}

/// The text, in UTF-8, of the last panic of Rust code that was stopped on the calling thread or goroutine: by a function that has
/// returned GORT_EPANIC, or in a callback. It is given once.
///
/// @param buffer  where it goes, with a zero behind it.
/// @param size  bytes of the buffer; 0 to ask for the length only.
/// @param length  where the number of its bytes goes, without the zero; or NULL.
/// @return GORT_OK;
///   GORT_ENONE: there is none;
///   GORT_ERANGE: the buffer holds its beginning; the text can be asked for again;
///   GORT_EINVAL: `buffer` is NULL and `size` is not 0.
///
/// # Safety
/// `buffer` is null or has `size` writable bytes; `length` is null or writable.
#[no_mangle]
pub unsafe extern "C" fn gort_last_panic(buffer: *mut c_char, size: usize, length: *mut usize) -> c_int {
    run(|| {
        let text = ffi::take_last_panic().ok_or_else(|| failure(GORT_ENONE))?;
        // SAFETY: the caller's promise.
        unsafe { copy(&text, buffer, size, length) }.inspect_err(|_| embed::keep_panic_text(&text))
    })
}

/// The text, in UTF-8, of the last failure on the calling thread or goroutine that has more to say than its code, such as which
/// setting is wrong or which limit was reached. It is given once.
///
/// @param buffer  where it goes, with a zero behind it.
/// @param size  bytes of the buffer; 0 to ask for the length only.
/// @param length  where the number of its bytes goes, without the zero; or NULL.
/// @return as gort_last_panic().
///
/// # Safety
/// `buffer` is null or has `size` writable bytes; `length` is null or writable.
#[no_mangle]
pub unsafe extern "C" fn gort_last_error(buffer: *mut c_char, size: usize, length: *mut usize) -> c_int {
    run(|| {
        let text = take_last_error().ok_or_else(|| failure(GORT_ENONE))?;
        // SAFETY: the caller's promise.
        let copied = unsafe { copy(&text, buffer, size, length) };
        if copied.is_err() {
            keep_error(text);
        }
        copied
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::ptr;

    #[test]
    fn a_text_is_cut_between_characters_and_ends_with_a_zero() {
        let mut buffer = [1u8; 8];
        let mut length = 0;
        for (size, copied, fits) in
            [(6, "aüb!", true), (5, "aüb", false), (3, "a", false), (2, "a", false), (1, "", false)]
        {
            // SAFETY: the buffer is larger.
            let result = unsafe { copy("aüb!", buffer.as_mut_ptr().cast(), size, &mut length) };
            assert_eq!((result.is_ok(), length), (fits, 5), "{size}");
            assert_eq!(&buffer[..=copied.len()], [copied.as_bytes(), b"\0"].concat());
        }
        // SAFETY: nothing is written.
        let codes =
            unsafe { [copy("a", ptr::null_mut(), 0, ptr::null_mut()), copy("a", ptr::null_mut(), 1, ptr::null_mut())] };
        assert_eq!(codes.map(|code| code.unwrap_err().code()), [GORT_ERANGE, GORT_EINVAL]);
    }
}
