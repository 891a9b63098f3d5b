//! x86-64, Windows' ABI.
//!
//! A suspended context is a stack pointer; everything else lies above it:
//!
//! ```text
//!   sp + 280  return address
//!   sp + 272  rbp
//!   sp + 264  rbx
//!   sp + 256  rdi
//!   sp + 248  rsi
//!   sp + 240  r12
//!   sp + 232  r13
//!   sp + 224  r14
//!   sp + 216  r15
//!   sp + 208  (nothing: for alignment)
//!   sp + 204  x87 control word (2 bytes)
//!   sp + 200  MXCSR (4 bytes)
//!   sp + 192  GuaranteedStackBytes (4 bytes)
//!   sp + 184  DeallocationStack
//!   sp + 176  StackLimit
//!   sp + 168  StackBase
//!   sp + 160  ExceptionList
//!   sp +   0  xmm6 to xmm15 (16 bytes each)
//! ```
//!
//! What a thread's block (TEB, at `gs`) says of the stack goes with the stack: the system looks there for where exceptions may be
//! handled, and a function with a large frame for which of its pages are there. The block itself is the kernel thread's, so the
//! thread pointer that callers pass, its address, is no part of a context here.
//!
//! Stacks of ours are committed from end to end. Their bounds are given as the whole address space: nothing is to be probed, and
//! no handler lies outside. `ExceptionList` is what is left of how 32-bit programs find handlers, a chain along the stack: it is
//! none on a stack of ours, since Wine compares its addresses with those of frames.

use core::arch::{asm, naked_asm};
use core::sync::atomic::{compiler_fence, Ordering};

/// Nothing is to be found out.
pub(crate) fn init() {}

/// The address of the calling thread's block.
#[inline]
pub(crate) fn thread_pointer() -> usize {
    let tp;
    // SAFETY: the ABI says that the word at gs:0x30 holds the block's own address.
    unsafe { asm!("mov {}, gs:[0x30]", out(reg) tp, options(nostack, preserves_flags, readonly)) };
    tp
}

/// A full fence: what `fence(SeqCst)` is, by a locked instruction on the stack, which takes about half as long as `mfence`.
#[inline(always)]
pub(crate) fn full_fence() {
    // SAFETY: changes no bit of the word that the stack pointer points at; only the flags change, and without `nomem` it is a
    // compiler fence too.
    unsafe { asm!("lock or dword ptr [rsp], 0", options(nostack)) };
}

/// A full fence, by one whose last atomic operation was a read-modify-write: on x86-64 those are locked instructions, which no
/// load or store crosses, so only the compiler must be told.
#[inline(always)]
pub(crate) fn fence_after_rmw() {
    compiler_fence(Ordering::SeqCst);
}

/// Asks valgrind, which does not run programs for Windows: nobody is there to answer.
pub(crate) fn valgrind_request(_question: &[u64; 6]) -> u64 {
    0
}

/// Suspends the present context into `*save` and resumes the context `load`, on the same kernel thread, whose thread pointer is
/// `tp`.
///
/// Returns when somebody switches to the context that was saved, perhaps on another kernel thread.
///
/// # Safety
/// `load` was made by `switch` or [`prepare`], is resumed once only, and its stack is alive. `save` must stay valid until the
/// value has been stored.
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn switch(save: *mut *mut u8, load: *mut u8, tp: usize) {
    naked_asm!(
        "push rbp", // the eight registers that a callee must preserve
        "push rbx",
        "push rdi",
        "push rsi",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "sub rsp, 216",       // room for the rest, at a multiple of 16
        "movaps [rsp], xmm6", // the vector registers that a callee must preserve
        "movaps [rsp + 16], xmm7",
        "movaps [rsp + 32], xmm8",
        "movaps [rsp + 48], xmm9",
        "movaps [rsp + 64], xmm10",
        "movaps [rsp + 80], xmm11",
        "movaps [rsp + 96], xmm12",
        "movaps [rsp + 112], xmm13",
        "movaps [rsp + 128], xmm14",
        "movaps [rsp + 144], xmm15",
        "stmxcsr [rsp + 200]", // rounding mode and exception masks of SSE ...
        "fnstcw [rsp + 204]",  // ... and of the x87 unit are callee-saved too
        "mov r9, gs:[0x30]",   // the thread's block
        "mov rax, [r9]",       // ExceptionList
        "mov [rsp + 160], rax",
        "mov rax, [r9 + 0x08]", // StackBase
        "mov [rsp + 168], rax",
        "mov rax, [r9 + 0x10]", // StackLimit
        "mov [rsp + 176], rax",
        "mov rax, [r9 + 0x1478]", // DeallocationStack
        "mov [rsp + 184], rax",
        "mov eax, [r9 + 0x1748]", // GuaranteedStackBytes
        "mov [rsp + 192], eax",
        "mov [rcx], rsp",       // suspended: the old context is a stack pointer now
        "mov rsp, rdx",         // from here on we are on the new stack
        "mov rax, [rsp + 160]", // and the block says so
        "mov [r9], rax",
        "mov rax, [rsp + 168]",
        "mov [r9 + 0x08], rax",
        "mov rax, [rsp + 176]",
        "mov [r9 + 0x10], rax",
        "mov rax, [rsp + 184]",
        "mov [r9 + 0x1478], rax",
        "mov eax, [rsp + 192]",
        "mov [r9 + 0x1748], eax",
        "ldmxcsr [rsp + 200]",
        "fldcw [rsp + 204]",
        "movaps xmm6, [rsp]",
        "movaps xmm7, [rsp + 16]",
        "movaps xmm8, [rsp + 32]",
        "movaps xmm9, [rsp + 48]",
        "movaps xmm10, [rsp + 64]",
        "movaps xmm11, [rsp + 80]",
        "movaps xmm12, [rsp + 96]",
        "movaps xmm13, [rsp + 112]",
        "movaps xmm14, [rsp + 128]",
        "movaps xmm15, [rsp + 144]",
        "add rsp, 216",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rsi",
        "pop rdi",
        "pop rbx",
        "pop rbp",
        "ret", // to whoever called switch on this stack, or to `enter`
    )
}

/// Calls `f(arg)` on the stack that ends at `sp` (null: on the present one), and comes back. The thread stays the same, and with
/// it its thread pointer, which is `tp`.
///
/// A backtrace taken inside `f` goes on into the caller: the frame's address is found through `rbp`.
///
/// # Safety
/// `sp` is null or 16-byte aligned with enough free stack below, and `f` does not unwind.
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn call_on_stack(f: unsafe extern "C" fn(*mut u8), arg: *mut u8, sp: *mut u8, tp: usize) {
    naked_asm!(
        ".seh_proc {this}",
        "push rbp",
        ".seh_pushreg rbp",
        "sub rsp, 32",                // what the block says of the present stack
        ".seh_stackalloc 32",
        "mov rbp, rsp",               // the way back, and where unwinders find our caller
        ".seh_setframe rbp, 0",
        ".seh_endprologue",
        "test r8, r8",                // null: stay on this stack
        "jz 2f",
        "mov r9, gs:[0x30]",          // the thread's block
        "mov rax, [r9 + 0x08]",       // StackBase
        "mov [rbp], rax",
        "mov rax, [r9 + 0x10]",       // StackLimit
        "mov [rbp + 8], rax",
        "mov rax, [r9 + 0x1478]",     // DeallocationStack
        "mov [rbp + 16], rax",
        "mov rax, [r9]",              // ExceptionList
        "mov [rbp + 24], rax",
        "xor eax, eax",
        "mov [r9 + 0x10], rax",       // any stack is right, from its lowest address ...
        "mov [r9 + 0x1478], rax",
        "dec rax",
        "mov [r9 + 0x08], rax",       // ... to its highest
        "mov [r9], rax",              // no handlers but those that frames have
        "mov rsp, r8",
        "sub rsp, 32",                // where the callee may put its arguments
        "mov rax, rcx",
        "mov rcx, rdx",
        "call rax",
        "mov rsp, rbp",               // the caller's stack, and the block says so
        "mov r9, gs:[0x30]",
        "mov rax, [rbp]",
        "mov [r9 + 0x08], rax",
        "mov rax, [rbp + 8]",
        "mov [r9 + 0x10], rax",
        "mov rax, [rbp + 16]",
        "mov [r9 + 0x1478], rax",
        "mov rax, [rbp + 24]",
        "mov [r9], rax",
        "jmp 3f",
        "2:",
        "sub rsp, 32",
        "mov rax, rcx",
        "mov rcx, rdx",
        "call rax",
        "mov rsp, rbp",
        "3:",
        "add rsp, 32",
        "pop rbp",
        "ret",
        ".seh_endproc",
        this = sym call_on_stack,
    )
}

/// Lays out the first frame of a stack that ends at `top`, so that [`switch`] to the result calls `entry(arg)`.
///
/// # Safety
/// `top` is 16-byte aligned, and the 336 bytes below it are writable and unused. `entry` never returns or unwinds.
pub(crate) unsafe fn prepare(top: *mut u8, entry: unsafe extern "C" fn(*mut u8) -> !, arg: *mut u8) -> *mut u8 {
    // From the top: two words that end the chain of frames, four where `entry` may put its arguments, then the picture in the
    // module's head.
    const WORDS: usize = 2 + 4 + 36;
    // SAFETY: the caller vouches for 336 bytes below `top`, which are 42 words.
    unsafe {
        let sp = top.cast::<usize>().sub(WORDS);
        sp.write_bytes(0, WORDS);
        sp.add(160 / 8).write(usize::MAX); // ExceptionList: none
        sp.add(168 / 8).write(usize::MAX); // StackBase
        sp.add(200 / 8).write(DEFAULT_FP_CONTROL);
        sp.add(232 / 8).write(arg as usize); // r13
        sp.add(240 / 8).write(entry as usize); // r12
        sp.add(280 / 8).write(enter as *const () as usize); // return address
        sp.cast()
    }
}

/// MXCSR 0x1f80 and x87 control word 0x027f: what Windows gives a new thread.
const DEFAULT_FP_CONTROL: usize = 0x027f_0000_1f80;

/// The outermost frame: [`switch`] returns here with the entry function in r12 and its argument in r13.
#[unsafe(naked)]
unsafe extern "C" fn enter() {
    naked_asm!(
        ".seh_proc {this}",
        ".seh_stackalloc 32", // above them a return address of zero: unwinding and backtraces end here
        ".seh_endprologue",
        "mov rcx, r13",
        "call r12", // aligned: `ret` left rsp 48 bytes below `top`
        "ud2",      // the entry function never returns
        ".seh_endproc",
        this = sym enter,
    )
}

#[cfg(test)]
#[path = "windows_tests.rs"]
mod tests;
