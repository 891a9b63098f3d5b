//! The scheduler at large: all of `sched` but the making of goroutines, with the runtime's own switch from one to another,
//! Ms that come and go, stealing, and sysmon's looks; over it park tokens, the event and the futex table.
//!
//! A goroutine's stack is a thread of the model (`arch`), so its thread-local storage is its own here too. Left out: timers,
//! the netpoller, reuse of stacks and identities.
//!
//! Asserted: every goroutine comes to its end, none is run twice or before it was saved (`arch::Context::go`), what locks
//! guard is one's at a time, and all threads of the runtime can be made to end.

use crate::atomic::{AtomicBool, AtomicU32, Ordering};
use crate::chaos::{self, Chaos};
use crate::debug::why::Why;
use crate::engine::{keep, spawn, yield_now, Tracked};
use crate::os;
use crate::sched::g::G;
use crate::sched::global::{install, sched};
use crate::sched::revoke::{self, enter, leave};
use crate::sched::spawn::{go, start};
use crate::sched::{switch, sysmon};
use crate::sync::event::Event;
use crate::sync::futex;
use crate::thread::current::set_current;
use crate::thread::{park, Thread};

/// Runs `body` with `procs` Ps, then ends all threads. `body` waits for its goroutines.
fn with(procs: usize, body: impl FnOnce()) {
    install(procs, 0).expect("there is room");
    revoke::init();
    let over = keep(AtomicBool::new(false));
    let sysmon = spawn(move || {
        while !over.load(Ordering::Relaxed) {
            sysmon::look(sched(), os::now());
            yield_now();
        }
    });
    body();
    over.store(true, Ordering::Relaxed);
    sysmon.join().expect("it has not panicked");
    // From here on sysmon's looks are ours, so that none of them starts a thread after we have seen that there is none.
    let look = || {
        sysmon::look(sched(), os::now());
        yield_now();
    };
    // A goroutine that ends while it is locked to its thread takes the thread with it.
    while sched().threads.load(Ordering::Relaxed) != 0 {
        let ended = keep(AtomicBool::new(false));
        go(move |g| {
            let m = enter(g);
            g.locks.set(1);
            g.locked_m.set(m);
            m.locked_g.set(g);
            leave(m);
            ended.store(true, Ordering::Relaxed);
        });
        while !ended.load(Ordering::Relaxed) {
            look();
        }
        for _ in 0..50 {
            look();
        }
    }
}

/// Three goroutines that yield, tied to the thread that they begin on.
pub(super) fn tied() {
    with(2, || {
        let done = keep([Event::new(), Event::new(), Event::new()]);
        for done in done {
            go(move |g| {
                let m = enter(g);
                g.locks.set(1);
                g.locked_m.set(m);
                m.locked_g.set(g);
                leave(m);
                switch::yield_now(g);
                assert!(core::ptr::eq(g.m.get(), m), "it is tied to its thread");
                enter(g);
                g.locks.set(0);
                g.locked_m.set(core::ptr::null());
                m.locked_g.set(core::ptr::null());
                leave(m);
                // SAFETY: it lives as long as the execution.
                unsafe { Event::set(done) };
            });
        }
        done.iter().for_each(|done| done.wait(Why::SCOPE));
    });
}

/// Three goroutines that yield.
pub(super) fn yields() {
    let turns = keep(AtomicU32::new(0));
    with(2, || {
        let done = keep([Event::new(), Event::new(), Event::new()]);
        for done in done {
            go(move |g| {
                for _ in 0..3 {
                    turns.fetch_add(1, Ordering::Relaxed);
                    switch::yield_now(g);
                }
                // SAFETY: it lives as long as the execution.
                unsafe { Event::set(done) };
            });
        }
        done.iter().for_each(|done| done.wait(Why::SCOPE));
        assert_eq!(turns.load(Ordering::Relaxed), 9);
    });
}

/// A goroutine that makes more than a ring holds, on one P.
pub(super) fn crowd() {
    let ran = keep(AtomicU32::new(0));
    with(1, || {
        let done = keep([const { Event::new() }; 5]);
        go(move |_| {
            for done in done {
                go(move |g| {
                    switch::yield_now(g);
                    ran.fetch_add(1, Ordering::Relaxed);
                    // SAFETY: it lives as long as the execution.
                    unsafe { Event::set(done) };
                });
            }
        });
        done.iter().for_each(|done| done.wait(Why::SCOPE));
        assert_eq!(ran.load(Ordering::Relaxed), 5);
    });
}

/// Two goroutines that hand a ball to each other, and a plain thread that waits for them.
fn ball(procs: usize) {
    with(procs, || {
        let ball = keep(AtomicU32::new(0));
        let done = keep([Event::new(), Event::new()]);
        let gs = [G::goroutine(), G::goroutine()];
        let handles = gs.map(|g| Thread::new(Some(g.wait)));
        for me in 0..2 {
            start(gs[me], move |_| {
                set_current(handles[me]);
                for round in 0..3 {
                    while ball.load(Ordering::Relaxed) != 2 * round + me as u32 {
                        park::park();
                    }
                    ball.fetch_add(1, Ordering::Relaxed);
                    handles[1 - me].unpark();
                }
                // SAFETY: it lives as long as the execution.
                unsafe { Event::set(&done[me]) };
            });
        }
        done.iter().for_each(|done| done.wait(Why::SCOPE));
    });
}

pub(super) fn parks() {
    ball(2);
}

/// The same while a die decides who is queued where, and Ms give their Ps away.
pub(super) fn chaotic() {
    chaos::init(Some(Chaos { seed: 7, faults: false }));
    ball(2);
}

/// Three goroutines contend for a lock made of a futex.
pub(super) fn locks() {
    with(2, || {
        let (word, guarded) = (keep(AtomicU32::new(0)), keep(Tracked::new(0)));
        let done = keep([Event::new(), Event::new(), Event::new()]);
        for done in done {
            go(move |g| {
                for _ in 0..2 {
                    while word.swap(1, Ordering::Acquire) != 0 {
                        // SAFETY: the word lives as long as the execution.
                        unsafe { futex::wait(g, word, 1, u32::MAX, None) };
                    }
                    let before = guarded.read(|n| *n);
                    switch::yield_now(g);
                    guarded.write(|n| *n = before + 1);
                    word.swap(0, Ordering::Release);
                    futex::wake(core::ptr::from_ref(word) as usize, 1, u32::MAX);
                }
                // SAFETY: as above.
                unsafe { Event::set(done) };
            });
        }
        done.iter().for_each(|done| done.wait(Why::SCOPE));
        assert_eq!(guarded.read(|n| *n), 6);
    });
}

/// One P, and a goroutine that does not let go of it until another one has run: sysmon takes it away.
pub(super) fn hog() {
    with(1, || {
        let flag = keep(AtomicBool::new(false));
        let done = keep([Event::new(), Event::new()]);
        go(move |g| {
            while !flag.load(Ordering::Relaxed) {
                yield_now();
            }
            switch::yield_now(g);
            // SAFETY: it lives as long as the execution.
            unsafe { Event::set(&done[0]) };
        });
        go(move |_| {
            flag.store(true, Ordering::Relaxed);
            // SAFETY: as above.
            unsafe { Event::set(&done[1]) };
        });
        done.iter().for_each(|done| done.wait(Why::SCOPE));
    });
}
