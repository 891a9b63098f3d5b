//! x86-64, System V ABI.
//!
//! A suspended context is a stack pointer; everything else lies above it:
//!
//! ```text
//!   sp + 56   return address
//!   sp + 48   rbp
//!   sp + 40   rbx
//!   sp + 32   r12
//!   sp + 24   r13
//!   sp + 16   r14
//!   sp +  8   r15
//!   sp +  4   x87 control word (2 bytes)
//!   sp +  0   MXCSR (4 bytes)
//! ```
//!
//! The thread pointer (`fs` base) is not saved: it is a constant of the goroutine, so whoever switches *to* a context
//! passes it. It is written between leaving the old stack and returning on the new one, so that no Rust or C frame ever
//! runs on a stack with the base of another: a compiler may keep the address of a thread-local over any call.
//!
//! `ret` ends the switch, not an indirect jump: nearly every context was suspended by the same call instruction, so the
//! processor's return predictor, which still holds the address that the *outgoing* context pushed, is right.

use core::arch::{asm, naked_asm};
use core::ffi::{c_int, c_void};
use core::sync::atomic::{compiler_fence, AtomicBool, Ordering};

/// Bit of `AT_HWCAP2` by which the kernel says that user code may execute `wrfsbase`.
const HWCAP2_FSGSBASE: u64 = 1 << 1;

/// True when `wrfsbase` may be executed; otherwise the base is set by the `arch_prctl` system call.
static FSGSBASE: AtomicBool = AtomicBool::new(false);

/// Finds out whether `wrfsbase` may be used. Kernels before 5.9 and emulators such as valgrind do not announce it and get the
/// system call, and so does everybody with `GORT_FSGSBASE=0`.
pub(crate) fn init() {
    // SAFETY: getauxval reads a table that the kernel left for the process; any key is allowed.
    let hwcap2 = unsafe { libc::getauxval(libc::AT_HWCAP2) };
    let refused = std::env::var_os("GORT_FSGSBASE").is_some_and(|v| v == "0");
    FSGSBASE.store(hwcap2 & HWCAP2_FSGSBASE != 0 && !refused, Ordering::Relaxed);
}

/// The thread pointer of the calling thread or goroutine.
#[inline]
pub(crate) fn thread_pointer() -> usize {
    let tp;
    // SAFETY: the ABI says that the word at fs:0 holds the thread pointer itself.
    unsafe { asm!("mov {}, fs:[0]", out(reg) tp, options(nostack, preserves_flags, readonly, pure)) };
    tp
}

/// The second word of the block leads to the thread vector.
pub(crate) const THREAD_VECTOR: usize = 8;
/// The first word and the third hold the thread pointer.
pub(crate) const SELF_WORDS: &[usize] = &[0, 16];
/// Compilers read the stack protector's word at fs:0x28.
pub(crate) const STACK_GUARD: Option<usize> = Some(0x28);
/// glibc's `RSEQ_SIG`.
pub(crate) const RSEQ_SIGNATURE: u32 = 0x5305_3053;

/// A full fence: what `fence(SeqCst)` is, by a locked instruction on the stack, which takes about half as long as `mfence`.
#[inline(always)]
pub(crate) fn full_fence() {
    // SAFETY: changes no bit of the word that the stack pointer points at; only the flags change, and without `nomem` it is a compiler fence
    // too.
    unsafe { asm!("lock or dword ptr [rsp], 0", options(nostack)) };
}

/// A full fence, by one whose last atomic operation was a read-modify-write: on x86-64 those are locked instructions, which no
/// load or store crosses, so only the compiler must be told.
#[inline(always)]
pub(crate) fn fence_after_rmw() {
    compiler_fence(Ordering::SeqCst);
}

/// Enters the kernel: the call `number` with its arguments; those that it does not have are ignored. Returns what the
/// kernel does: from -4095 to -1 for errors.
///
/// # Safety
/// Whatever the system call in question demands of its arguments.
#[inline]
pub unsafe fn system_call(number: libc::c_long, args: [usize; 6]) -> isize {
    let result: isize;
    // SAFETY: the registers are those of the kernel's x86-64 convention, the two that it destroys are declared, and the
    // kernel restores the flags and uses none of our stack, red zone included. Memory is left unmarked, so the compiler
    // assumes that all of it may be read and written. The arguments are the caller's promise.
    unsafe {
        asm!(
            "syscall",                           // number in rax, arguments in rdi, rsi, rdx, r10, r8, r9
            inlateout("rax") number as isize => result,
            in("rdi") args[0],
            in("rsi") args[1],
            in("rdx") args[2],
            in("r10") args[3],
            in("r8") args[4],
            in("r9") args[5],
            lateout("rcx") _,                    // takes the return address
            lateout("r11") _,                    // takes the flags
            options(nostack, preserves_flags),
        );
    }
    result
}

/// The stack pointer of the code that a signal interrupted.
pub(crate) fn stack_pointer_of(context: &libc::ucontext_t) -> usize {
    context.uc_mcontext.gregs[libc::REG_RSP as usize] as usize
}

/// The sequence of instructions that valgrind takes as a question of six words. The answer is 0 when nobody is there to answer.
pub(crate) fn valgrind_request(question: &[u64; 6]) -> u64 {
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
            in("rax") question.as_ptr(),
            inlateout("rdx") 0u64 => answer,
            options(nostack),
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
        "push rbp",                   // the six registers that a callee must preserve
        "push rbx",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "sub rsp, 8",                 // room for the floating-point control words
        "stmxcsr [rsp]",              // rounding mode and exception masks of SSE ...
        "fnstcw [rsp + 4]",           // ... and of the x87 unit are callee-saved too
        "mov eax, [rsp]",             // remember ours, to compare with theirs
        "movzx ecx, word ptr [rsp + 4]",
        "mov [rdi], rsp",             // suspended: the old context is a stack pointer now
        "mov rsp, rsi",               // from here on we are on the new stack
        "cmp byte ptr [rip + {fsgsbase}], 0",
        "je 4f",
        "wrfsbase rdx",               // thread-local storage of the new context
        "2:",
        "cmp eax, [rsp]",             // loading control words is slow and they hardly ever differ
        "jne 5f",
        "cmp cx, [rsp + 4]",
        "jne 5f",
        "3:",
        "add rsp, 8",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbx",
        "pop rbp",
        "ret",                        // to whoever called switch on this stack, or to `enter`
        "4:",                         // no wrfsbase: arch_prctl(ARCH_SET_FS, rdx)
        "mov r8d, eax",               // the system call clobbers rax, rcx and r11
        "mov r9d, ecx",
        "mov rsi, rdx",
        "mov edi, {arch_set_fs}",
        "mov eax, {sys_arch_prctl}",
        "syscall",
        "mov eax, r8d",
        "mov ecx, r9d",
        "jmp 2b",
        "5:",
        "ldmxcsr [rsp]",
        "fldcw [rsp + 4]",
        "jmp 3b",
        fsgsbase = sym FSGSBASE,
        arch_set_fs = const ARCH_SET_FS,
        sys_arch_prctl = const libc::SYS_arch_prctl,
    )
}

/// `ARCH_SET_FS` of `asm/prctl.h`.
const ARCH_SET_FS: i32 = 0x1002;

/// Calls `f(arg)` on the stack that ends at `sp` (null: on the present one) with the thread pointer `tp`; both are put back
/// before returning.
///
/// A backtrace taken inside `f` goes on into the caller: the frame's address is found through `rbp`.
///
/// # Safety
/// `sp` is null or 16-byte aligned with enough free stack below, `tp` a complete thread block that no other thread runs on, and
/// `f` does not unwind.
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn call_on_stack(f: unsafe extern "C" fn(*mut u8), arg: *mut u8, sp: *mut u8, tp: usize) {
    naked_asm!(
        ".cfi_startproc",
        "push rbp",
        ".cfi_def_cfa_offset 16",
        ".cfi_offset rbp, -16",
        "mov rbp, rsp",               // the way back, and where unwinders find our caller
        ".cfi_def_cfa_register rbp",
        "push rbx",
        ".cfi_offset rbx, -24",
        "push r12",
        ".cfi_offset r12, -32",
        "mov rbx, fs:[0]",            // the thread pointer to come back to
        "mov r12, rdi",               // f and arg out of the way of the system call
        "mov r8, rsi",
        "mov r9, rdx",
        "cmp byte ptr [rip + {fsgsbase}], 0",
        "je 4f",
        "wrfsbase rcx",
        "2:",
        "test r9, r9",                // null: stay on this stack, which is aligned here
        "cmovz r9, rsp",
        "mov rsp, r9",                // new stack, new base: consistent again
        "mov rdi, r8",
        "call r12",
        "cmp byte ptr [rip + {fsgsbase}], 0",
        "je 5f",
        "wrfsbase rbx",
        "3:",
        "lea rsp, [rbp - 16]",        // back to the caller's stack, above rbx and r12
        "pop r12",
        "pop rbx",
        "pop rbp",
        ".cfi_def_cfa rsp, 8",
        "ret",
        ".cfi_def_cfa rbp, 16",
        "4:",
        "mov rsi, rcx",               // arch_prctl(ARCH_SET_FS, tp); clobbers rax, rcx, r11
        "mov edi, {arch_set_fs}",
        "mov eax, {sys_arch_prctl}",
        "syscall",
        "jmp 2b",
        "5:",
        "mov rsi, rbx",               // arch_prctl(ARCH_SET_FS, old tp)
        "mov edi, {arch_set_fs}",
        "mov eax, {sys_arch_prctl}",
        "syscall",
        "jmp 3b",
        ".cfi_endproc",
        fsgsbase = sym FSGSBASE,
        arch_set_fs = const ARCH_SET_FS,
        sys_arch_prctl = const libc::SYS_arch_prctl,
    )
}

/// Calls `start(arg)` within a cleanup buffer of glibc's kind, as `pthread_cleanup_push` makes one. If `pthread_exit` ends the
/// call, `*left` becomes true and the result means nothing.
///
/// The buffer is a `__pthread_unwind_buf_t`, 104 bytes: registers saved by `__sigsetjmp`, and room for a link to the next
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
        "push rbp",
        ".cfi_def_cfa_offset 16",
        ".cfi_offset rbp, -16",
        "mov rbp, rsp",
        ".cfi_def_cfa_register rbp",
        "push rbx",
        ".cfi_offset rbx, -24",
        "push r12",
        ".cfi_offset r12, -32",
        "push r13",
        ".cfi_offset r13, -40",
        "sub rsp, 120",               // the buffer, at a multiple of 16
        "mov rbx, rdi",               // in registers that __sigsetjmp saves and its second return restores
        "mov r12, rsi",
        "mov r13, rdx",
        "mov rdi, rsp",
        "xor esi, esi",               // without the signal mask
        "call qword ptr [rip + {setjmp}@GOTPCREL]",
        "test eax, eax",
        "jnz 3f",                     // the second time: pthread_exit
        "mov rdi, rsp",
        "call qword ptr [rip + {register}@GOTPCREL]",
        "mov rdi, r12",
        "call rbx",
        "mov r12, rax",
        "2:",
        "mov rdi, rsp",               // the block forgets the buffer
        "call qword ptr [rip + {unregister}@GOTPCREL]",
        "mov rax, r12",
        "lea rsp, [rbp - 24]",
        "pop r13",
        "pop r12",
        "pop rbx",
        "pop rbp",
        ".cfi_def_cfa rsp, 8",
        "ret",
        ".cfi_def_cfa rbp, 16",
        "3:",
        "mov byte ptr [r13], 1",
        "jmp 2b",
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
/// `top` is 16-byte aligned, and the 96 bytes below it are writable and unused. `entry` never returns or unwinds.
pub(crate) unsafe fn prepare(top: *mut u8, entry: unsafe extern "C" fn(*mut u8) -> !, arg: *mut u8) -> *mut u8 {
    // Two zero words at the very top end frame-pointer walks; below them the picture in the module's head.
    const WORDS: usize = 10;
    // SAFETY: the caller vouches for 96 bytes below `top`; ten words are 80.
    unsafe {
        let sp = top.cast::<usize>().sub(WORDS);
        sp.write(DEFAULT_FP_CONTROL);
        sp.add(1).write(0); // r15
        sp.add(2).write(0); // r14
        sp.add(3).write(arg as usize); // r13
        sp.add(4).write(entry as usize); // r12
        sp.add(5).write(0); // rbx
        sp.add(6).write(0); // rbp: the outermost frame
        sp.add(7).write(enter as *const () as usize); // return address
        sp.add(8).write(0);
        sp.add(9).write(0);
        sp.cast()
    }
}

/// MXCSR 0x1f80 and x87 control word 0x037f: what the ABI gives a new thread.
const DEFAULT_FP_CONTROL: usize = 0x037f_0000_1f80;

/// The outermost frame: [`switch`] returns here with the entry function in r12 and its argument in r13.
#[unsafe(naked)]
unsafe extern "C" fn enter() {
    naked_asm!(
        ".cfi_startproc",
        ".cfi_undefined rip", // nobody called us: unwinding and backtraces end here
        "mov rdi, r13",
        "call r12", // aligned: `ret` left rsp 16 bytes below `top`
        "ud2",      // the entry function never returns
        ".cfi_endproc",
    )
}
