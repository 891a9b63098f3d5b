//! The life of an M made by the runtime: a thread that runs the scheduler on its native stack.

use crate::arch;
use crate::atomic::Ordering;
use crate::chaos::{self, Whim};
use crate::os::{self, Thread};
use crate::sched::find::{self, is_bound_elsewhere, Asked};
use crate::sched::global::{sched, Sched};
use crate::sched::idle;
use crate::sched::m::M;
use crate::sched::switch::execute;
use crate::sched::wake;
use crate::stack::overflow;
use crate::tls;
use core::ffi::c_void;
use core::ptr;

/// Stack of a runtime thread; `ffi::on_system_stack` runs on it. The kernel commits what is touched.
pub(crate) const THREAD_STACK: usize = 2 << 20;

/// Starts the thread of `m`, which finds its P in `next_p`. False: the system has no thread for us now.
pub(crate) fn start_thread(s: &Sched, m: &'static M) -> bool {
    if chaos::happens(Whim::Thread, None) {
        return false;
    }
    s.threads.fetch_add(1, Ordering::Relaxed);
    let arg = ptr::from_ref(m).cast_mut().cast();
    match os::spawn_thread(c"gort-m", THREAD_STACK, thread_main, arg) {
        Ok(thread) => {
            thread.forget(); // it notes itself in the M
            true
        }
        Err(e) => {
            s.threads.fetch_sub(1, Ordering::Relaxed);
            s.no_thread.store(e, Ordering::Relaxed);
            false
        }
    }
}

extern "C" fn thread_main(arg: *mut c_void) -> *mut c_void {
    // SAFETY: `start_thread` passes an M, which is never freed and has no other thread.
    let m: &'static M = unsafe { &*arg.cast::<M>() };
    // Without an alternate stack an overflow is still fatal, only without a report.
    let alternate = overflow::thread_altstack();
    m.alternate.set(alternate.as_ref().map_or((0, 0), overflow::AltStack::range));
    let native = arch::Native::new();
    // SAFETY: it stays where it is until this thread has run its last goroutine.
    m.g0.tp.set(unsafe { native.adopt() });
    m.thread.set(Some(Thread::this()));
    m.tid.store(os::gettid(), Ordering::Release);
    chaos::seed(m);
    // SAFETY: m.tls lives for ever.
    unsafe { tls::settls(&m.tls) };
    os::take_signals();
    idle::take_over(m);
    run(m);
    os::refuse_signals();
    m.tid.store(0, Ordering::Release);
    tls::clear_tls();
    drop(alternate);
    let s = sched();
    let mut idle = s.idle.lock();
    s.threads.fetch_sub(1, Ordering::Relaxed); // under the lock, for `stop`
    idle.put_ended(m);
    ptr::null_mut()
}

/// The scheduler: runs goroutines until the thread should end.
fn run(m: &'static M) {
    loop {
        let own = m.locked_g.get();
        if !own.is_null() {
            wait_for_own(m);
            // SAFETY: the goroutine was handed to us; it lives.
            execute(m, unsafe { &raw const (*own).task });
            if m.locked_g.get().is_null() && m.dying.get() {
                break;
            }
            continue;
        }
        let Some(g) = find::find(m) else { return };
        if is_bound_elsewhere(g, m) {
            wake::hand_to_locked(m, g);
        } else {
            execute(m, g);
            if m.dying.get() {
                break;
            }
        }
    }
    // A goroutine that was locked to this thread has ended: so does the thread, which may carry state of its own.
    m.dying.set(false);
    if let Some(p) = idle::detach_p(m) {
        wake::hand_off_locked(p);
    }
}

/// A goroutine is locked to this M and has parked or yielded: wait until somebody brings it, with a P.
///
/// `parked` was set before the goroutine became visible to wakers, so the hand-over cannot be missed.
///
/// If what the P runs next is locked too, its M gets the P at once: between two such goroutines a wake costs one change of
/// kernel threads, not two with some idle M in between. And their answers tend to come soon, so the M waits actively first.
fn wait_for_own(m: &'static M) {
    match m.p().and_then(|p| find::quick(m, p, Asked::Parking).map(|task| (p, task))) {
        Some((_, task)) if is_bound_elsewhere(task, m) => wake::hand_to_locked(m, task),
        // SAFETY: the task came from a queue, so it is ours, and so is the goroutine behind it.
        Some((_, task)) if unsafe { (*task).g() }.is_some_and(|g| ptr::eq(g, m.locked_g.get())) => {
            m.stay_awake(); // who would bring it holds it, and that is us
            return;
        }
        Some((p, task)) => p.put_next(task), // for another M
        None => {}
    }
    match idle::detach_p(m) {
        Some(p) => wake::hand_off_locked(p),
        None => wake::see_to_events(),
    }
    if !sched().many_cpus || !m.wait_actively() {
        m.sleep(None);
    }
    idle::take_over(m);
    debug_assert!(!m.p.load(Ordering::Relaxed).is_null());
}
