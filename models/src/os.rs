//! The kernel, as far as the runtime asks it.
//!
//! A futex is what the kernel makes of it: under one lock a sleeper compares the word and queues, a waker takes sleepers out.
//! Deadlines do not pass by themselves: a model that wants a time-out has a thread that claims, as a timer does. The clock
//! goes on by a millisecond at each look.

use crate::atomic::{AtomicU32, Ordering};
use crate::engine::{self, Lock, Parker, PerRun};
use core::cell::Cell;

struct Sleeper {
    at: usize,
    parker: Parker,
    woken: &'static Cell<bool>,
}

static SLEEPERS: PerRun<Lock<Vec<Sleeper>>> = PerRun::new();

fn sleepers() -> &'static Lock<Vec<Sleeper>> {
    SLEEPERS.get_or_init(|| Lock::new(Vec::new()))
}

pub(crate) fn futex_wait(word: &AtomicU32, expected: u32, _deadline: Option<u64>) -> bool {
    let woken = engine::keep(Cell::new(false));
    let mut all = sleepers().lock();
    if word.load(Ordering::SeqCst) != expected {
        return true;
    }
    all.push(Sleeper { at: core::ptr::from_ref(word) as usize, parker: Parker::here(), woken });
    drop(all);
    while !woken.get() {
        Parker::park();
    }
    true
}

pub(crate) fn futex_wake(word: *const AtomicU32, n: u32) -> u32 {
    let mut count = 0;
    sleepers().lock().retain(|sleeper| {
        let wake = count < n && sleeper.at == word as usize;
        if wake {
            sleeper.woken.set(true);
            sleeper.parker.unpark();
            count += 1;
        }
        !wake
    });
    count
}

pub(crate) fn membarrier_register() -> bool {
    true
}

pub(crate) use engine::membarrier;

static NOW: PerRun<Cell<u64>> = PerRun::new();

pub(crate) fn now() -> u64 {
    let now = NOW.get_or_init(|| Cell::new(0));
    now.set(now.get() + 1_000_000);
    now.get()
}

/// Calls its function when [`thread_exits`] says that the calling thread ends.
pub(crate) struct ExitKey(unsafe extern "C" fn(*mut core::ffi::c_void));

static VALUE: engine::Local<Cell<(usize, usize)>> = engine::Local::new(|| Cell::new((0, 0)));

impl ExitKey {
    pub(crate) fn new(destructor: unsafe extern "C" fn(*mut core::ffi::c_void)) -> Option<ExitKey> {
        Some(ExitKey(destructor))
    }

    pub(crate) fn set(&self, value: *const core::ffi::c_void) -> bool {
        VALUE.set((self.0 as usize, value as usize));
        true
    }
}

/// The calling thread of a model ends.
pub(crate) fn thread_exits() {
    let (destructor, value) = VALUE.get();
    VALUE.set((0, 0));
    if value != 0 {
        // SAFETY: `set` stored a function of this type, and a value for it.
        unsafe {
            let destructor: unsafe extern "C" fn(*mut core::ffi::c_void) = core::mem::transmute(destructor);
            destructor(value as *mut core::ffi::c_void);
        }
    }
}

pub(crate) fn gettid() -> i32 {
    engine::me() as i32
}

pub(crate) fn available_cpus() -> usize {
    2
}

pub(crate) fn sleep_ns(_: u64) {
    engine::yield_now();
}

pub(crate) fn spawn_thread(
    _: &core::ffi::CStr,
    _: usize,
    entry: extern "C" fn(*mut core::ffi::c_void) -> *mut core::ffi::c_void,
    arg: *mut core::ffi::c_void,
) -> Result<Thread, i32> {
    engine::spawn(move || {
        entry(arg);
    });
    Ok(Thread)
}

pub(crate) fn take_signals() {}

pub(crate) fn refuse_signals() {}

/// A thread of the runtime's; nobody joins it.
pub(crate) struct Thread;

impl Thread {
    pub(crate) fn this() -> Thread {
        Thread
    }

    pub(crate) fn forget(self) {}

    pub(crate) fn join(self) {}

    pub(crate) fn try_join(self) -> Result<(), Thread> {
        Ok(())
    }
}
