//! AArch64, the procedure call standard of Arm as Linux uses it.

/// See the list in [`super`].
macro_rules! tail_call_with_caller {
    ($function:path) => {
        core::arch::naked_asm!(
            "mov x2, x30",   // the return address
            "b {function}",  // the first two arguments are in place, and so is the way back
            function = sym $function,
        )
    };
}
pub(crate) use tail_call_with_caller;
