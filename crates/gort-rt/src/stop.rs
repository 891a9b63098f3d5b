//! Ending the runtime: the converse of `start`.
//!
//! 1. The gate is closed, and everybody leaves: callbacks return, goroutines end. See `gate`. If they do not in time the gate
//!    is opened again, and nothing has changed.
//! 2. sysmon ends. It is the only one who would start an M for nobody.
//! 3. The Ms end: those that sleep are woken, and one that finds nothing to do ends its thread in place of going to sleep
//!    (`Idle::stopping`). A waker that is late, of a goroutine that has ended meanwhile, may still send an M after work that
//!    is not there, and an M may start another; each finds nothing, and their number is known: `Sched::threads`. All are
//!    joined, so that no code of this library runs on any thread of its own, which matters to who unloads it.
//! 4. What the runtime holds is given back: dead goroutines' stacks, blocks, descriptors, signal handlers.
//!
//! Where goroutines are kernel threads there is nothing but 1, and all of them are joined: see `oneone::ended`.
//!
//! What stays, for a late look and for the next start: the records of Ps and Ms, address space of stacks, wait words, tables.
//! They go when the library does: see `unload`.

use crate::atomic::Ordering;
use crate::error::Error;
use crate::fork;
use crate::gate;
use crate::identity;
use crate::os;
use crate::phase::{self, Life, Refused};
use crate::poll;
use crate::pthread;
use crate::sched::global::{sched, Sched};
use crate::sched::{budget, census, gfree, procs, sysmon, task};
use crate::start;
use std::time::Duration;

/// Ends the runtime: waits until all goroutines and all callbacks have ended, then ends the runtime's kernel threads and gives
/// back what it holds. [`Config::start`](crate::Config::start) starts it again, with other settings if need be. If the
/// runtime does not run this does nothing.
///
/// From the call on nobody comes in from outside: threads cannot spawn, and a callback on a thread that is not in one
/// fails: `try_callback` is an error, `callback_or` gives its `on_panic` value (with `on_panic = abort` the process ends),
/// `callback` panics. What is inside goes on as before. When the runtime has been shut down this stays so; it does not start by
/// itself again.
///
/// No goroutine is cancelled: a stack with values on it cannot just go. Tell them to end, for example by closing their
/// channels.
///
/// # Errors
/// Somebody is inside after `patience`: then the runtime goes on as if nothing had been asked, and the error says how many
/// they are. (It may take longer, if destructors of thread-local variables that C code left on the runtime's own threads do.)
/// Or the caller is a goroutine or in a callback, for which it would wait for ever; or another thread starts or ends the runtime
/// at this moment; or the process is a fork. Not to be called by what runs under the loader's lock: a library's constructor or
/// destructor.
///
/// # Unloading
/// After this a library that contains gort, and that its host has loaded by `dlopen`, may be closed by `dlclose`: everything that
/// the runtime holds goes with it. (What stays is the C library's: `malloc`'s caches of goroutines, one for each of those that
/// there were at a time and that have allocated, about 0.7 KiB.) As with any library no thread may be on its way through the
/// library's code then, nor in the destructors at a thread's end: a thread that has called in lives on, or has been joined.
/// Until this has been called the library stays loaded, however often it is closed; the host opens it once more to shut the
/// runtime down.
///
/// It also stays in some cases that are not gort's to choose. The C library keeps it while a thread lives whose thread-local
/// variables of this library have destructors. And where somebody has installed a signal handler after the runtime started
/// (for `SIGSEGV` or `SIGBUS`; or another library with a runtime of its own, which was started later and is not shut down
/// yet), his handler may call ours, so the library stays for good.
///
/// ```
/// use std::time::Duration;
/// gort_rt::thread::spawn(|| ()).join().unwrap();
/// gort_rt::shutdown(Duration::from_secs(10)).unwrap();
/// assert!(gort_rt::thread::Builder::new().spawn(|| ()).is_err());
/// gort_rt::Config::new().start().unwrap();
/// gort_rt::thread::spawn(|| ()).join().unwrap();
/// ```
pub fn shutdown(patience: Duration) -> Result<(), Error> {
    if start::is_inside() {
        return Err(Error::invalid(
            "shutdown is called by a goroutine or in a callback, for which it would wait".into(),
        ));
    }
    if fork::is_child() {
        return Err(Error::invalid(
            "this process is a fork of one that ran goroutines: there is nothing to shut down".into(),
        ));
    }
    let patience = u64::try_from(patience.as_nanos()).unwrap_or(u64::MAX);
    let deadline = os::now().saturating_add(patience);
    let (change, life, pin) = match phase::end() {
        Ok(begun) => begun,
        Err(Refused::There) => return Ok(()),
        Err(Refused::UnderWay) => {
            return Err(phase::under_way());
        }
    };
    let goroutines = || match &life {
        Life::Scheduler(_) => census::unburied(sched()),
        Life::Threads(threads) => threads.present(),
    };
    if !gate::close(|| goroutines() == 0, deadline) {
        let (goroutines, callbacks) = (goroutines(), gate::callbacks());
        change.on(life, pin);
        return Err(Error::busy(format!(
            "the runtime is not shut down: {goroutines} goroutines and {callbacks} callbacks have not ended in time"
        )));
    }
    match life {
        Life::Scheduler(monitor) => {
            pthread::init(false);
            sysmon::stop(monitor);
            end_threads(sched());
            give_back(sched());
        }
        Life::Threads(threads) => threads.join_all(),
    }
    let clean = start::take_handlers_out(&pin);
    change.off();
    pin.release(clean);
    Ok(())
}

/// A pause until somebody who is on the way has arrived, in nanoseconds.
const MOMENT: u64 = 20_000;

/// Ends all threads of Ms, of which none has anything to do.
fn end_threads(s: &Sched) {
    let mut idle = s.idle.lock();
    idle.stopping = true;
    loop {
        if let Some(m) = idle.take_m() {
            drop(idle);
            m.wake();
        } else if let Some(m) = idle.take_ended() {
            drop(idle);
            if let Some(thread) = m.thread.take() {
                thread.join();
            }
            s.idle.lock().put_free(m);
        } else if s.threads.load(Ordering::SeqCst) == 0 && s.all_ps_idle() {
            break;
        } else {
            // Somebody is on the way: to the list of the ended, or with a P back to its list.
            drop(idle);
            os::sleep_ns(MOMENT);
        }
        idle = s.idle.lock();
    }
    idle.stopping = false;
}

/// Gives back what is kept for goroutines to come.
fn give_back(s: &Sched) {
    // The Ps are ours: they are idle, and no thread is left that could take one.
    s.ps.iter().for_each(|p| {
        procs::give_back(p);
        p.census.move_to(&s.census);
        p.timers.clear(); // of waits that ended before their time
    });
    gfree::give_up();
    task::give_up();
    budget::reckon_again(); // the next stacks may be of another size
    identity::caught_up();
    poll::close();
}
