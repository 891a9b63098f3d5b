//! sysmon: the thread without a P that keeps the others honest.
//!
//! It looks every 20 µs while things happen, ever more rarely (up to 10 ms) while nothing needs it, and not at all while
//! every P is idle. At each look, for each P that is held:
//!
//! * The M is in a declared blocking call since 20 µs, and there is work: take the P.
//! * No switch for 10 ms, and there is work: ask the goroutine to let others run when it next enters the runtime. Nothing for
//!   5 ms more: it spins or sits in a blocking call that nobody declared: take the P.
//! * Switches, but all within one slice of 10 ms: a pair that hands over by runnext: end the slice.
//!
//! It looks for events of descriptors where nobody else does. Then it wakes an idle P for work that the lazy wakers left
//! waiting, or for timers that are overdue, and about once a second gives memory of surplus dead goroutines back.

use crate::atomic::{bound, AtomicU32, Ordering};
use crate::chaos::{self, late, Whim};
use crate::os::{self, Thread};
use crate::poll;
use crate::sched::deadlock;
use crate::sched::gfree;
use crate::sched::global::{sched, Sched};
use crate::sched::idle;
use crate::sched::m::M;
use crate::sched::p::P;
use crate::sched::procs;
use crate::sched::revoke;
use crate::sched::task;
use crate::sched::wake;
use crate::time;
use core::ffi::c_void;
use core::ptr;

/// A goroutine's time slice, in nanoseconds.
const SLICE: u64 = 10_000_000;
/// How long a goroutine that was asked may take to come to a scheduling point, in nanoseconds.
const GRACE: u64 = 5_000_000;
/// How long a declared blocking call keeps its P when there is work, in nanoseconds.
const SYSCALL: u64 = 20_000;
/// Shortest and longest pause between looks, in nanoseconds.
const SHORTEST: u64 = 20_000;
const LONGEST: u64 = 10_000_000;
/// The longest pause while some Ps run and some are idle: waiting work should reach an idle processor soon.
const LONGEST_WITH_IDLE: u64 = 1_000_000;
/// At how many looks in a row goroutines must wait on a P that switches before an idle P is woken for them.
const LOOKS_IN_VAIN: usize = bound(2, 1);
/// The same where all that waits is in runnext, whose turn comes soon as a rule.
const LOOKS_AT_RUNNEXT: usize = bound(4, 1);
/// Looks without an event before the pause grows.
const PATIENCE: u32 = 50;
/// How long nobody must have looked for events before sysmon does, in nanoseconds.
const UNPOLLED: u64 = 2_000_000;
/// The same while a P is idle, for whose M sysmon sends then.
const UNPOLLED_IDLE: u64 = 200_000;
/// How long all Ps must have been idle before sysmon sleeps until it is roused, in nanoseconds.
const DEEP_AFTER: u64 = 50_000_000;
const SECOND: u64 = 1_000_000_000;

/// Whether sysmon may look at the runtime.
static STATE: AtomicU32 = AtomicU32::new(WAIT);
/// The runtime is not complete.
const WAIT: u32 = 0;
const GO: u32 = 1;
/// The runtime ends.
const STOP: u32 = 2;

/// Starts the thread, which waits for [`ready`]. At the start of the runtime, while it can still fail.
pub(crate) fn start() -> Result<Thread, i32> {
    STATE.store(WAIT, Ordering::Relaxed);
    let thread = os::spawn_thread(c"gort-sysmon", 256 << 10, main, ptr::null_mut())?;
    // It waits, so this joins nothing. But where libc's function is hooked the hook looks libc's up now, which takes the
    // loader's lock: sysmon, who joins later, must not wait for that.
    Ok(thread.try_join().expect_err("it has not been let go"))
}

/// The runtime is complete.
pub(crate) fn ready() {
    STATE.store(GO, Ordering::Release);
    os::futex_wake(&STATE, 1);
}

/// The runtime ends, and this thread is to end before it.
pub(crate) fn stop(thread: Thread) {
    STATE.store(STOP, Ordering::SeqCst);
    wake::rouse_sysmon();
    thread.join();
}

extern "C" fn main(_: *mut c_void) -> *mut c_void {
    while STATE.load(Ordering::Acquire) == WAIT {
        os::futex_wait(&STATE, WAIT, None);
    }
    let s = sched();
    let mut pause = SHORTEST;
    let mut quiet = 0;
    let mut idle_since = None;
    let mut trimmed_at = os::now();
    let mut poller = StandIn::default();
    loop {
        os::sleep_ns(chaos::pause(pause));
        if STATE.load(Ordering::SeqCst) == STOP {
            return ptr::null_mut();
        }
        let now = os::now();
        let events = procs::retire(s) | poller.look(s, now) | look(s, now);
        if now - trimmed_at > SECOND {
            trimmed_at = now;
            each_second();
        }
        if events {
            quiet = 0;
            pause = SHORTEST;
        } else {
            quiet += 1;
            if quiet > PATIENCE {
                let longest = if s.npidle.load(Ordering::Relaxed) == 0 { LONGEST } else { LONGEST_WITH_IDLE };
                pause = (pause * 2).min(longest);
            }
        }
        if all_idle(s) && !s.poke.load(Ordering::SeqCst) {
            let since = *idle_since.get_or_insert(now);
            if now - since > DEEP_AFTER {
                idle_since = None;
                deep_sleep(s);
                pause = SHORTEST;
                quiet = 0;
            }
        } else {
            idle_since = None;
        }
    }
}

/// Gives back what has been kept for reuse and was not needed; checks on waits for descriptors. True: there are some to check
/// on in a second.
fn each_second() -> bool {
    join_ended(sched());
    gfree::trim();
    task::trim();
    poll::revalidate()
}

/// Joins the threads of Ms that have ended: their Ms can be used again then, and their stacks. One that is still at its
/// destructors is looked at again later.
fn join_ended(s: &Sched) {
    let mut late = None;
    loop {
        let mut idle = s.idle.lock();
        let Some(m) = idle.take_ended() else { break };
        drop(idle);
        if m.try_join() {
            s.idle.lock().put_free(m);
        } else {
            m.link.set(late.map_or(ptr::null(), ptr::from_ref));
            late = Some(m);
        }
    }
    while let Some(m) = late {
        // SAFETY: the chain holds Ms, which are never freed.
        late = unsafe { m.link.get().as_ref() };
        s.idle.lock().put_ended(m);
    }
}

/// Looks for events when nobody else has for a while.
#[derive(Default)]
struct StandIn {
    looks: u32,
    seen_at: u64,
}

impl StandIn {
    /// True: there were some.
    fn look(&mut self, s: &'static Sched, now: u64) -> bool {
        let looks = poll::looks();
        if looks != self.looks || !poll::in_use() {
            (self.looks, self.seen_at) = (looks, now);
            return false;
        }
        let mut idle = s.idle.lock();
        let some_idle = s.npidle.load(Ordering::Relaxed) != 0;
        if idle.polling || now - self.seen_at < if some_idle { UNPOLLED_IDLE } else { UNPOLLED } {
            return false;
        }
        if let Some(p) = idle.take_p() {
            // Its M finds nothing, or what has come meanwhile, and then waits for more.
            drop(idle);
            self.seen_at = now; // it takes a while to come to its first look
            return wake::start_m(p, false);
        }
        drop(idle);
        let ready = poll::poll(&mut { poll::ROOM });
        let any = ready.len != 0;
        if any {
            s.put_global(ready);
        }
        any
    }
}

/// Whether every P is idle and, unless no thread could be had for one, without work, and none is too many, somebody waits for
/// events if there may be any, and chaos keeps no goroutine back.
fn all_idle(s: &Sched) -> bool {
    s.all_ps_idle() && !idle::nobody_polls(s) && !s.ps.too_many() && !s.ps.iter().any(P::has_work) && !late::any()
}

/// Whether goroutines could run and nobody runs any.
fn all_idle_but_for_want_of_threads(s: &Sched) -> bool {
    s.all_ps_idle() && (s.has_global() || s.ps.iter().any(P::has_work))
}

/// Sleeps until somebody takes an idle P or pokes. Wakes once a second at first, to give memory back, then not at all.
fn deep_sleep(s: &Sched) {
    let mut waiting = false;
    for round in 0u32.. {
        s.sysmon.store(1, Ordering::SeqCst);
        // The converse of `rouse_sysmon`: they change the idle list or set `poke` or `STATE`, then look at `sysmon`.
        let stop = STATE.load(Ordering::SeqCst) == STOP;
        if stop || !all_idle(s) || s.poke.load(Ordering::SeqCst) || s.has_global() {
            s.sysmon.store(0, Ordering::SeqCst);
            return;
        }
        let patience = (round < 30 || waiting).then(|| os::now() + SECOND);
        // For the whole second, signals notwithstanding: what follows counts on it.
        while os::futex_wait(&s.sysmon, 1, patience) {
            if s.sysmon.load(Ordering::SeqCst) == 0 {
                return;
            }
        }
        waiting = each_second();
        deadlock::check(s);
    }
}

/// One look. True: something had to be done.
pub(crate) fn look(s: &'static Sched, now: u64) -> bool {
    let mut events = false;
    late::release(s);
    let next_timer = time::next_of_all();
    let overdue = next_timer.saturating_add(SYSCALL) < now;
    let waiting = s.has_global() || overdue;
    let mut left = false;
    for p in s.ps.iter() {
        left |= is_left_waiting(p);
        // Acquire: the M's fields as they were when it took the P.
        // SAFETY: Ms are never freed.
        let Some(m) = (unsafe { p.m.load(Ordering::Acquire).as_ref() }) else {
            p.seen.switch_at.store(now, Ordering::Relaxed);
            p.seen.all_begun_at.store(now, Ordering::Relaxed);
            continue;
        };
        events |= if chaos::revokes(s.threads.load(Ordering::Relaxed)) {
            let taken = take(p, m, now);
            if taken {
                chaos::count(Whim::Revoke);
            }
            taken
        } else {
            watch(s, p, m, now, waiting)
        };
    }
    if s.npidle.load(Ordering::SeqCst) != 0 {
        let poked = s.poke.swap(false, Ordering::SeqCst);
        if (poked || waiting || left) && s.nmspinning.compare_exchange(0, 1, Ordering::SeqCst, Ordering::SeqCst).is_ok()
        {
            let p = s.idle.lock().take_p();
            match p {
                Some(p) => {
                    if wake::start_m(p, true) {
                        events = true;
                    } else if all_idle_but_for_want_of_threads(s) && !chaos::on() {
                        // With chaos it was not the system that refused one, perhaps.
                        deadlock::report_no_thread(s);
                    }
                }
                None => {
                    s.nmspinning.fetch_sub(1, Ordering::SeqCst);
                }
            }
        }
    } else {
        s.poke.store(false, Ordering::SeqCst);
    }
    events
}

/// Whether what waits on `p` should go to an idle P. Lazy wakers leave one or two goroutines to the P that has made them ready,
/// which gets to them at its next switch: so they are left waiting if it does not switch, or if some wait at each of a few looks.
fn is_left_waiting(p: &P) -> bool {
    let held = !p.m.load(Ordering::Relaxed).is_null();
    let switches = held && p.seen.switches.load(Ordering::Relaxed) != p.switches.load(Ordering::Relaxed);
    if !switches {
        return p.has_work();
    }
    let looks = if p.has_work() { p.seen.waiting.load(Ordering::Relaxed) + 1 } else { 0 };
    let left = looks >= if p.has_work_behind() { LOOKS_IN_VAIN } else { LOOKS_AT_RUNNEXT };
    p.seen.waiting.store(if left { 0 } else { looks }, Ordering::Relaxed);
    left
}

/// Looks at one held P.
fn watch(s: &'static Sched, p: &'static P, m: &'static M, now: u64, waiting: bool) -> bool {
    let switches = p.switches.load(Ordering::Relaxed);
    let ticks = p.schedtick.load(Ordering::Relaxed);
    let seen = &p.seen;
    if seen.switches.load(Ordering::Relaxed) != switches {
        seen.switches.store(switches, Ordering::Relaxed);
        seen.switch_at.store(now, Ordering::Relaxed);
        if seen.schedtick.load(Ordering::Relaxed) != ticks {
            seen.schedtick.store(ticks, Ordering::Relaxed);
            seen.slice_at.store(now, Ordering::Relaxed);
        } else if now - seen.slice_at.load(Ordering::Relaxed) > SLICE && p.has_work_behind() {
            p.preempt.store(true, Ordering::Relaxed);
        }
    }
    if p.all_begun() {
        seen.all_begun_at.store(now, Ordering::Relaxed);
    }
    if now - seen.elders_at.load(Ordering::Relaxed) > SLICE {
        seen.elders_at.store(now, Ordering::Relaxed);
        p.grant_elders(now - seen.all_begun_at.load(Ordering::Relaxed) > SECOND);
    }
    let call = m.syscall_tick.load(Ordering::Relaxed);
    if m.seen_syscall.load(Ordering::Relaxed) != call {
        m.seen_syscall.store(call, Ordering::Relaxed);
        m.seen_syscall_at.store(now, Ordering::Relaxed);
    }
    let in_call = call % 2 == 1;
    let blocked = in_call && now - m.seen_syscall_at.load(Ordering::Relaxed) >= SYSCALL;
    let hogging = now - seen.switch_at.load(Ordering::Relaxed) >= SLICE;
    if !(blocked || hogging) || !(waiting || p.has_work()) {
        return false;
    }
    // While an idle P can take the waiting work there is no need to uproot a goroutine that computes. What only this P's
    // holder reaches, however, waits until the P goes to another.
    if !blocked && !p.has_hidden() && s.npidle.load(Ordering::Relaxed) != 0 {
        return false;
    }
    if !blocked && now - seen.switch_at.load(Ordering::Relaxed) < SLICE + GRACE {
        p.preempt.store(true, Ordering::Relaxed);
        return true;
    }
    take(p, m, now)
}

/// Takes `p` from `m`, if that is outside the runtime, for another M. True: so it was.
fn take(p: &'static P, m: &M, now: u64) -> bool {
    if !revoke::take(p, m) {
        return false;
    }
    p.seen.switch_at.store(now, Ordering::Relaxed);
    wake::start_m(p, false);
    true
}
