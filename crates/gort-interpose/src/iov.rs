//! Arrays of buffers that a call has done a part of.

use core::ptr;
use libc::iovec;

/// How many buffers go into a call that goes on where an earlier one stopped.
const SOME: usize = 8;

/// No more than this goes into or comes out of one call: the kernel cuts what is longer.
pub(crate) const MOST: usize = 0x7fff_f000;

/// Buffers that a call goes on with.
pub(crate) struct Rest {
    pub(crate) buffers: [iovec; SOME],
    /// How many of them are used.
    pub(crate) n: usize,
}

/// Bytes in all buffers together, at most [`MOST`].
///
/// # Safety
/// `n` buffers are readable at `buffers`.
pub(crate) unsafe fn length(buffers: *const iovec, n: usize) -> usize {
    // SAFETY: the caller's promise.
    let each = (0..n).map(|i| unsafe { (*buffers.add(i)).iov_len });
    each.fold(0usize, usize::saturating_add).min(MOST)
}

/// The first few buffers of what is left after `done` bytes.
///
/// # Safety
/// `n` buffers are readable at `buffers`.
pub(crate) unsafe fn after(buffers: *const iovec, n: usize, mut done: usize) -> Rest {
    let mut rest = Rest { buffers: [iovec { iov_base: ptr::null_mut(), iov_len: 0 }; SOME], n: 0 };
    for i in 0..n {
        // SAFETY: the caller's promise.
        let iovec { iov_base, iov_len } = unsafe { *buffers.add(i) };
        let skip = done.min(iov_len);
        done -= skip;
        if iov_len > skip {
            if rest.n == SOME {
                break;
            }
            rest.buffers[rest.n] = iovec { iov_base: iov_base.wrapping_byte_add(skip), iov_len: iov_len - skip };
            rest.n += 1;
        }
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buffers(lengths: &[usize]) -> Vec<iovec> {
        let mut at = 0x1000usize;
        let mut make = |&iov_len: &usize| {
            let iov_base = at as *mut libc::c_void;
            at += iov_len;
            iovec { iov_base, iov_len }
        };
        lengths.iter().map(&mut make).collect()
    }

    #[test]
    fn every_place_to_go_on_from() {
        let all = buffers(&[3, 0, 1, 5, 0]);
        // SAFETY: the buffers are described by a vector, and nobody looks into them.
        let total = unsafe { length(all.as_ptr(), all.len()) };
        assert_eq!(total, 9);
        for done in 0..=total {
            // SAFETY: as above.
            let rest = unsafe { after(all.as_ptr(), all.len(), done) };
            let mut expected = 0x1000 + done;
            for buffer in &rest.buffers[..rest.n] {
                assert_eq!(buffer.iov_base as usize, expected);
                assert!(buffer.iov_len > 0);
                expected += buffer.iov_len;
            }
            assert_eq!(expected, 0x1000 + total);
        }
    }

    #[test]
    fn not_all_at_once() {
        let all = buffers(&[2; 20]);
        // SAFETY: as above.
        let rest = unsafe { after(all.as_ptr(), all.len(), 3) };
        assert_eq!((rest.n, rest.buffers[0].iov_len, rest.buffers[7].iov_len), (8, 1, 2));
        let huge = [iovec { iov_base: ptr::null_mut(), iov_len: usize::MAX / 2 + 1 }; 2];
        // SAFETY: as above.
        assert_eq!(unsafe { length(huge.as_ptr(), 2) }, MOST);
    }
}
