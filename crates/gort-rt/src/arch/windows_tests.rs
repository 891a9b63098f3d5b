use super::*;
use core::cell::Cell;
use core::ptr;
use std::panic::{catch_unwind, AssertUnwindSafe};
use windows_sys::Win32::Foundation::EXCEPTION_ACCESS_VIOLATION;
use windows_sys::Win32::System::Diagnostics::Debug::{
    AddVectoredExceptionHandler, RemoveVectoredExceptionHandler, EXCEPTION_CONTINUE_EXECUTION,
    EXCEPTION_CONTINUE_SEARCH, EXCEPTION_POINTERS,
};

const SIZE: usize = 256 << 10;

/// What the thread's block says of the stack: ExceptionList, StackBase, StackLimit, DeallocationStack, GuaranteedStackBytes.
fn bounds() -> [usize; 5] {
    let teb = ptr::with_exposed_provenance::<u8>(thread_pointer());
    let word = |at| {
        // SAFETY: these words are part of the block, on every thread.
        unsafe { teb.add(at).cast::<usize>().read_volatile() }
    };
    [word(0), word(0x08), word(0x10), word(0x1478), word(0x1748) as u32 as usize]
}

/// Two contexts that take turns: the test's, and a coroutine's on a stack of its own.
struct Turns {
    outside: Cell<*mut u8>,
    inside: Cell<*mut u8>,
    seen: Cell<usize>,
    body: fn(&Turns),
}

impl Turns {
    fn new(stack: &mut [u128], body: fn(&Turns)) -> Box<Turns> {
        let null = || Cell::new(ptr::null_mut());
        let turns = Box::new(Turns { outside: null(), inside: null(), seen: Cell::new(0), body });
        // SAFETY: the stack is large enough, aligned as its elements are, and lives as long as the test. `run` never returns.
        let sp = unsafe { prepare(stack.as_mut_ptr_range().end.cast(), run, (&raw const *turns).cast_mut().cast()) };
        turns.inside.set(sp);
        turns
    }

    /// The test's turn ends: on to the coroutine, until that calls [`Turns::back`].
    fn on(&self) {
        // SAFETY: `inside` was made by `prepare`, or saved by `back`, and is resumed once each time.
        unsafe { switch(self.outside.as_ptr(), self.inside.get(), thread_pointer()) };
    }

    fn back(&self) {
        // SAFETY: `on` has saved the context, which is resumed once.
        unsafe { switch(self.inside.as_ptr(), self.outside.get(), thread_pointer()) };
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
        assert_eq!(bounds()[1..4], [usize::MAX, 0, 0], "any stack is right");
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

#[test]
fn a_call_on_another_stack_comes_back() {
    unsafe extern "C" fn body(seen: *mut u8) {
        // SAFETY: the test passes this.
        let seen = unsafe { &mut *seen.cast::<(usize, bool)>() };
        let here = 0u8;
        seen.0 = (&raw const here).addr();
        seen.1 = catch_unwind(|| panic!("expected")).is_err();
    }
    let mut memory = stack();
    let range = memory.as_mut_ptr_range();
    let before = bounds();
    for sp in [range.end.cast(), ptr::null_mut()] {
        let mut seen = (0usize, false);
        // SAFETY: the stack is large enough and aligned; `body` does not unwind.
        unsafe { call_on_stack(body, (&raw mut seen).cast(), sp, thread_pointer()) };
        assert!(seen.1);
        assert_eq!((range.start.addr()..range.end.addr()).contains(&seen.0), !sp.is_null());
        assert_eq!(bounds(), before);
    }
}
