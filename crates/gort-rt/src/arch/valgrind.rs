//! Valgrind's client requests: a sequence of instructions that does nothing on a processor, and that valgrind's own
//! translator takes as a question.

use core::arch::asm;

/// Announces a range of memory as a stack; answers with valgrind's number for it.
const STACK_REGISTER: u64 = 0x1501;

/// Tells valgrind that `lo..hi` is a stack, so that it takes a change of the stack pointer into it for a switch and not
/// for a giant frame. Returns valgrind's number for it, or 0 when not under valgrind.
pub(crate) fn stack_register(lo: *mut u8, hi: *mut u8) -> u64 {
    request(STACK_REGISTER, lo as u64, hi as u64)
}

/// Makes a request with two arguments. The answer is 0 when nobody is there to answer.
fn request(code: u64, first: u64, second: u64) -> u64 {
    let block = [code, first, second, 0, 0, 0];
    let answer;
    // SAFETY: on a processor the rotations add up to 128 bits, which leaves rdi as it was, the exchange changes nothing,
    // and only the flags are lost. Valgrind reads six words through rax and writes rdx.
    unsafe {
        asm!(
            "rol rdi, 3",     // four rotations that no compiler would emit:
            "rol rdi, 13",    // 3 + 13 +
            "rol rdi, 61",    // 61 +
            "rol rdi, 51",    // 51 = 2 * 64
            "xchg rbx, rbx",  // after that prefix, valgrind takes this as a client request
            in("rax") block.as_ptr(),
            inlateout("rdx") 0u64 => answer,
            options(nostack),
        );
    }
    answer
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
