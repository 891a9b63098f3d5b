//! AArch64, the procedure call standard of Arm (AAPCS64) as Linux uses it.
//!
//! A suspended context is a stack pointer; everything else lies above it:
//!
//! ```text
//!   sp + 160   FPCR (8 bytes, and 8 unused)
//!   sp + 144   x29, the frame pointer; x30, the return address
//!   sp +  64   x19 .. x28
//!   sp +   0   d8 .. d15: of the vector registers, the lower halves of eight are the callee's to preserve
//! ```
//!
//! The thread pointer (`TPIDR_EL0`) is not saved: it is a constant of the goroutine, so whoever switches *to* a context
//! passes it. It is written between leaving the old stack and returning on the new one, so that no Rust or C frame ever
//! runs on a stack with the base of another: a compiler may keep the address of a thread-local over any call. User code may
//! always write it.
//!
//! What is left out, and why that is right:
//!
//! * x18 is the platform's register, and Linux leaves it to the caller, like x0 to x17. (A program built to keep a shadow
//!   call stack in it cannot switch stacks.)
//! * FPSR, the flags of past floating-point exceptions, and NZCV belong to nobody over a call; so do the upper parts of vector
//!   registers and the predicates, since whoever called us does so by the base standard.
//! * Signed return addresses stay as their callers signed them: with the stack pointer that they have when they return.
//! * No landing pad (`bti`) stands here: the linker asks for them only where every object of the program has them, and
//!   std's have not. Contexts are entered by `ret`, which needs none.

use core::arch::{asm, naked_asm};
use core::ffi::{c_int, c_void};
use core::sync::atomic::{fence, Ordering};

/// Nothing need be found out.
pub(crate) fn init() {}

/// The thread pointer of the calling thread or goroutine.
#[inline]
pub(crate) fn thread_pointer() -> usize {
    let tp;
    // SAFETY: user code may read the register.
    unsafe { asm!("mrs {}, tpidr_el0", out(reg) tp, options(nostack, preserves_flags, readonly, pure)) };
    tp
}

/// The word at the thread pointer leads to the thread vector.
pub(crate) const THREAD_VECTOR: usize = 0;
/// Nobody needs to read the thread pointer from memory.
pub(crate) const SELF_WORDS: &[usize] = &[];
/// The stack protector's word is a global variable.
pub(crate) const STACK_GUARD: Option<usize> = None;
/// glibc's `RSEQ_SIG`.
pub(crate) const RSEQ_SIGNATURE: u32 = 0xd428_bc00;

/// A full fence.
#[inline(always)]
pub(crate) fn full_fence() {
    fence(Ordering::SeqCst);
}

/// A full fence, by one whose last atomic operation was a read-modify-write: those are none here, whatever their ordering;
/// a later load may overtake the store in them.
#[inline(always)]
pub(crate) fn fence_after_rmw() {
    fence(Ordering::SeqCst);
}

/// Enters the kernel: the call `number` with its arguments; those that it does not have are ignored. Returns what the
/// kernel does: from -4095 to -1 for errors.
///
/// # Safety
/// Whatever the system call in question demands of its arguments.
#[inline]
pub unsafe fn system_call(number: libc::c_long, args: [usize; 6]) -> isize {
    let result: isize;
    // SAFETY: the registers are those of the kernel's convention on AArch64; it preserves all but x0, and uses none of our
    // stack. Memory is left unmarked, so the compiler assumes that all of it may be read and written. The arguments are the
    // caller's promise.
    unsafe {
        asm!(
            "svc #0",                            // number in x8, arguments in x0 to x5
            in("x8") number,
            inlateout("x0") args[0] as isize => result,
            in("x1") args[1],
            in("x2") args[2],
            in("x3") args[3],
            in("x4") args[4],
            in("x5") args[5],
            options(nostack, preserves_flags),
        );
    }
    result
}

/// The stack pointer of the code that a signal interrupted.
pub(crate) fn stack_pointer_of(context: &libc::ucontext_t) -> usize {
    context.uc_mcontext.sp as usize
}

/// The sequence of instructions that valgrind takes as a question of six words. The answer is 0 when nobody is there to answer.
pub(crate) fn valgrind_request(question: &[u64; 6]) -> u64 {
    let answer;
    // SAFETY: on a processor the rotations add up to 128 bits, which leaves x12 as it was, and the last instruction changes
    // nothing. Valgrind reads six words through x4 and writes x3.
    unsafe {
        asm!(
            "ror x12, x12, #3",   // four rotations that no compiler would emit:
            "ror x12, x12, #13",  // 3 + 13 +
            "ror x12, x12, #51",  // 51 +
            "ror x12, x12, #61",  // 61 = 2 * 64
            "orr x10, x10, x10",  // after that prefix, valgrind takes this as a client request
            in("x4") question.as_ptr(),
            inlateout("x3") 0u64 => answer,
            options(nostack, preserves_flags),
        );
    }
    answer
}

/// Suspends the present context into `*save` and resumes the context `load` under the thread pointer `tp`.
///
/// Returns when somebody switches to the context that was saved, perhaps on another kernel thread.
///
/// # Safety
/// `load` was made by `switch` or [`prepare`], is resumed once only, and its stack is alive; `tp` is the base that
/// belongs to it. `save` must stay valid until the value has been stored.
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn switch(save: *mut *mut u8, load: *mut u8, tp: usize) {
    naked_asm!(
        "sub sp, sp, #176", // see the picture in the module's head
        "stp d8, d9, [sp]", // the registers that a callee must preserve
        "stp d10, d11, [sp, #16]",
        "stp d12, d13, [sp, #32]",
        "stp d14, d15, [sp, #48]",
        "stp x19, x20, [sp, #64]",
        "stp x21, x22, [sp, #80]",
        "stp x23, x24, [sp, #96]",
        "stp x25, x26, [sp, #112]",
        "stp x27, x28, [sp, #128]",
        "stp x29, x30, [sp, #144]", // and the way back to our caller
        "mrs x3, fpcr",             // rounding mode and exception masks are callee-saved too
        "str x3, [sp, #160]",
        "mov x4, sp",
        "str x4, [x0]",      // suspended: the old context is a stack pointer now
        "mov sp, x1",        // from here on we are on the new stack
        "msr tpidr_el0, x2", // thread-local storage of the new context
        "ldr x4, [sp, #160]",
        "cmp x3, x4", // writing FPCR is slow and it hardly ever differs
        "b.ne 3f",
        "2:",
        "ldp d8, d9, [sp]",
        "ldp d10, d11, [sp, #16]",
        "ldp d12, d13, [sp, #32]",
        "ldp d14, d15, [sp, #48]",
        "ldp x19, x20, [sp, #64]",
        "ldp x21, x22, [sp, #80]",
        "ldp x23, x24, [sp, #96]",
        "ldp x25, x26, [sp, #112]",
        "ldp x27, x28, [sp, #128]",
        "ldp x29, x30, [sp, #144]",
        "add sp, sp, #176",
        "ret", // to whoever called switch on this stack, or to `enter`
        "3:",
        "msr fpcr, x4",
        "b 2b",
    )
}

/// Calls `f(arg)` on the stack that ends at `sp` (null: on the present one) with the thread pointer `tp`; both are put back
/// before returning.
///
/// A backtrace taken inside `f` goes on into the caller: the frame's address is found through x29.
///
/// # Safety
/// `sp` is null or 16-byte aligned with enough free stack below, `tp` a complete thread block that no other thread runs on, and
/// `f` does not unwind.
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn call_on_stack(f: unsafe extern "C" fn(*mut u8), arg: *mut u8, sp: *mut u8, tp: usize) {
    naked_asm!(
        ".cfi_startproc",
        "stp x29, x30, [sp, #-32]!", // a frame record: the way back, and where unwinders find our caller
        ".cfi_def_cfa_offset 32",
        ".cfi_offset x29, -32",
        ".cfi_offset x30, -24",
        "str x19, [sp, #16]",
        ".cfi_offset x19, -16",
        "mov x29, sp",
        ".cfi_def_cfa x29, 32",
        "mrs x19, tpidr_el0", // the thread pointer to come back to
        "mov x8, x0",
        "mov x0, x1",
        "cbz x2, 2f", // null: stay on this stack
        "mov sp, x2",
        "2:",
        "msr tpidr_el0, x3", // new stack, new base: consistent again
        "blr x8",            // f(arg)
        "msr tpidr_el0, x19",
        "mov sp, x29", // back to the caller's stack
        ".cfi_def_cfa sp, 32",
        "ldr x19, [sp, #16]",
        ".cfi_restore x19",
        "ldp x29, x30, [sp], #32",
        ".cfi_def_cfa_offset 0",
        ".cfi_restore x29",
        ".cfi_restore x30",
        "ret",
        ".cfi_endproc",
    )
}

/// Calls `start(arg)` within a cleanup buffer of glibc's kind, as `pthread_cleanup_push` makes one. If `pthread_exit` ends the
/// call, `*left` becomes true and the result means nothing.
///
/// The buffer is a `__pthread_unwind_buf_t`, 216 bytes: registers saved by `__sigsetjmp`, and room for a link to the next
/// outer one. `__sigsetjmp` returns a second time when `pthread_exit` has unwound to here, which no compiler needs to know.
///
/// # Safety
/// `start` may be called with `arg`. The thread block is complete, and its innermost cleanup buffer, if any, is a caller's.
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn call_leavable(
    start: unsafe extern "C" fn(*mut c_void) -> *mut c_void,
    arg: *mut c_void,
    left: *mut bool,
) -> *mut c_void {
    naked_asm!(
        ".cfi_startproc",
        "stp x29, x30, [sp, #-48]!",
        ".cfi_def_cfa_offset 48",
        ".cfi_offset x29, -48",
        ".cfi_offset x30, -40",
        "stp x19, x20, [sp, #16]",
        ".cfi_offset x19, -32",
        ".cfi_offset x20, -24",
        "str x21, [sp, #32]",
        ".cfi_offset x21, -16",
        "mov x29, sp",
        ".cfi_def_cfa x29, 48",
        "sub sp, sp, #224",           // the buffer, at a multiple of 16
        "mov x19, x0",                // in registers that __sigsetjmp saves and its second return restores
        "mov x20, x1",
        "mov x21, x2",
        "mov x0, sp",
        "mov w1, wzr",                // without the signal mask
        "bl {setjmp}",
        "cbnz w0, 3f",                // the second time: pthread_exit
        "mov x0, sp",
        "bl {register}",
        "mov x0, x20",
        "blr x19",                    // start(arg)
        "mov x20, x0",
        "2:",
        "mov x0, sp",                 // the block forgets the buffer
        "bl {unregister}",
        "mov x0, x20",
        "mov sp, x29",
        ".cfi_remember_state",
        ".cfi_def_cfa sp, 48",
        "ldr x21, [sp, #32]",
        ".cfi_restore x21",
        "ldp x19, x20, [sp, #16]",
        ".cfi_restore x19",
        ".cfi_restore x20",
        "ldp x29, x30, [sp], #48",
        ".cfi_def_cfa_offset 0",
        ".cfi_restore x29",
        ".cfi_restore x30",
        "ret",
        ".cfi_restore_state",
        "3:",
        "mov w8, #1",
        "strb w8, [x21]",             // *left = true
        "b 2b",
        ".cfi_endproc",
        setjmp = sym __sigsetjmp,
        register = sym __pthread_register_cancel,
        unregister = sym __pthread_unregister_cancel,
    )
}

extern "C" {
    /// Saves the registers in `buffer`; 0 the first time.
    fn __sigsetjmp(buffer: *mut c_void, save_mask: c_int) -> c_int;
    /// What `pthread_cleanup_push` does with its buffer.
    fn __pthread_register_cancel(buffer: *mut c_void);
    /// What `pthread_cleanup_pop` does with its buffer.
    fn __pthread_unregister_cancel(buffer: *mut c_void);
}

/// Lays out the first frame of a stack that ends at `top`, so that [`switch`] to the result calls `entry(arg)`.
///
/// # Safety
/// `top` is 16-byte aligned, and the 176 bytes below it are writable and unused. `entry` never returns or unwinds.
pub(crate) unsafe fn prepare(top: *mut u8, entry: unsafe extern "C" fn(*mut u8) -> !, arg: *mut u8) -> *mut u8 {
    // The picture in the module's head, in words.
    const WORDS: usize = 22;
    const X19: usize = 8;
    const X20: usize = 9;
    const X30: usize = 19;
    // SAFETY: the caller vouches for 176 bytes below `top`, which are 22 words.
    unsafe {
        let sp = top.cast::<usize>().sub(WORDS);
        // Zeros otherwise: x29 of the outermost frame, so that frame-pointer walks end there, and FPCR as a new thread has it.
        sp.write_bytes(0, WORDS);
        sp.add(X19).write(entry as usize);
        sp.add(X20).write(arg as usize);
        sp.add(X30).write(enter as *const () as usize);
        sp.cast()
    }
}

/// The outermost frame: [`switch`] returns here with the entry function in x19 and its argument in x20.
#[unsafe(naked)]
unsafe extern "C" fn enter() {
    naked_asm!(
        ".cfi_startproc",
        ".cfi_undefined x30", // nobody called us: unwinding and backtraces end here
        "mov x0, x20",
        "blr x19",
        "brk #1", // the entry function never returns
        ".cfi_endproc",
    )
}
