//! The dump: a text for a descriptor, of what the runtime does at this moment.
//!
//! Nothing is stopped for it, and it takes no lock and allocates nothing, because it is for processes that hang: a signal
//! handler that has interrupted anything may ask for it, and a debugger. It reads what is never freed: Ps, Ms, and the
//! records of goroutines (see `record`). Lines are therefore true one by one, each at its own moment: a goroutine may
//! have been running when the Ms were looked at and wait when its own line is written.

use crate::backend::Runtime;
use crate::debug::record::Seen;
use crate::debug::room::with_room;
use crate::debug::text::Text;
use crate::ffi::extra_m;
use crate::fork;
use crate::gate;
use crate::oneone::seat::{self, Seat};
use crate::os::{self, Activity};
use crate::sched::census;
use crate::sched::g::{Kind, G};
use crate::sched::global::Sched;
use crate::sched::m::{self, M};
use crate::sched::p::P;
use crate::sched::waitword::{self, Stage};
use crate::stack::{self, Slot};
use core::ffi::c_int;
use core::fmt::{self, Write};
use core::ptr;
use core::sync::atomic::Ordering;
use std::io;

/// Writes what the runtime does at this moment to a descriptor, as text for people: processors, kernel threads, and each
/// goroutine with its number and name, what it does or waits for, its stack, and the closure that it began with.
///
/// Stops nothing and waits for nothing but the descriptor, which blocks the calling kernel thread if it is full.
/// Async-signal-safe: no allocation, no lock, `errno` untouched. It brings a stack of its own, so a signal handler may call
/// it on the smallest of signal stacks.
///
/// Before the runtime has started, after its end and in a forked child the text says so.
///
/// The page `docs/debugging.md` explains the text, which may change from one version to the next.
///
/// ```
/// let waits = gort_rt::thread::Builder::new().name("waits".into()).spawn(gort_rt::thread::park).unwrap();
/// gort_rt::dump(2).unwrap();
/// waits.thread().unpark();
/// waits.join().unwrap();
/// ```
///
/// # Errors
/// The descriptor cannot be written to; `EBUSY` where 32 others write dumps at this moment.
pub fn dump(fd: c_int) -> io::Result<()> {
    write_with(fd, all).map_err(io::Error::from_raw_os_error)
}

/// Writes to standard error what goroutines do, in so many lines at most.
pub(crate) fn list(s: &Sched, most: usize) {
    let _ = write_with(2, |out| goroutines(out, s, most)); // as far as it goes
}

/// Writes a text to a descriptor. The errno value if that does not take all of it.
fn write_with(fd: c_int, text: impl FnOnce(&mut Text) -> fmt::Result) -> Result<(), i32> {
    let mut result = Ok(());
    with_room(|| {
        let mut out = Text::to(fd);
        let _ = text(&mut out); // an error is noted in `out`
        result = out.finish();
    })
    .and(result)
}

fn all(out: &mut Text) -> fmt::Result {
    write!(out, "gort {}, process {}: ", env!("CARGO_PKG_VERSION"), os::getpid())?;
    if fork::is_child() {
        return out.write_str("a fork of one that ran goroutines; there are none here\n");
    }
    match Runtime::chosen() {
        Some(runtime) if gate::is_running() => {
            out.write_str(if gate::is_shut() { "is being shut down\n" } else { "runs\n" })?;
            match runtime {
                Runtime::Scheduler(s) => scheduler(out, s),
                Runtime::Threads(threads) => {
                    writeln!(out, "goroutines are kernel threads, {} alive", threads.alive())?;
                    foreign(out)?;
                    seats(out)
                }
            }
        }
        _ => {
            let why =
                if gate::is_shut() { "the runtime has been shut down" } else { "the runtime has not been started" };
            writeln!(out, "{why}")?;
            foreign(out)
        }
    }
}

fn scheduler(out: &mut Text, s: &Sched) -> fmt::Result {
    s.ps.iter().try_for_each(|p| processor(out, p))?;
    if s.has_global() {
        out.write_str("global queue: not empty\n")?;
    }
    for m in m::all().filter(|m| !is_foreign(m)) {
        own_thread(out, m)?;
    }
    foreign(out)?;
    let asleep = s.sysmon.load(Ordering::Relaxed) != 0;
    writeln!(out, "sysmon: {}", if asleep { "sleeps until a P is busy" } else { "looks at busy Ps" })?;
    goroutines(out, s, usize::MAX)
}

fn processor(out: &mut Text, p: &P) -> fmt::Result {
    write!(out, "P {}: ", p.id)?;
    // SAFETY: Ms are never freed.
    match unsafe { p.m.load(Ordering::Acquire).as_ref() } {
        Some(m) => write!(out, "held by M {}", m.id)?,
        None => out.write_str("idle")?,
    }
    let ready = p.ring_len() as usize + usize::from(p.has_next());
    writeln!(out, ", {ready} ready, {} not begun", p.not_begun())
}

fn is_foreign(m: &M) -> bool {
    m.g0.kind == Kind::Foreign
}

/// An M that the runtime made, if it has a thread.
fn own_thread(out: &mut Text, m: &M) -> fmt::Result {
    let tid = m.tid.load(Ordering::Relaxed);
    if tid == 0 {
        return Ok(());
    }
    write!(out, "M {}: thread {tid}", m.id)?;
    let g = m.curg.load(Ordering::Relaxed);
    if let Some((slot, _)) = stack::find(g as usize) {
        match slot.record.id() {
            0 => out.write_str(", a goroutine that ends")?,
            id => write!(out, ", goroutine {id}")?,
        }
        holds(out, m)?;
        if m.syscall_tick.load(Ordering::Relaxed) % 2 == 1 {
            out.write_str(", in a call that was declared to block")?;
        }
    } else if m.idle.load(Ordering::Relaxed) {
        out.write_str(if m.is_polling() { ", idle, waits for events" } else { ", idle" })?;
    } else {
        out.write_str(", between goroutines")?;
        holds(out, m)?;
    }
    kernel(out, tid)?;
    out.write_str("\n")
}

/// The P that an M has. One that was taken from it does not know so yet; the P does.
fn held(m: &M) -> Option<&'static P> {
    m.p().filter(|p| ptr::eq(p.m.load(Ordering::Relaxed), m))
}

/// Which P an M has.
fn holds(out: &mut Text, m: &M) -> fmt::Result {
    match held(m) {
        Some(p) => write!(out, ", P {}", p.id),
        None => out.write_str(", no P"),
    }
}

/// What the kernel says of a thread.
fn kernel(out: &mut Text, tid: i32) -> fmt::Result {
    match os::activity(tid) {
        Some(Activity::Runs) => out.write_str(", runs"),
        Some(Activity::Call(number)) => write!(out, ", in system call {number}"),
        Some(Activity::Stands) => out.write_str(", stands still"),
        None => Ok(()),
    }
}

/// Threads that the runtime did not make, and that have called in.
fn foreign(out: &mut Text) -> fmt::Result {
    let counts = extra_m::counts();
    if counts.made > 0 {
        let (bound, inside) = (counts.in_use, gate::callbacks());
        writeln!(out, "extra Ms: {} made, {bound} bound to a thread, {inside} in a callback", counts.made)?;
    }
    for m in m::all().filter(|m| is_foreign(m)) {
        let depth = m.depth.load(Ordering::Relaxed);
        if depth > 0 {
            let depth = m::callbacks(depth) + m::guards(depth);
            writeln!(out, "extra M {}: in a callback, {depth} deep", m.id)?;
        }
    }
    Ok(())
}

/// How many goroutines were seen in which state.
#[derive(Default)]
struct Tally {
    running: usize,
    runnable: usize,
    waiting: usize,
}

/// All goroutines that have begun, but not more than `most` lines, and how many there are.
fn goroutines(out: &mut Text, s: &Sched, most: usize) -> fmt::Result {
    let mut tally = Tally::default();
    let (mut lines, mut result) = (0, Ok(()));
    stack::for_each_slot(&mut |slot| {
        let seen = slot.record.look(|| slot.name());
        if let Some(seen) = seen.filter(|_| result.is_ok()) {
            let state = State::of(slot);
            state.count(&mut tally);
            if lines < most {
                lines += 1;
                result = goroutine(out, &seen, slot, &state);
            }
        }
    });
    result?;
    let Tally { running, runnable, waiting } = tally;
    let begun = running + runnable + waiting;
    if lines < begun {
        writeln!(out, "... and {} more", begun - lines)?;
    }
    let unborn = (census::alive(s) as usize).saturating_sub(begun);
    writeln!(out, "goroutines: {running} running, {runnable} runnable, {waiting} waiting, {unborn} not begun")
}

/// What a goroutine does.
enum State {
    Running(&'static M),
    Runnable,
    /// It waits, in the wait with this number.
    Waiting(u64),
}

impl State {
    fn of(slot: &Slot) -> State {
        match waitword::look(slot.wait) {
            Stage::Parked(seq) => State::Waiting(seq),
            stage => match (running_on(slot), stage) {
                (Some(m), _) => State::Running(m),
                (None, Stage::Armed(seq)) => State::Waiting(seq),
                (None, _) => State::Runnable,
            },
        }
    }

    fn count(&self, tally: &mut Tally) {
        *match self {
            State::Running(_) => &mut tally.running,
            State::Runnable => &mut tally.runnable,
            State::Waiting(_) => &mut tally.waiting,
        } += 1;
    }
}

/// The M that runs the goroutine on a stack.
fn running_on(slot: &Slot) -> Option<&'static M> {
    // The address is computed, and never followed.
    let g = G::below(slot.tp()?);
    m::all().find(|m| ptr::eq(m.curg.load(Ordering::Relaxed), g))
}

fn goroutine(out: &mut Text, seen: &Seen, slot: &Slot, state: &State) -> fmt::Result {
    who(out, seen)?;
    match *state {
        State::Running(m) => {
            write!(out, "[running on M {}", m.id)?;
            if held(m).is_none() {
                out.write_str(", no P")?;
            }
            if m.syscall_tick.load(Ordering::Relaxed) % 2 == 1 {
                out.write_str(", in a call that was declared to block")?;
            }
        }
        State::Runnable => out.write_str("[runnable")?,
        State::Waiting(seq) => {
            let (why, until) = slot.record.wait(seq);
            match why {
                Some(why) => write!(out, "[{why}")?,
                // The wait began just now.
                None => out.write_str("[waiting")?,
            }
            if let Some(until) = until {
                let left = until.saturating_sub(os::now()) / 1_000_000;
                write!(out, ", {}.{:03} s left", left / 1000, left % 1000)?;
            }
        }
    }
    write!(out, "], wait {}, stack {} KiB", waitword::count(slot.wait), slot.usable() / 1024)?;
    origin(out, seen)
}

/// The beginning of a goroutine's line: its number and name.
fn who(out: &mut Text, seen: &Seen) -> fmt::Result {
    write!(out, "goroutine {} ", seen.id)?;
    if !seen.name().is_empty() {
        out.write_str("'")?;
        out.push_foreign(seen.name())?;
        out.write_str("' ")?;
    }
    Ok(())
}

/// The end of the line: the closure.
fn origin(out: &mut Text, seen: &Seen) -> fmt::Result {
    /// Names of types can be of any length, since they contain those of their parameters.
    const LONGEST: usize = 200;
    if let Some(origin) = seen.origin {
        let name = origin.name().as_bytes();
        out.write_str(", ")?;
        out.push_foreign(&name[..name.len().min(LONGEST)])?;
        if name.len() > LONGEST {
            out.write_str("...")?;
        }
    }
    out.write_str("\n")
}

/// Goroutines that are kernel threads.
fn seats(out: &mut Text) -> fmt::Result {
    seat::all().try_for_each(|seat: &Seat| {
        let Some(seen) = seat.record.look(|| &seat.name) else { return Ok(()) };
        who(out, &seen)?;
        let tid = seat.tid.load(Ordering::Relaxed);
        write!(out, "[thread {tid}")?;
        kernel(out, tid)?;
        out.write_str("]")?;
        origin(out, &seen)
    })
}
