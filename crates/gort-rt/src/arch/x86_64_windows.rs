//! x86-64, Windows' ABI.
//!
//! A suspended context is a stack pointer; everything else lies above it:
//!
//! ```text
//!   sp + 232  return address
//!   sp + 224  rbp
//!   sp + 216  rbx
//!   sp + 208  rdi
//!   sp + 200  rsi
//!   sp + 192  r12
//!   sp + 184  r13
//!   sp + 176  r14
//!   sp + 168  r15
//!   sp + 164  x87 control word (2 bytes)
//!   sp + 160  MXCSR (4 bytes)
//!   sp +   0  xmm6 to xmm15 (16 bytes each)
//! ```
//!
//! What a thread's block (TEB, at `gs`) says of the stack and of the code that runs goes along in each context's record: see
//! [`record`].

mod record;

use core::arch::{asm, naked_asm};
use core::mem::offset_of;
use core::sync::atomic::{compiler_fence, Ordering};
use record::{HERE, STORAGE, WORD};
use windows_sys::Win32::System::Diagnostics::Debug::{
    UnhandledExceptionFilter, CONTEXT, EXCEPTION_POINTERS, EXCEPTION_RECORD,
};
use windows_sys::Win32::System::Kernel::{ExceptionContinueExecution, ExceptionContinueSearch};
use windows_sys::Win32::System::Threading::{GetCurrentProcess, TerminateProcess};

pub(crate) use record::{goroutine, init, set_storage, thread_pointer, Native, Record};

/// The flags of an exception's record that say: frames are being unwound, not searched.
const EXCEPTION_UNWINDING: u32 = 2;
const EXCEPTION_EXIT_UNWIND: u32 = 4;

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

/// Suspends the present context into `*save` and resumes the context `load`, of a stack whose thread pointer is `tp`.
///
/// Returns when somebody switches to the context that was saved, perhaps on another kernel thread.
///
/// # Safety
/// `load` was made by `switch` or [`prepare`], is resumed once only, and its stack is alive. `save` must stay valid until the
/// value has been stored. `tp` is that of `load`, and runs nowhere else. The calling thread is adopted ([`Native::adopt`]).
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
        "sub rsp, 168",       // room for the rest, at a multiple of 16
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
        "stmxcsr [rsp + 160]", // rounding mode and exception masks of SSE ...
        "fnstcw [rsp + 164]",  // ... and of the x87 unit are callee-saved too
        "mov r9, gs:[0x30]",   // the thread's block
        "mov eax, [rip + {here}]",
        "mov r11, gs:[rax]",
        "mov eax, [rip + {here} + 4]",
        "add r11, rax", // where its word for the thread pointer is
        "mov eax, [rip + {word}]",
        "mov r10, gs:[rax]",
        "mov eax, [rip + {word} + 4]",
        "add r10, rax",   // where its thread-local word is
        "mov rbx, [r11]", // the record that is left
        "mov rax, [r10]",
        "mov [rbx + {tls}], rax",
        "mov rdi, [rbx + {errno_at}]",
        "mov [r8 + {errno_at}], rdi", // the same kernel thread
        "mov eax, [rdi]",
        "mov [rbx + {errno}], eax",
        "mov rax, [r9]",
        "mov [rbx + {list}], rax",
        "mov rax, [r9 + 0x08]",
        "mov [rbx + {base}], rax",
        "mov rax, [r9 + 0x10]",
        "mov [rbx + {limit}], rax",
        "mov eax, [r9 + 0x68]",
        "mov [rbx + {last_error}], eax",
        "mov rax, [r9 + 0x1478]",
        "mov [rbx + {end}], rax",
        "mov eax, [r9 + 0x1748]",
        "mov [rbx + {guaranteed}], eax",
        "mov [rcx], rsp", // suspended: the old context is a stack pointer now
        "mov rsp, rdx",   // from here on we are on the new stack
        "mov rax, [r8 + {list}]", // and the block says so
        "mov [r9], rax",
        "mov rax, [r8 + {base}]",
        "mov [r9 + 0x08], rax",
        "mov rax, [r8 + {limit}]",
        "mov [r9 + 0x10], rax",
        "mov rax, [r8 + {end}]",
        "mov [r9 + 0x1478], rax",
        "mov eax, [r8 + {guaranteed}]",
        "mov [r9 + 0x1748], eax",
        "mov eax, [r8 + {last_error}]",
        "mov [r9 + 0x68], eax",
        "mov eax, [r8 + {errno}]",
        "mov [rdi], eax",
        "mov rax, [r8 + {tls}]",
        "mov [r10], rax",
        "mov [r11], r8",
        "mov eax, [rip + {storage}]",
        "test eax, eax",
        "jz 2f",
        "mov rsi, gs:[rax]",
        "mov edi, [rip + {storage} + 4]",
        "mov rax, [r8 + {own}]", // the module's thread-local storage
        "mov [rsi + rdi], rax",
        "2:",
        "ldmxcsr [rsp + 160]",
        "fldcw [rsp + 164]",
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
        "add rsp, 168",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rsi",
        "pop rdi",
        "pop rbx",
        "pop rbp",
        "ret", // to whoever called switch on this stack, or to `enter_stack`
        here = sym HERE,
        word = sym WORD,
        storage = sym STORAGE,
        tls = const offset_of!(Record, word),
        own = const offset_of!(Record, storage),
        errno_at = const offset_of!(Record, errno_at),
        errno = const offset_of!(Record, errno),
        list = const offset_of!(Record, exception_list),
        base = const offset_of!(Record, stack_base),
        limit = const offset_of!(Record, stack_limit),
        end = const offset_of!(Record, deallocation_stack),
        guaranteed = const offset_of!(Record, guaranteed),
        last_error = const offset_of!(Record, last_error),
    )
}

/// Calls `f(arg)` on the stack that ends at `sp` (null: on the present one) and with the thread pointer `tp`, and comes back, on
/// the same kernel thread. `tp` is the present one, or that of the kernel thread underneath.
///
/// With the present one, `sp` is a stack of nobody's, which is there from end to end; the block says then that any stack is
/// right.
///
/// A backtrace taken inside `f` goes on into the caller: the frame's address is found through `rbp`.
///
/// ```text
///   rbp + 72  tp
///   rbp + 64  sp
///   rbp + 56  GuaranteedStackBytes (4 bytes)
///   rbp + 52  errno (4 bytes)
///   rbp + 48  LastErrorValue (4 bytes)
///   rbp + 40  the thread pointer before; 0: it is the same
///   rbp + 32  the thread-local word before
///   rbp + 24  ExceptionList
///   rbp + 16  DeallocationStack
///   rbp +  8  StackLimit
///   rbp +  0  StackBase
/// ```
///
/// # Safety
/// `sp` is null or 16-byte aligned with enough free stack below, and `f` does not unwind.
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn call_on_stack(f: unsafe extern "C" fn(*mut u8), arg: *mut u8, sp: *mut u8, tp: usize) {
    naked_asm!(
        ".seh_proc {this}",
        "push rbp",
        ".seh_pushreg rbp",
        "sub rsp, 80",
        ".seh_stackalloc 80",
        "mov rbp, rsp", // the way back, and where unwinders find our caller
        ".seh_setframe rbp, 0",
        ".seh_endprologue",
        "mov [rbp + 64], r8",
        "mov [rbp + 72], r9",
        "mov qword ptr [rbp + 40], 0",
        "mov r10, gs:[0x30]", // the thread's block
        "mov rax, [r10 + 0x08]",
        "mov [rbp], rax",
        "mov rax, [r10 + 0x10]",
        "mov [rbp + 8], rax",
        "mov rax, [r10 + 0x1478]",
        "mov [rbp + 16], rax",
        "mov rax, [r10]",
        "mov [rbp + 24], rax",
        "mov eax, [r10 + 0x1748]",
        "mov [rbp + 56], eax",
        // Another thread pointer than the present one?
        "test r9, r9",
        "jz 3f",
        "mov eax, [rip + {here}]",
        "mov r11, gs:[rax]",
        "mov eax, [rip + {here} + 4]",
        "add r11, rax",
        "mov rax, [r11]",
        "cmp rax, r9",
        "je 3f",
        "mov [rbp + 40], rax",
        "mov [r11], r9",
        "mov r11, [rax + {errno_at}]",
        "mov eax, [r11]",
        "mov [rbp + 52], eax",
        "mov eax, [r10 + 0x68]",
        "mov [rbp + 48], eax",
        "mov eax, [rip + {word}]",
        "mov r11, gs:[rax]",
        "mov eax, [rip + {word} + 4]",
        "add r11, rax",
        "mov rax, [r11]",
        "mov [rbp + 32], rax",
        "mov rax, [r9 + {tls}]",
        "mov [r11], rax",
        "mov eax, [rip + {storage}]",
        "test eax, eax",
        "jz 2f",
        "mov r11, gs:[rax]",
        "mov eax, [rip + {storage} + 4]",
        "add r11, rax",
        "mov rax, [r9 + {own}]",
        "mov [r11], rax",
        "2:",
        "test r8, r8",
        "jz 5f",
        "mov rax, [r9 + {base}]", // that thread's stack
        "mov [r10 + 0x08], rax",
        "mov rax, [r9 + {limit}]",
        "mov [r10 + 0x10], rax",
        "mov rax, [r9 + {end}]",
        "mov [r10 + 0x1478], rax",
        "mov rax, [r9 + {list}]",
        "mov [r10], rax",
        "mov eax, [r9 + {guaranteed}]",
        "mov [r10 + 0x1748], eax",
        "jmp 4f",
        "3:",
        "test r8, r8", // null: stay on this stack
        "jz 5f",
        "xor eax, eax",
        "mov [r10 + 0x10], rax", // any stack is right, from its lowest address ...
        "mov [r10 + 0x1478], rax",
        "dec rax",
        "mov [r10 + 0x08], rax", // ... to its highest
        "mov [r10], rax",        // no handlers but those that frames have
        "4:",
        "mov rsp, r8",
        "5:",
        "sub rsp, 32", // where the callee may put its arguments
        "mov rax, rcx",
        "mov rcx, rdx",
        "call rax",
        "mov rsp, rbp", // the caller's stack
        "mov r10, gs:[0x30]",
        "mov r9, [rbp + 40]",
        "cmp qword ptr [rbp + 64], 0",
        "je 7f",
        "test r9, r9",
        "jz 6f",
        "mov r11, [rbp + 72]",
        "mov rax, [r10 + 0x10]",
        "mov [r11 + {limit}], rax", // how far that thread's stack has grown
        "6:",
        "mov rax, [rbp]", // the block is about the caller's stack again
        "mov [r10 + 0x08], rax",
        "mov rax, [rbp + 8]",
        "mov [r10 + 0x10], rax",
        "mov rax, [rbp + 16]",
        "mov [r10 + 0x1478], rax",
        "mov rax, [rbp + 24]",
        "mov [r10], rax",
        "mov eax, [rbp + 56]",
        "mov [r10 + 0x1748], eax",
        "7:",
        "test r9, r9",
        "jz 8f",
        "mov eax, [rip + {here}]",
        "mov r11, gs:[rax]",
        "mov eax, [rip + {here} + 4]",
        "add r11, rax",
        "mov [r11], r9",
        "mov eax, [rip + {word}]",
        "mov r11, gs:[rax]",
        "mov eax, [rip + {word} + 4]",
        "add r11, rax",
        "mov rax, [rbp + 32]",
        "mov [r11], rax",
        "mov eax, [rip + {storage}]",
        "test eax, eax",
        "jz 9f",
        "mov r11, gs:[rax]",
        "mov eax, [rip + {storage} + 4]",
        "add r11, rax",
        "mov rax, [r9 + {own}]",
        "mov [r11], rax",
        "9:",
        "mov eax, [rbp + 48]",
        "mov [r10 + 0x68], eax",
        "mov r11, [r9 + {errno_at}]",
        "mov eax, [rbp + 52]",
        "mov [r11], eax",
        "8:",
        "add rsp, 80",
        "pop rbp",
        "ret",
        ".seh_endproc",
        this = sym call_on_stack,
        here = sym HERE,
        word = sym WORD,
        storage = sym STORAGE,
        tls = const offset_of!(Record, word),
        own = const offset_of!(Record, storage),
        errno_at = const offset_of!(Record, errno_at),
        list = const offset_of!(Record, exception_list),
        base = const offset_of!(Record, stack_base),
        limit = const offset_of!(Record, stack_limit),
        end = const offset_of!(Record, deallocation_stack),
        guaranteed = const offset_of!(Record, guaranteed),
    )
}

/// Lays out the first frame of a stack that ends at `top`, so that [`switch`] to the result calls `entry(arg)`.
///
/// # Safety
/// `top` is 16-byte aligned, and the 288 bytes below it are writable and unused. `entry` never returns or unwinds.
pub(crate) unsafe fn prepare(top: *mut u8, entry: unsafe extern "C" fn(*mut u8) -> !, arg: *mut u8) -> *mut u8 {
    // From the top: two words that end the chain of frames, four where `entry` may put its arguments, then the picture in the
    // module's head.
    const WORDS: usize = 2 + 4 + 30;
    // SAFETY: the caller vouches for 288 bytes below `top`, which are 36 words.
    unsafe {
        let sp = top.cast::<usize>().sub(WORDS);
        sp.write_bytes(0, WORDS);
        sp.add(160 / 8).write(DEFAULT_FP_CONTROL);
        sp.add(184 / 8).write(arg as usize); // r13
        sp.add(192 / 8).write(entry as usize); // r12
        sp.add(232 / 8).write(enter_stack as *const () as usize); // return address
        sp.cast()
    }
}

/// MXCSR 0x1f80 and x87 control word 0x027f: what Windows gives a new thread.
const DEFAULT_FP_CONTROL: usize = 0x027f_0000_1f80;

/// The outermost frame: [`switch`] returns here with the entry function in r12 and its argument in r13.
#[unsafe(naked)]
unsafe extern "C" fn enter_stack() {
    naked_asm!(
        ".seh_proc {this}",
        ".seh_handler {unhandled}, @except",
        ".seh_stackalloc 32", // above them a return address of zero: unwinding and backtraces end here
        ".seh_endprologue",
        "mov rcx, r13",
        "call r12", // aligned: `ret` left rsp 48 bytes below `top`
        "ud2",      // the entry function never returns
        ".seh_endproc",
        this = sym enter_stack,
        unhandled = sym unhandled,
    )
}

/// What the outermost frame does with an exception that no other has handled: what the system's does on a thread. The process ends,
/// unless a filter of the host's decides to go on.
unsafe extern "C" fn unhandled(
    record: *mut EXCEPTION_RECORD,
    _frame: *mut u8,
    context: *mut CONTEXT,
    _dispatcher: *mut u8,
) -> i32 {
    const EXECUTE_HANDLER: i32 = 1;
    const CONTINUE_EXECUTION: i32 = -1;
    let pointers = EXCEPTION_POINTERS { ExceptionRecord: record, ContextRecord: context };
    // SAFETY: the system passes valid records.
    let (flags, code) = unsafe { ((*record).ExceptionFlags, (*record).ExceptionCode) };
    if flags & (EXCEPTION_UNWINDING | EXCEPTION_EXIT_UNWIND) != 0 {
        return ExceptionContinueSearch; // nothing is to be cleaned up here
    }
    // SAFETY: as above.
    match unsafe { UnhandledExceptionFilter(&raw const pointers) } {
        CONTINUE_EXECUTION => ExceptionContinueExecution,
        EXECUTE_HANDLER => end(code),
        _ => ExceptionContinueSearch,
    }
}

/// Ends the process, as an exception does.
fn end(code: i32) -> ! {
    // SAFETY: no preconditions.
    unsafe { TerminateProcess(GetCurrentProcess(), code as u32) };
    std::process::abort()
}

#[cfg(test)]
#[path = "windows_tests.rs"]
mod tests;
