//! From the kernel's events to runnable goroutines.
//!
//! # Who polls
//! * An M that runs out of work looks for events once, without waiting, before it looks elsewhere.
//! * An M that runs goroutines looks every 64th switch, so that descriptors are served under full load.
//! * Of the Ms that sleep one, the *poller*, sleeps in `epoll_wait` in place of a futex, until the next timer; somebody who
//!   wants to wake it interrupts that by an eventfd. There is one poller at a time, so that no interrupt reaches another.
//!   See `sched::idle`.
//! * sysmon looks when nobody else has for some milliseconds: while goroutines compute.
//!
//! Several may poll at the same time; the kernel gives each event to one of them.

use super::desc::Desc;
use super::{make_ready, table};
use crate::atomic::{AtomicI32, AtomicU32, Ordering};
use crate::chaos::{happens, Whim};
use crate::os;
use crate::os::epoll::{self, Event, NO_EVENT};
use crate::sched::global::Batch;
use crate::sync::rawmutex::RawMutex;
use core::ffi::c_int;

/// The epoll set; -1 before the first wait.
static SET: AtomicI32 = AtomicI32::new(-1);
/// What interrupts a wait for events.
static INTERRUPTER: AtomicI32 = AtomicI32::new(-1);
static CREATE: RawMutex<()> = RawMutex::new(());
/// How often somebody has looked for events; a hint for sysmon.
static LOOKS: AtomicU32 = AtomicU32::new(0);
/// Seconds, roughly, as sysmon counts them; never 0.
static TICK: AtomicU32 = AtomicU32::new(1);

/// The number that the interrupter is registered under; no descriptor has it.
const INTERRUPT: u64 = u64::MAX;
/// Events taken at a time.
const EVENTS: usize = 64;

/// Room for events on the way from the kernel; a P has one, so that looking for events takes no stack of a goroutine.
pub(crate) type Room = [Event; EVENTS];
pub(crate) const ROOM: Room = [NO_EVENT; EVENTS];

/// Whether any goroutine has ever waited for a descriptor.
#[inline]
pub(crate) fn in_use() -> bool {
    SET.load(Ordering::Relaxed) >= 0
}

/// The descriptors of the netpoller itself, lowest first; those that do not exist yet are negative.
pub(super) fn own() -> [c_int; 2] {
    let (set, interrupter) = (SET.load(Ordering::Relaxed), INTERRUPTER.load(Ordering::Relaxed));
    [set.min(interrupter), set.max(interrupter)]
}

#[cold]
fn create() -> Result<c_int, ()> {
    let _creating = CREATE.lock();
    if in_use() {
        return Ok(SET.load(Ordering::Relaxed));
    }
    let set = epoll::epoll_create().map_err(drop)?;
    match epoll::interrupter(set, INTERRUPT) {
        Ok(fd) => {
            epoll::make_room(set);
            INTERRUPTER.store(fd, Ordering::Relaxed);
            // Release: whoever sees the set may use the interrupter.
            SET.store(set, Ordering::Release);
            Ok(set)
        }
        Err(_) => {
            epoll::close(set);
            Err(())
        }
    }
}

/// Registers a descriptor under its present generation, again if it is registered already. Under the record's lock.
pub(super) fn register(fd: c_int, desc: &Desc) -> Result<(), ()> {
    if happens(Whim::Register, None) {
        return Err(());
    }
    let set = match SET.load(Ordering::Acquire) {
        -1 => create()?,
        set => set,
    };
    epoll::epoll_register(set, fd, data(fd, desc)).map_err(drop)
}

/// What events of a descriptor carry: its generation and its number. Under the record's lock.
fn data(fd: c_int, desc: &Desc) -> u64 {
    u64::from(desc.generation.load(Ordering::Relaxed)) << 32 | u64::from(fd as u32)
}

/// Takes a descriptor out of the set.
pub(super) fn unregister(fd: c_int) {
    epoll::epoll_remove(SET.load(Ordering::Relaxed), fd);
}

/// sysmon's clock of seconds, for `State::since`.
pub(super) fn tick() -> u32 {
    TICK.load(Ordering::Relaxed)
}

/// Ends the sleep of the M that waits for events.
pub(crate) fn interrupt() {
    epoll::interrupt(INTERRUPTER.load(Ordering::Relaxed));
}

/// Collects, without waiting, the goroutines whose descriptors have become ready. They are the caller's to make runnable.
#[inline]
pub(crate) fn poll(room: &mut Room) -> Batch {
    match SET.load(Ordering::Acquire) {
        -1 => Batch::new(),
        set => collect(set, room, Some(0)),
    }
}

/// The same, but sleeps until there are events, [`interrupt`], a signal, or `deadline`.
pub(crate) fn wait_for_events(deadline: Option<u64>) -> Batch {
    collect(SET.load(Ordering::Acquire), &mut { ROOM }, deadline)
}

/// How often somebody has looked for events.
pub(crate) fn looks() -> u32 {
    LOOKS.load(Ordering::Relaxed)
}

fn collect(set: c_int, room: &mut Room, deadline: Option<u64>) -> Batch {
    let mut runnable = Batch::new();
    LOOKS.store(LOOKS.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    loop {
        let n = epoll::epoll_wait(set, room, deadline).unwrap_or_else(|e| lost(e));
        for event in &room[..n] {
            match event.u64 {
                // It is meant for the one who sleeps; others leave it as it is, so that it is reported to him too.
                INTERRUPT if deadline == Some(0) => {}
                INTERRUPT => epoll::calm(INTERRUPTER.load(Ordering::Relaxed)),
                _ => dispatch(event, &mut runnable),
            }
        }
        // A full room: there may be more, and goroutines that were ready first should run first.
        if n < EVENTS || runnable.len >= 4 * EVENTS || deadline != Some(0) {
            return runnable;
        }
    }
}

/// Somebody has closed the set behind the hooks. Whoever waits in it would wait for ever.
#[cold]
fn lost(errno: i32) -> ! {
    let text = format!("gort: the program has closed a descriptor of the runtime's (epoll: errno {errno})\n");
    os::write_stderr(text.as_bytes());
    std::process::abort();
}

fn dispatch(event: &Event, runnable: &mut Batch) {
    let (fd, generation) = (event.u64 as u32 as c_int, (event.u64 >> 32) as u32);
    let Some(desc) = table::find(fd) else { return };
    let mut state = desc.state.lock();
    if desc.generation.load(Ordering::Relaxed) == generation {
        desc.ready(&mut state, epoll::readiness(event), runnable);
    }
}

/// At the end of the runtime, when nobody waits and nobody looks: gives the netpoller's own descriptors back.
pub(crate) fn close() {
    let _creating = CREATE.lock();
    if !in_use() {
        return;
    }
    // From here on a descriptor that is closed is not taken out of the set, whose number may be somebody else's soon.
    table::for_each(|_, desc| desc.state.lock().registered = false);
    for fd in [SET.swap(-1, Ordering::Relaxed), INTERRUPTER.swap(-1, Ordering::Relaxed)] {
        epoll::close(fd);
    }
}

/// sysmon, once a second: sees to it that every wait older than that would be told of an event, see the head of `poll`.
/// True: some waits are younger.
pub(crate) fn revalidate() -> bool {
    if !in_use() {
        return false;
    }
    let now = TICK.load(Ordering::Relaxed);
    TICK.store(now.wrapping_add(1).max(1), Ordering::Relaxed);
    let mut younger = false;
    table::for_each(|fd, desc| {
        if !desc.has_waiters() {
            return;
        }
        let mut runnable = Batch::new();
        let mut state = desc.state.lock();
        match state.since {
            // They have gone: perhaps the number is being closed, and must not be registered again.
            _ if !desc.has_waiters() => {}
            0 => {}
            since if since == now => younger = true,
            _ => {
                state.since = 0;
                // One that is registered as we believe is not reported, for that would wake somebody for nothing.
                state.registered = epoll::epoll_ensure(SET.load(Ordering::Acquire), fd, data(fd, desc)).is_ok();
                if !state.registered {
                    // There is no such descriptor any more, or it is a regular file now: the next try will tell.
                    desc.ready(&mut state, epoll::ANYTHING, &mut runnable);
                }
            }
        }
        drop(state);
        make_ready(runnable);
    });
    younger
}

/// Whether any goroutine waits for a descriptor.
pub(crate) fn anybody_waits() -> bool {
    let mut any = false;
    table::for_each(|_, desc| any |= desc.has_waiters());
    any
}
