//! x86-64, System V ABI.

/// See the list in [`super`].
macro_rules! tail_call_with_caller {
    ($function:path) => {
        core::arch::naked_asm!(
            "mov rdx, [rsp]",   // the return address
            "jmp {function}",   // the first two arguments are in place, and so is the way back
            function = sym $function,
        )
    };
}
pub(crate) use tail_call_with_caller;
