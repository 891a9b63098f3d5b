//! Valgrind's client requests: a sequence of instructions that does nothing on a processor, and that valgrind's own
//! translator takes as a question.

use super::valgrind_request;

/// Announces a range of memory as a stack; answers with valgrind's number for it.
const STACK_REGISTER: u64 = 0x1501;

/// Tells valgrind that `lo..hi` is a stack, so that it takes a change of the stack pointer into it for a switch and not
/// for a giant frame. Returns valgrind's number for it, or 0 when not under valgrind.
pub(crate) fn stack_register(lo: *mut u8, hi: *mut u8) -> u64 {
    request(STACK_REGISTER, lo as u64, hi as u64)
}

/// Makes a request with two arguments. The answer is 0 when nobody is there to answer.
fn request(code: u64, first: u64, second: u64) -> u64 {
    valgrind_request(&[code, first, second, 0, 0, 0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_processor_answers_nothing() {
        const RUNNING_ON_VALGRIND: u64 = 0x1001;
        if request(RUNNING_ON_VALGRIND, 0, 0) != 0 {
            return;
        }
        assert_eq!(stack_register(core::ptr::null_mut(), core::ptr::null_mut()), 0);
    }
}
