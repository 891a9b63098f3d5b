//! Tests of thread blocks, most of them for both ways of making one.
//!
//! Where a mend is under test, a *raw* block (what `_dl_allocate_tls` alone gives) shows what happens without it; where that
//! is a crash, in a child process.

mod credentials;
mod estate;
mod keys;
mod libraries;
mod recipes;
mod reuse;
mod threads;
mod timing;

use core::sync::atomic::{AtomicU32, Ordering};
use std::any::Any;
use std::panic::{catch_unwind, resume_unwind, AssertUnwindSafe};

use rustix::mm::{mmap_anonymous, munmap, MapFlags, ProtFlags};

use super::{block, modules, Mode, State};
use crate::arch;

/// How a test's blocks are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Raw,
    Built,
    Donor,
}

/// Defines a test for both complete ways.
macro_rules! both {
    ($(#[$meta:meta])* fn $name:ident($way:ident) $body:block) => {
        $(#[$meta])*
        mod $name {
            #[allow(unused_imports)]
            use super::*;
            fn body($way: Way) $body
            #[test]
            fn built() {
                body(Way::Built);
            }
            #[test]
            fn donor() {
                body(Way::Donor);
            }
        }
    };
}
use both;

fn state() -> &'static State {
    arch::init();
    super::init().expect("this glibc is supported");
    super::state()
}

/// A goroutine's mapping with a block.
struct Block {
    way: Way,
    lo: *mut u8,
    tp: usize,
}

impl Block {
    const SIZE: usize = 1 << 20;

    fn new(way: Way) -> Block {
        static NEXT_ID: AtomicU32 = AtomicU32::new(1 << 22);
        let state = state();
        let tid = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the mapping is fresh, and unmapped only by `drop` where that is allowed.
        unsafe {
            let prot = ProtFlags::READ | ProtFlags::WRITE;
            let lo: *mut u8 =
                mmap_anonymous(core::ptr::null_mut(), Block::SIZE, prot, MapFlags::PRIVATE).unwrap().cast();
            let hi = lo.add(Block::SIZE);
            let tp = match way {
                Way::Raw => block::build_raw(&state.glibc, lo, hi),
                Way::Built => state.create(&Mode::Built, lo, hi, tid),
                Way::Donor => state.create(&Mode::Donor(String::new()), lo, hi, tid),
            };
            Block { way, lo, tp: tp.unwrap() }
        }
    }

    /// Calls `f` on the block, as it is: no start, no destructors.
    fn call<R>(&self, f: impl FnOnce() -> R) -> R {
        type Outcome<R> = Result<R, Box<dyn Any + Send>>;
        struct Parcel<F, R> {
            f: Option<F>,
            outcome: Option<Outcome<R>>,
        }
        unsafe extern "C" fn open<F: FnOnce() -> R, R>(parcel: *mut u8) {
            // SAFETY: `call` passed a parcel of this type and waits for us.
            let parcel = unsafe { &mut *parcel.cast::<Parcel<F, R>>() };
            let f = parcel.f.take().unwrap();
            parcel.outcome = Some(catch_unwind(AssertUnwindSafe(f)));
        }
        fn opener<F: FnOnce() -> R, R>(_: &Parcel<F, R>) -> unsafe extern "C" fn(*mut u8) {
            open::<F, R>
        }
        let mut parcel = Parcel { f: Some(f), outcome: None };
        let open = opener(&parcel);
        let top = super::layout().stack_top(self.tp);
        // SAFETY: nobody else runs on the block, and `open` catches panics.
        unsafe { arch::call_on_stack(open, (&raw mut parcel).cast(), top as *mut u8, self.tp) };
        parcel.outcome.unwrap().unwrap_or_else(|panic| resume_unwind(panic))
    }

    /// A goroutine's whole life on the block, which is then ready for the next.
    fn live<R>(&self, f: impl FnOnce() -> R) -> R {
        let result = self.call(|| {
            // SAFETY: we are on a block of ours, first and last.
            unsafe {
                super::start();
                let result = f();
                super::run_destructors();
                result
            }
        });
        self.reset();
        result
    }

    fn reset(&self) {
        // SAFETY: nobody runs on the block, and tests keep no references into it.
        unsafe {
            if !modules::reset(self.tp) {
                modules::reset_by_learning(&state().glibc, self.tp);
            }
        }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // A donor's block stays linked in glibc for ever. A panicking test leaves its block for the debugger.
        if self.way != Way::Donor && !std::thread::panicking() {
            // Not by `destroy`, which would hand on what libc has here: destructors, if the test has not run them.
            // SAFETY: nobody runs on the block, and glibc does not know it.
            unsafe {
                let glibc = &state().glibc;
                glibc.keys.free_blocks(self.tp);
                (glibc.deallocate_tls)(self.tp as *mut _, false);
                munmap(self.lo.cast(), Block::SIZE).unwrap();
            }
        }
    }
}

/// Runs `f` in a forked child and returns its wait status; zero if `f` came back.
fn in_child(f: impl FnOnce()) -> i32 {
    // SAFETY: the child runs only `f`, which keeps to what other threads' locks cannot hinder, and leaves without clean-up.
    unsafe {
        let pid = libc::fork();
        assert!(pid >= 0);
        if pid == 0 {
            // A crash is an expected outcome and needs no core file, nor a handler's report.
            libc::signal(libc::SIGSEGV, libc::SIG_DFL);
            f();
            libc::_exit(0);
        }
        let mut status = 0;
        assert_eq!(libc::waitpid(pid, &mut status, 0), pid);
        status
    }
}

/// True if a wait status says "died of a bad memory access".
fn crashed(status: i32) -> bool {
    libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGSEGV
}
