//! Starting the runtime: explicitly by [`crate::Config::start`], else by the first goroutine. `stop` is the converse.

use crate::arch;
use crate::atomic::Ordering;
use crate::backend::{Backend, Runtime};
use crate::chaos;
use crate::config::{check_procs, Config, Settings};
use crate::debug::sigquit;
use crate::error::Error;
use crate::fork;
use crate::gate::{self, Pass};
use crate::identity;
use crate::oneone;
use crate::os;
use crate::phase::{self, Change, Life, Refused};
use crate::pthread;
use crate::sched::g::Kind;
use crate::sched::global::install;
use crate::sched::{deadlock, g, m, revoke, sysmon};
use crate::stack;
use crate::stack::overflow;
use crate::tls;
use crate::unload::Pin;

/// The runtime, for somebody who spawns: it runs while this lives.
pub(crate) struct Entry {
    pub(crate) runtime: Runtime,
    _pass: Option<Pass>,
}

/// The started runtime; starts it with the default settings if it never was.
#[inline]
pub(crate) fn runtime() -> Result<Entry, Error> {
    if is_inside() && gate::is_running() && !fork::is_child() {
        return Ok(Entry { runtime: Runtime::chosen().expect("it runs"), _pass: None });
    }
    from_outside()
}

/// Whether the caller is a goroutine, or in a callback: shutdown waits for it.
#[inline]
pub(crate) fn is_inside() -> bool {
    // SAFETY: the current G lives, and the M of a foreign one is set for ever.
    unsafe {
        tls::getg().as_ref().is_some_and(|g| match g.kind {
            Kind::Goroutine | Kind::G0 | Kind::Thread => true,
            Kind::Foreign => (*g.m.get()).depth.load(Ordering::Relaxed) > 0,
        })
    }
}

#[cold]
fn from_outside() -> Result<Entry, Error> {
    if fork::is_child() {
        return Err(forked());
    }
    loop {
        if let Some(pass) = gate::pass() {
            return Ok(Entry { runtime: Runtime::chosen().expect("it runs"), _pass: Some(pass) });
        }
        if gate::is_shut() {
            return Err(gate::shut());
        }
        let pin = ahead();
        match phase::start() {
            Ok(change) => start(change, Config::new(), pin)?,
            Err(Refused::There) => {}
            Err(Refused::UnderWay) => phase::wait(), // the first start: at an end the gate is shut
        }
    }
}

/// What a start needs of the loader, before it is one: the loader's lock may be held by a constructor that waits for a start
/// that is under way.
fn ahead() -> Pin {
    identity::look_up();
    Pin::new()
}

fn forked() -> Error {
    Error::invalid(
        "this process is a fork of one that ran goroutines: its kernel threads are gone; exec, or fork before the first \
         goroutine"
            .into(),
    )
}

/// Changes how many goroutines run cooperatively at a time, and returns how many did before. The counterpart of Go's
/// `GOMAXPROCS(n)`; nothing stops meanwhile. Starts the runtime if it never was.
///
/// More can run at once. Fewer do within some milliseconds: a goroutine that computes or blocks at that moment goes on
/// beside the others, as a thread, until it next waits, wakes somebody or yields. No goroutine or timer is lost or held up.
///
/// For a program whose share of the machine changes while it runs; `std::thread::available_parallelism` tells what it is
/// now, by affinity mask and cgroup quota. The runtime does not follow it by itself.
///
/// ```
/// gort_rt::set_procs(3).unwrap();
/// assert_eq!(gort_rt::set_procs(1).unwrap(), 3);
/// assert_eq!(gort_rt::thread::available_parallelism().unwrap().get(), 1);
/// ```
///
/// # Errors
/// `n` is not from 1 to 1024, or the runtime cannot start, or has been shut down.
pub fn set_procs(n: usize) -> Result<usize, Error> {
    check_procs("the argument of set_procs", n)?;
    Ok(runtime()?.runtime.set_procs(n))
}

/// Starts the runtime, which does not run, with the given settings.
pub(crate) fn with(config: Config) -> Result<(), Error> {
    if fork::is_child() {
        return Err(forked());
    }
    loop {
        let pin = ahead();
        match phase::start() {
            Ok(change) => return start(change, config, pin),
            Err(Refused::There) => {
                return Err(Error::invalid("the runtime runs already, by Config::start or the first goroutine".into()))
            }
            // Not for an end, which may wait for the caller.
            Err(Refused::UnderWay) if gate::is_shut() || is_inside() => {
                return Err(phase::under_way());
            }
            Err(Refused::UnderWay) => phase::wait(),
        }
    }
}

#[cold]
fn start(change: Change, config: Config, pin: Pin) -> Result<(), Error> {
    let settings = config.settle()?;
    if settings.dump_on_sigquit {
        sigquit::install().map_err(|e| Error::os("cannot install the handler for SIGQUIT", e))?;
    }
    let life = match settings.backend {
        Backend::Goroutines => scheduler(&settings),
        Backend::Threads => threads(&settings),
    };
    match life {
        Ok(life) => {
            change.on(life, pin);
            Ok(())
        }
        Err(error) => {
            let clean = take_handlers_out(&pin);
            pin.release(clean);
            Err(error)
        }
    }
}

/// Takes the runtime's signal handlers out of a library that may go when `pin` does. False: somebody has put one of his own
/// before ours, and may call ours, which passes everything on.
pub(crate) fn take_handlers_out(pin: &Pin) -> bool {
    // All of them, whatever becomes of the first.
    let (overflow, sigquit) = (overflow::uninstall(), sigquit::uninstall());
    identity::unguard_credentials(pin.is_of_a_library()) && overflow && sigquit
}

fn scheduler(settings: &Settings) -> Result<Life, Error> {
    // An allocator may start a thread now, which could not be a goroutine yet.
    let _real = os::RealThreads::begin();
    arch::init();
    revoke::init();
    identity::init()?;
    // SAFETY: `native_base` only reads atomics and asks for the thread's number, and knows every M's thread.
    unsafe { identity::guard_credentials(m::native_base) }?;
    os::remember_mask();
    g::init();
    stack::init(settings.guard);
    chaos::init(settings.chaos);
    deadlock::init(settings.deadlock_report);
    if settings.overflow_report {
        crate::report::init();
        overflow::install().map_err(|e| Error::os("cannot install the handler for stack overflows", e))?;
    }
    fork::init();
    install(settings.procs, settings.stack_size)
        .map_err(|e| Error::os("cannot reserve address space for Ps; raise the limit on it (ulimit -v)", e))?;
    let monitor = sysmon::start().map_err(|e| Error::no_thread("cannot start the runtime's first thread", e))?;
    Backend::Goroutines.choose();
    gate::open();
    sysmon::ready();
    pthread::init(settings.threads_as_goroutines);
    Ok(Life::Scheduler(monitor))
}

fn threads(settings: &Settings) -> Result<Life, Error> {
    revoke::init();
    fork::init();
    let threads = oneone::install(settings.procs, settings.stack_size)?;
    Backend::Threads.choose();
    gate::open();
    pthread::init(false); // what others start are threads, as goroutines are
    Ok(Life::Threads(threads))
}
