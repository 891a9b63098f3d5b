use super::record::errno_at;
use super::*;
use crate::tls;
use core::cell::{Cell, UnsafeCell};
use core::ffi::c_int;
use core::ptr;
use std::panic::{catch_unwind, AssertUnwindSafe};
use windows_sys::Win32::Foundation::{GetLastError, SetLastError, EXCEPTION_ACCESS_VIOLATION};
use windows_sys::Win32::System::Diagnostics::Debug::{
    AddVectoredExceptionHandler, RemoveVectoredExceptionHandler, EXCEPTION_CONTINUE_EXECUTION,
    EXCEPTION_CONTINUE_SEARCH, EXCEPTION_POINTERS,
};

const SIZE: usize = 256 << 10;

/// What the thread's block says of the stack: ExceptionList, StackBase, StackLimit, DeallocationStack, GuaranteedStackBytes.
fn bounds() -> [usize; 5] {
    let word = |at: usize| {
        let word: usize;
        // SAFETY: these words are part of the block, on every thread.
        unsafe { asm!("mov {}, gs:[{}]", out(reg) word, in(reg) at, options(nostack, preserves_flags, readonly)) };
        word
    };
    [word(0), word(0x08), word(0x10), word(0x1478), word(0x1748) as u32 as usize]
}

/// Two contexts that take turns: the test's, and a coroutine's on a stack of its own.
struct Turns {
    native: Native,
    outside: Cell<*mut u8>,
    inside: Cell<*mut u8>,
    outer: Cell<usize>,
    record: UnsafeCell<Record>,
    seen: Cell<usize>,
    body: fn(&Turns),
}

impl Turns {
    fn new(stack: &mut [u128], body: fn(&Turns)) -> Box<Turns> {
        init();
        let null = || Cell::new(ptr::null_mut());
        let range = stack.as_mut_ptr_range();
        let (base, end) = (range.end.addr(), range.start.addr());
        let turns = Box::new(Turns {
            native: Native::new(),
            outside: null(),
            inside: null(),
            outer: Cell::new(0),
            record: UnsafeCell::new(Record::goroutine(base, end, end, 4096, 0)),
            seen: Cell::new(0),
            body,
        });
        // SAFETY: the box stays with the test, on this thread.
        turns.outer.set(unsafe { turns.native.adopt() });
        // SAFETY: the stack is large enough, aligned as its elements are, and lives as long as the test. `run` never returns.
        let sp = unsafe { prepare(range.end.cast(), run, (&raw const *turns).cast_mut().cast()) };
        turns.inside.set(sp);
        turns
    }

    /// The thread pointer of the coroutine.
    fn inner(&self) -> usize {
        self.record.get().expose_provenance()
    }

    /// The test's turn ends: on to the coroutine, until that calls [`Turns::back`].
    fn on(&self) {
        // SAFETY: `inside` was made by `prepare`, or saved by `back`, and is resumed once each time.
        unsafe { switch(self.outside.as_ptr(), self.inside.get(), self.inner()) };
        assert_eq!((thread_pointer(), goroutine()), (self.outer.get(), 0));
    }

    fn back(&self) {
        assert_eq!((thread_pointer(), goroutine()), (self.inner(), self.inner()));
        // SAFETY: `on` has saved the context, which is resumed once.
        unsafe { switch(self.inside.as_ptr(), self.outside.get(), self.outer.get()) };
    }
}

unsafe extern "C" fn run(turns: *mut u8) -> ! {
    // SAFETY: `Turns::new` passes one, which outlives its coroutine.
    let turns = unsafe { &*turns.cast::<Turns>() };
    (turns.body)(turns);
    loop {
        turns.back();
    }
}

fn stack() -> Vec<u128> {
    vec![0; SIZE / 16]
}

/// Registers that a callee preserves hold other values here than with whoever switched.
#[inline(always)]
fn spoil() {
    // SAFETY: the registers are declared.
    unsafe {
        asm!(
            "mov rsi, -1",
            "mov rdi, -1",
            "mov r12, -1",
            "movq xmm6, rsi",
            "movq xmm10, rsi",
            "movq xmm15, rsi",
            out("rsi") _, out("rdi") _, out("r12") _, out("xmm6") _, out("xmm10") _, out("xmm15") _,
            options(nostack, preserves_flags),
        );
    }
}

#[test]
fn contexts_keep_registers_and_bounds() {
    let mut memory = stack();
    let turns = Turns::new(&mut memory, |turns| loop {
        // SAFETY: only this coroutine's switches touch it.
        let record = unsafe { &*turns.record.get() };
        let (base, end) = (record.stack_base, record.deallocation_stack);
        assert_eq!(bounds(), [usize::MAX, base, end, end, 4096]);
        turns.seen.set(turns.seen.get() + 1);
        spoil();
        turns.back();
    });
    let before = bounds();
    for round in 1..=3 {
        let [mut general, mut vector] = [7u64, 11];
        // SAFETY: the registers are declared; the call is of a function of the C calling convention, at an aligned stack with
        // room for its arguments.
        unsafe {
            asm!(
                "mov r14, rsp",
                "and rsp, -16",
                "sub rsp, 32",
                "mov rsi, r12",
                "movq xmm6, r13",
                "movq xmm15, r13",
                "call {on}",
                "movq r13, xmm6",
                "movq r12, xmm15",
                "add r12, rsi",
                "mov rsp, r14",
                on = sym on,
                in("rcx") &raw const *turns,
                inout("r12") general,
                inout("r13") vector,
                out("r14") _, out("rsi") _, out("xmm6") _, out("xmm15") _,
                clobber_abi("C"),
            );
        }
        assert_eq!((general, vector), (18, 11));
        assert_eq!(turns.seen.get(), round);
        assert_eq!(bounds(), before);
    }
}

extern "C" fn on(turns: *const Turns) {
    // SAFETY: the test passes one that lives.
    unsafe { (*turns).on() };
}

#[test]
fn floating_point_control_belongs_to_contexts() {
    fn control() -> u32 {
        let mut control = 0u32;
        // SAFETY: writes four bytes.
        unsafe { asm!("stmxcsr [{}]", in(reg) &raw mut control, options(nostack)) };
        control
    }
    let mut memory = stack();
    let turns = Turns::new(&mut memory, |turns| {
        assert_eq!(control() & 0xffc0, 0x1f80);
        let downwards = 0x3f80u32;
        // SAFETY: a rounding mode.
        unsafe { asm!("ldmxcsr [{}]", in(reg) &raw const downwards, options(nostack)) };
        turns.back();
        assert_eq!(control() & 0xffc0, 0x3f80);
    });
    let before = control() & 0xffc0;
    turns.on();
    assert_eq!(control() & 0xffc0, before);
    turns.on();
    assert_eq!(control() & 0xffc0, before);
}

#[test]
fn a_panic_unwinds_a_stack_of_ours() {
    let mut memory = stack();
    let turns = Turns::new(&mut memory, |turns| {
        for _ in 0..2 {
            let caught = catch_unwind(AssertUnwindSafe(|| {
                turns.seen.set(turns.seen.get() + 1);
                turns.back(); // the panic comes when it was suspended before
                panic!("expected");
            }));
            assert_eq!(caught.unwrap_err().downcast_ref(), Some(&"expected"));
        }
        turns.seen.set(9);
    });
    turns.on();
    assert_eq!(turns.seen.get(), 1);
    turns.on();
    assert_eq!(turns.seen.get(), 2);
    turns.on();
    assert_eq!(turns.seen.get(), 9);
}

#[test]
fn a_backtrace_ends() {
    let mut memory = stack();
    let turns = Turns::new(&mut memory, |turns| {
        turns.seen.set(std::backtrace::Backtrace::force_capture().to_string().len());
    });
    turns.on();
    assert!(turns.seen.get() > 0);
}

/// Reads the null page by an instruction of three bytes; [`skip`] goes on behind it.
fn read_null() -> u64 {
    let value;
    // SAFETY: the handler that the test has installed skips the instruction, which has no other effect.
    unsafe { asm!("mov rax, [rcx]", in("rcx") 0u64, inout("rax") 42u64 => value, options(nostack)) };
    value
}

/// A vectored handler.
unsafe extern "system" fn skip(pointers: *mut EXCEPTION_POINTERS) -> i32 {
    // SAFETY: the system passes valid records.
    unsafe {
        let (record, context) = (&*(*pointers).ExceptionRecord, &mut *(*pointers).ContextRecord);
        if record.ExceptionCode != EXCEPTION_ACCESS_VIOLATION || record.ExceptionInformation[1] != 0 {
            return EXCEPTION_CONTINUE_SEARCH;
        }
        context.Rip += 3;
    }
    EXCEPTION_CONTINUE_EXECUTION
}

#[test]
fn an_access_violation_is_handled_on_a_stack_of_ours() {
    // SAFETY: the handler minds nobody's exceptions but those of reads of null, and is taken out below.
    let handler = unsafe { AddVectoredExceptionHandler(1, Some(skip)) };
    let mut memory = stack();
    let turns = Turns::new(&mut memory, |turns| {
        turns.seen.set(read_null() as usize);
        turns.back();
        turns.seen.set(read_null() as usize + 1);
    });
    assert_eq!(read_null(), 42);
    turns.on();
    assert_eq!(turns.seen.get(), 42);
    turns.on();
    assert_eq!(turns.seen.get(), 43);
    // SAFETY: installed above.
    unsafe { RemoveVectoredExceptionHandler(handler) };
}

/// Sets what a context has of its own besides registers, and says what it was: the last error, errno, the thread-local word.
fn own(value: u32) -> [u32; 3] {
    let word = tls_word();
    // SAFETY: the last error and errno are the thread's own; and so is the word, which the test puts back.
    unsafe {
        let before = [GetLastError(), errno_at().read() as u32, word.read() as u32];
        SetLastError(value);
        errno_at().write(value as c_int);
        word.write(value as usize);
        before
    }
}

fn tls_word() -> *mut usize {
    tls::place().word()
}

#[test]
fn errors_and_the_thread_local_word_belong_to_contexts() {
    let mut memory = stack();
    let turns = Turns::new(&mut memory, |turns| {
        assert_eq!(own(5), [0; 3], "as on a new thread");
        turns.back();
        assert_eq!(own(0), [5; 3]);
    });
    tls::is_none(); // the thread has its word
                    // SAFETY: the thread's own.
    let before = unsafe { tls_word().read() };
    own(7);
    turns.on();
    assert_eq!(own(8), [7; 3]);
    turns.on();
    assert_eq!(own(0), [8; 3]);
    // SAFETY: as above.
    unsafe { tls_word().write(before) };
}

/// Where it runs, whether a panic was caught, the bounds, the thread pointer, the thread-local word.
type Seen = (usize, bool, [usize; 5], usize, usize);

unsafe extern "C" fn look(seen: *mut u8) {
    // SAFETY: the tests pass this.
    let seen = unsafe { &mut *seen.cast::<Seen>() };
    let here = 0u8;
    let caught = catch_unwind(|| panic!("expected")).is_err();
    // SAFETY: the thread has its word.
    let word = unsafe { tls_word().read() };
    *seen = ((&raw const here).addr(), caught, bounds(), thread_pointer(), word);
}

#[test]
fn a_call_on_another_stack_comes_back() {
    tls::is_none(); // the thread has its word
    let mut memory = stack();
    let range = memory.as_mut_ptr_range();
    let before = bounds();
    for sp in [range.end.cast(), ptr::null_mut()] {
        let mut seen: Seen = (0, false, [0; 5], 0, 0);
        // SAFETY: the stack is large enough and aligned; `look` does not unwind.
        unsafe { call_on_stack(look, (&raw mut seen).cast(), sp, thread_pointer()) };
        assert!(seen.1);
        assert_eq!((range.start.addr()..range.end.addr()).contains(&seen.0), !sp.is_null());
        assert_eq!(seen.2[1..4] == [usize::MAX, 0, 0], !sp.is_null(), "any stack is right");
        assert_eq!(bounds(), before);
    }
}

/// As by `ffi::on_system_stack`, and by an allocator on the kernel thread's identity.
#[test]
fn a_call_on_the_kernel_threads_stack_has_what_is_its() {
    let mut memory = stack();
    let turns = Turns::new(&mut memory, |turns| {
        let before = bounds();
        own(3);
        for stay in [false, true] {
            let sp = if stay { ptr::null_mut() } else { (turns.outside.get() as usize & !15) as *mut u8 };
            let mut seen: Seen = (0, false, [0; 5], 0, 0);
            // SAFETY: the test's context is suspended at its saved stack pointer, so what is below is free.
            unsafe { call_on_stack(look, (&raw mut seen).cast(), sp, turns.outer.get()) };
            assert!(seen.1);
            assert_eq!(seen.3, turns.outer.get());
            assert_eq!(seen.4, turns.seen.get(), "the kernel thread's word");
            assert_eq!(seen.2[1] == before[1], stay, "the bounds are the stack's");
            assert!((seen.2[2]..seen.2[1]).contains(&seen.0));
            assert_eq!((bounds(), thread_pointer()), (before, turns.inner()));
            assert_eq!(own(3), [3; 3]);
        }
    });
    tls::is_none();
    // SAFETY: the thread's own.
    let before = unsafe { tls_word().read() };
    turns.seen.set(before);
    turns.on();
    // SAFETY: as above.
    assert_eq!(unsafe { tls_word().read() }, before);
}
