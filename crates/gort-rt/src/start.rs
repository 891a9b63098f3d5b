//! Starting the runtime: explicitly by [`crate::Config::start`], else by the first goroutine or callback.

use crate::arch;
use crate::config::Config;
use crate::error::Error;
use crate::fork;
use crate::identity;
use crate::os;
use crate::pthread;
use crate::sched::global::{install, try_sched, Sched};
use crate::sched::{chaos, deadlock, g, m, pool, revoke, sysmon};
use crate::stack;
use crate::stack::overflow;
use std::sync::Mutex;

/// Serialises starts. `std`'s mutex is fine: whoever starts the runtime is not on a goroutine.
static STARTING: Mutex<()> = Mutex::new(());

/// The started runtime; starts it with the default settings if need be.
#[inline]
pub(crate) fn runtime() -> Result<&'static Sched, Error> {
    match try_sched() {
        Some(s) if !fork::is_child() => Ok(s),
        Some(_) => Err(Error::invalid(
            "this process is a fork of one that ran goroutines: its kernel threads are gone; exec, or fork before the \
             first goroutine"
                .into(),
        )),
        None => start(Config::new(), false),
    }
}

/// Starts the runtime with the given settings, which must be the first.
pub(crate) fn with(config: Config) -> Result<(), Error> {
    start(config, true).map(drop)
}

#[cold]
fn start(config: Config, first: bool) -> Result<&'static Sched, Error> {
    let _starting = STARTING.lock().unwrap_or_else(|e| e.into_inner());
    if let Some(s) = try_sched() {
        return if first {
            Err(Error::invalid("the runtime has been started before, by Config::start or the first goroutine".into()))
        } else {
            Ok(s)
        };
    }
    // An allocator may start a thread now, which could not be a goroutine yet.
    let _real = os::RealThreads::begin();
    let settings = config.settle()?;
    arch::init();
    revoke::init();
    identity::init()?;
    // SAFETY: `native_base` only reads atomics and asks for the thread's number, and knows every M's thread.
    unsafe { identity::guard_credentials(m::native_base) }?;
    g::init();
    stack::init(settings.guard, settings.procs * pool::PER_P);
    chaos::init(settings.chaos);
    deadlock::init(settings.deadlock_report);
    if settings.overflow_report {
        crate::report::init();
        overflow::install().map_err(|e| Error::os("cannot install the handler for stack overflows", e))?;
    }
    fork::init();
    sysmon::start().map_err(|e| Error::os("cannot start the runtime's first thread", e))?;
    let s = install(settings.procs, settings.stack_size);
    sysmon::ready();
    pthread::init(settings.threads_as_goroutines);
    Ok(s)
}
