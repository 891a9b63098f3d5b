//! Declared blocking calls: Go's `cgocall`, `entersyscall` and `exitsyscall`.

use crate::atomic::Ordering;
use crate::sched;
use crate::sched::g::G;
use core::cell::Cell;
use core::mem::ManuallyDrop;

/// Runs `f`, which may block its kernel thread, in place. While it does, the goroutine's P may go to others: sysmon takes
/// it after about 20 µs if there is work. On a thread that is no goroutine this is a plain call.
///
/// Entering and leaving cost two stores each. A goroutine that has lost its P queues for one afterwards. `f` keeps the
/// goroutine's stack and thread-local storage, and may call back.
///
/// ```
/// let before = gort_rt::thread::spawn(|| gort_rt::ffi::blocking(|| unsafe { libc::getpid() }));
/// assert!(before.join().unwrap() > 0);
/// ```
#[inline]
pub fn blocking<T>(f: impl FnOnce() -> T) -> T {
    match sched::parkable() {
        None => f(),
        Some(g) => {
            let call = Call::begin(g);
            let value = f();
            drop(call);
            value
        }
    }
}

thread_local! {
    /// The section that the calling thread or goroutine is in by [`begin`].
    static SECTION: Cell<Section> = const { Cell::new(Section { begun: 0, nested: false }) };
}

/// How often [`begin`] has been called, and whether the outermost was within a declared call.
#[derive(Clone, Copy)]
struct Section {
    begun: u32,
    nested: bool,
}

/// [`blocking`] for callers without closures: what follows, until [`end`], may block. Sections nest.
pub(crate) fn begin() {
    let mut section = SECTION.get();
    if section.begun == 0 {
        if let Some(g) = sched::parkable() {
            let call = ManuallyDrop::new(Call::begin(g));
            section.nested = call.nested;
        }
    }
    section.begun += 1;
    SECTION.set(section);
}

/// Ends the section that the latest [`begin`] has begun. False: there is none.
pub(crate) fn end() -> bool {
    let mut section = SECTION.get();
    if section.begun == 0 {
        return false;
    }
    section.begun -= 1;
    SECTION.set(section);
    if section.begun == 0 {
        if let Some(g) = sched::parkable() {
            drop(Call { g, nested: section.nested });
        }
    }
    true
}

/// A declared blocking call under way; its end, by panic too, is the way back into the scheduler's order.
struct Call<'a> {
    g: &'a G,
    nested: bool,
}

impl<'a> Call<'a> {
    #[inline]
    fn begin(g: &'a G) -> Call<'a> {
        // SAFETY: the M of a running goroutine is set and lives for ever.
        let m = unsafe { &*g.m.get() };
        let tick = m.syscall_tick.load(Ordering::Relaxed);
        let nested = tick % 2 == 1;
        if !nested {
            m.syscall_tick.store(tick.wrapping_add(1), Ordering::Relaxed);
        }
        Call { g, nested }
    }
}

impl Drop for Call<'_> {
    #[inline]
    fn drop(&mut self) {
        // A callback below `f` may have parked and come back on another M, whose tick is even.
        // SAFETY: as in `begin`.
        let m = unsafe { &*self.g.m.get() };
        let tick = m.syscall_tick.load(Ordering::Relaxed);
        if !self.nested && tick % 2 == 1 {
            m.syscall_tick.store(tick.wrapping_add(1), Ordering::Relaxed);
        }
        if m.lost_p() {
            sched::rejoin(self.g);
        }
    }
}
