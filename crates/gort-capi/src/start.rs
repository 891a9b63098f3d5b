//! Starting the runtime and shutting it down.

use crate::code::{
    explained, failure, run, Failure, GORT_EDEADLOCK, GORT_EINVAL, GORT_ENOTSTARTED, GORT_ESTARTED, GORT_FOREVER,
};
use crate::fork;
use crate::hooks;
use core::ffi::c_int;
use core::mem::{offset_of, size_of};
use core::slice;
use core::time::Duration;
use gort_rt::{embed, Backend};

/// How to start the runtime. Set everything to zero, then `size` to sizeof(gort_config_t), then what you want otherwise:
///
///     gort_config_t config = {0};
///     config.size = sizeof config;
///     config.procs = 4;
///
/// Zero means: what the environment says (GORT_PROCS, GORT_STACK_SIZE, GORT_BACKEND, GORT_OVERFLOW_REPORT,
/// GORT_DEADLOCK_REPORT, GORT_THREADS), else the default. Later versions may have more fields behind these; `size` says which
/// ones a program knows.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Config {
    /// sizeof(gort_config_t).
    size: usize,
    /// How many goroutines run at a time: 1 to 1024. Default: the CPUs that the process may use.
    procs: u32,
    /// What goroutines are: GORT_GOROUTINES (default) or GORT_KERNEL_THREADS.
    backend: u32,
    /// Bytes of stack of a goroutine: 16384 or more. Default: 216 KiB. Memory is taken up as it is used.
    stack_size: usize,
    /// GORT_ON: a handler for SIGSEGV and SIGBUS that reports a goroutine's stack overflow with its name, and passes every other
    /// fault on to the handler that was there. Default: off; gort installs no signal handler.
    overflow_report: u32,
    /// GORT_OFF: no report on standard error when all goroutines wait and nothing can wake them any more. Default: on.
    deadlock_report: u32,
    /// GORT_ON: pthread_create() makes goroutines from now on, where it is gort's (see gort_parks()). Default: off.
    threads_as_goroutines: u32,
    /// Zero.
    reserved: u32,
}

/// In a gort_config_t: as the environment says, else by default.
pub const GORT_DEFAULT: u32 = 0;
/// In a gort_config_t: yes.
pub const GORT_ON: u32 = 1;
/// In a gort_config_t: no.
pub const GORT_OFF: u32 = 2;
/// For gort_config_t.backend: stacks of their own on few kernel threads.
pub const GORT_GOROUTINES: u32 = 1;
/// For gort_config_t.backend: a kernel thread each; for tools that know threads only.
pub const GORT_KERNEL_THREADS: u32 = 2;

/// Bytes up to the end of the first field.
const SMALLEST: usize = offset_of!(Config, procs);

impl Config {
    /// The caller's settings, which may be those of an older or a later version.
    ///
    /// # Safety
    /// `from` is null or points at as many readable bytes as its first field says.
    unsafe fn read(from: *const Config) -> Result<Config, Failure> {
        let mut config = Config::default();
        if from.is_null() {
            return Ok(config);
        }
        // SAFETY: the first field is there in every version.
        let size = unsafe { (&raw const (*from).size).read() };
        if !(SMALLEST..=4096).contains(&size) {
            return Err(explained(
                GORT_EINVAL,
                format!("gort_config_t.size is {size}; it must be sizeof(gort_config_t)"),
            ));
        }
        // SAFETY: the caller's promise.
        let bytes = unsafe { slice::from_raw_parts(from.cast::<u8>(), size) };
        let known = size.min(size_of::<Config>());
        if bytes[known..].iter().any(|byte| *byte != 0) {
            return Err(explained(GORT_EINVAL, "gort_config_t has settings of a later version than this library's"));
        }
        // SAFETY: both have so many bytes, and any bytes are a Config.
        unsafe { (&raw mut config).cast::<u8>().copy_from_nonoverlapping(bytes.as_ptr(), known) };
        Ok(config)
    }

    /// The same for the runtime.
    fn settle(self) -> Result<gort_rt::Config, Failure> {
        let mut settings = gort_rt::Config::new();
        if self.procs != 0 {
            settings = settings.procs(self.procs as usize);
        }
        if self.stack_size != 0 {
            settings = settings.stack_size(self.stack_size);
        }
        settings = match self.backend {
            GORT_DEFAULT => settings,
            GORT_GOROUTINES => settings.backend(Backend::Goroutines),
            GORT_KERNEL_THREADS => settings.backend(Backend::Threads),
            n => return Err(explained(GORT_EINVAL, format!("gort_config_t.backend is {n}, which is none"))),
        };
        // A library in somebody's process installs no handler, unless it is asked to.
        let wanted = std::env::var_os("GORT_OVERFLOW_REPORT").is_some_and(|value| !value.is_empty());
        let overflow = switch("overflow_report", self.overflow_report)?.or((!wanted).then_some(false));
        if let Some(on) = overflow {
            settings = settings.overflow_report(on);
        }
        if let Some(on) = switch("deadlock_report", self.deadlock_report)? {
            settings = settings.deadlock_report(on);
        }
        if let Some(on) = switch("threads_as_goroutines", self.threads_as_goroutines)? {
            settings = settings.threads_as_goroutines(on);
        }
        match self.reserved {
            0 => Ok(settings),
            n => Err(explained(GORT_EINVAL, format!("gort_config_t.reserved is {n}; it must be 0"))),
        }
    }
}

fn switch(name: &str, value: u32) -> Result<Option<bool>, Failure> {
    match value {
        GORT_DEFAULT => Ok(None),
        GORT_ON => Ok(Some(true)),
        GORT_OFF => Ok(Some(false)),
        n => Err(explained(GORT_EINVAL, format!("gort_config_t.{name} is {n}; it must be 0, GORT_ON or GORT_OFF"))),
    }
}

/// Starts the runtime. Call it once, from any thread, before the first gort_spawn(); after gort_shutdown() it may be called again,
/// with other settings. It may be called in a library's constructor.
///
/// @param config  the settings, or NULL for all defaults.
/// @return GORT_OK;
///   GORT_EINVAL: a setting, or a variable of the environment, has no meaning, and gort_last_error() names it;
///   GORT_ESTARTED: it runs already;
///   GORT_EBUSY: another thread shuts it down at this moment;
///   GORT_ENOMEM: no memory, no address space, or no kernel thread;
///   GORT_ESYSTEM: the C library does not allow goroutines to have thread-local storage (GORT_BACKEND=threads needs none);
///   GORT_EFORKED.
///
/// # Safety
/// The settings are as many bytes as they say.
#[no_mangle]
pub unsafe extern "C" fn gort_start(config: *const Config) -> c_int {
    run(|| {
        fork::check()?;
        // SAFETY: the caller's promise.
        let settings = unsafe { Config::read(config) }?.settle()?;
        hooks::link();
        if embed::is_running() && !embed::is_shut() {
            return Err(failure(GORT_ESTARTED));
        }
        settings.start().map_err(|e| {
            // Another thread may have been quicker.
            if embed::is_running() && !embed::is_shut() {
                failure(GORT_ESTARTED)
            } else {
                e.into()
            }
        })
    })
}

/// Ends the runtime: waits until all goroutines have ended and all threads have left, then ends gort's kernel threads and gives back
/// what they hold. After it the library may be unloaded. If the runtime does not run this does nothing.
///
/// From the call on nobody comes in from outside: gort_spawn() and gort_enter() return GORT_ESHUTDOWN. What is inside goes on; no
/// goroutine is cancelled. Tell them to end, for example by closing their channels. Handles stay good: a goroutine that has ended
/// can be joined afterwards, and channels work between threads.
///
/// Not in a library's constructor or destructor.
///
/// @param patience  nanoseconds to wait at most; GORT_FOREVER is allowed.
/// @return GORT_OK;
///   GORT_EBUSY: not all have ended in time (gort_last_error() says how many), and the runtime goes on as if nothing had been
///   asked; or another thread starts or ends it at this moment;
///   GORT_EDEADLOCK: the caller is a goroutine, or has entered, so it would wait for itself;
///   GORT_EFORKED.
#[no_mangle]
pub extern "C" fn gort_shutdown(patience: u64) -> c_int {
    run(|| {
        fork::check()?;
        if embed::is_inside() {
            return Err(failure(GORT_EDEADLOCK));
        }
        Ok(gort_rt::shutdown(duration(patience).unwrap_or(Duration::MAX))?)
    })
}

/// Refuses those who need a runtime where none was ever started. (That it has been shut down it says itself.)
pub(crate) fn check() -> Result<(), Failure> {
    fork::check()?;
    if embed::is_running() || embed::is_shut() {
        Ok(())
    } else {
        Err(failure(GORT_ENOTSTARTED))
    }
}

/// A time in nanoseconds; None for GORT_FOREVER.
pub(crate) fn duration(nanoseconds: u64) -> Option<Duration> {
    (nanoseconds != GORT_FOREVER).then(|| Duration::from_nanos(nanoseconds))
}
