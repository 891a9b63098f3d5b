//! Configuration: what a program sets, else what the environment says, else a default.

use crate::backend::{self, Backend};
use crate::chaos::Chaos;
use crate::error::Error;
use crate::os;
use crate::sched::procs::MOST as MOST_PROCS;
use crate::stack::{self, Guard};
use crate::start;
use std::env;
use std::ffi::OsString;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, Ordering};

/// The smallest stack that may be asked for, in bytes.
const SMALLEST_STACK: usize = 16 << 10;

/// The program names `gort`, which says so before `main`.
static APPLICATION: AtomicBool = AtomicBool::new(false);

/// The program is an application; see [`Config::overflow_report`].
pub(crate) fn declare_application() {
    APPLICATION.store(true, Ordering::Relaxed);
}

fn is_application() -> bool {
    APPLICATION.load(Ordering::Relaxed)
}

/// Settings of the runtime. What is not set here comes from the environment, then from a default.
///
/// | Setting | Variable | Default |
/// |---|---|---|
/// | [`procs`](Config::procs) | `GORT_PROCS` | the CPUs that the process may use: affinity mask and cgroup quota |
/// | [`stack_size`](Config::stack_size) | `GORT_STACK_SIZE`, `RUST_MIN_STACK` (bytes; `k`, `m`, `g` allowed in the first) | 216 KiB, in a slot of 256 KiB |
/// | [`overflow_report`](Config::overflow_report) | `GORT_OVERFLOW_REPORT` (`0`, `1`) | on in an application that names `gort`; else off |
/// | [`deadlock_report`](Config::deadlock_report) | `GORT_DEADLOCK_REPORT` (`0`, `1`) | on |
/// | [`dump_on_sigquit`](Config::dump_on_sigquit) | `GORT_DUMP_ON_SIGQUIT` (`0`, `1`) | off |
/// | [`threads_as_goroutines`](Config::threads_as_goroutines) | `GORT_THREADS` (`0`, `1`) | off |
/// | [`backend`](Config::backend) | `GORT_BACKEND` (`goroutines`, `threads`) | `goroutines`; `threads` with a C library that is linked statically |
/// | for tests | `GORT_CHAOS` (a seed; or a seed and `,faults`), `GORT_GUARD` (`markers`, `mprotect`), `GORT_IDENTITY` (`built`, `donor`), `GORT_MEMBARRIER`, `GORT_FSGSBASE` (`0`) | |
///
/// The runtime starts by itself, with the defaults, at the first spawn. A value that means nothing is an error that names
/// it, never silently a default.
///
/// ```
/// gort_rt::Config::new().procs(2).start().expect("it does not run yet");
/// assert_eq!(gort_rt::stats().procs, 2);
/// ```
#[derive(Debug, Clone, Default)]
pub struct Config {
    procs: Option<usize>,
    stack_size: Option<usize>,
    overflow_report: Option<bool>,
    deadlock_report: Option<bool>,
    dump_on_sigquit: Option<bool>,
    threads_as_goroutines: Option<bool>,
    backend: Option<Backend>,
}

/// Settings with every choice made.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) procs: usize,
    pub(crate) stack_size: usize,
    pub(crate) overflow_report: bool,
    pub(crate) deadlock_report: bool,
    pub(crate) dump_on_sigquit: bool,
    pub(crate) threads_as_goroutines: bool,
    pub(crate) backend: Backend,
    pub(crate) chaos: Option<Chaos>,
    pub(crate) guard: Option<Guard>,
}

impl Config {
    /// Settings that say nothing yet.
    pub fn new() -> Config {
        Config::default()
    }

    /// How many goroutines run cooperatively at a time: 1 to 1024.
    pub fn procs(mut self, n: usize) -> Config {
        self.procs = Some(n);
        self
    }

    /// Bytes of stack that a goroutine has at least, unless its `Builder` says otherwise. Memory is taken up as it is used.
    pub fn stack_size(mut self, bytes: usize) -> Config {
        self.stack_size = Some(bytes);
        self
    }

    /// Whether to install a handler for SIGSEGV and SIGBUS that reports a goroutine's stack overflow with its name, and
    /// passes every other fault on to the handler that was there.
    ///
    /// It is the only handler for signals that the runtime has of its own. Without a word here or in the environment it is
    /// installed in applications, those that name the crate `gort`: handlers belong to the program, so a library that depends
    /// on the runtime alone installs none in its host. An overflow is an ordinary segmentation fault then.
    pub fn overflow_report(mut self, on: bool) -> Config {
        self.overflow_report = Some(on);
        self
    }

    /// Whether to report on standard error when all goroutines wait and nothing in the process can wake them any more.
    pub fn deadlock_report(mut self, on: bool) -> Config {
        self.deadlock_report = Some(on);
        self
    }

    /// Whether to install a handler for SIGQUIT (Ctrl-\\ on a terminal, `kill -QUIT`) that writes a [`dump`](crate::dump) to
    /// standard error, after which the process goes on. For applications: a library should leave its host's signals alone.
    ///
    /// A handler that was there is called after the dump. Where there was none, a second SIGQUIT, during the dump or within a
    /// second of its end, does what SIGQUIT does by default: the process dies, with a core dump where the system makes one.
    /// [`shutdown`](crate::shutdown) puts back what there was.
    ///
    /// On Windows it is Ctrl+Break on the console.
    pub fn dump_on_sigquit(mut self, on: bool) -> Config {
        self.dump_on_sigquit = Some(on);
        self
    }

    /// Whether `pthread_create`, and so `std::thread::spawn` in any crate, makes goroutines from now on, in an application that
    /// names `gort`. (The hooks do it; a library that depends on the runtime alone changes nothing.)
    ///
    /// Such a goroutine is joined, detached and named as a thread is. A thread whose attributes ask for what only the kernel
    /// can give is still one: a scheduling policy other than the default one, CPUs, a signal mask, or a stack of the caller's
    /// own. Not inherited: the creator's signal mask, priority, CPUs and name.
    ///
    /// With `GORT_THREADS=1` the runtime starts with the process's first thread, if not before.
    pub fn threads_as_goroutines(mut self, on: bool) -> Config {
        self.threads_as_goroutines = Some(on);
        self
    }

    /// What a goroutine is underneath. ([`Backend::Goroutines`] is an error at the start where it is not possible.)
    pub fn backend(mut self, backend: Backend) -> Config {
        self.backend = Some(backend);
        self
    }

    /// Starts the runtime with these settings.
    ///
    /// # Errors
    /// A setting or an environment variable has no meaning, the C library does not allow goroutines to have thread-local
    /// storage of their own, or the runtime runs already.
    pub fn start(self) -> Result<(), Error> {
        start::with(self)
    }

    /// Fills in what was not set.
    pub(crate) fn settle(self) -> Result<Settings, Error> {
        let from_env = |name: &str| env::var_os(name).filter(|v| !v.is_empty());
        let procs = match self.procs {
            Some(n) => check_procs("Config::procs", n)?,
            None => match from_env("GORT_PROCS") {
                Some(v) => parse(&v)
                    .ok()
                    .filter(|n| PROCS.contains(n))
                    .ok_or_else(|| Error::variable("GORT_PROCS", &v, &format!("a number from 1 to {MOST_PROCS}")))?,
                None => os::available_cpus().min(MOST_PROCS),
            },
        };
        let stack_size = match self.stack_size {
            Some(n) => check_stack(n)?,
            None => match (from_env("GORT_STACK_SIZE"), from_env("RUST_MIN_STACK")) {
                (Some(v), _) => parse(&v).ok().and_then(|n| check_stack(n).ok()).ok_or_else(|| {
                    Error::variable("GORT_STACK_SIZE", &v, "a number of bytes (16k or more; k, m or g may follow)")
                })?,
                (None, Some(v)) => parse(&v)
                    .map_err(|()| Error::variable("RUST_MIN_STACK", &v, "a number of bytes"))?
                    .max(SMALLEST_STACK),
                (None, None) => stack::DEFAULT_USABLE - (24 << 10),
            },
        };
        let switch = |set: Option<bool>, name: &str, default: bool| match set {
            Some(on) => Ok(on),
            None => match from_env(name) {
                None => Ok(default),
                Some(v) if v == "1" => Ok(true),
                Some(v) if v == "0" => Ok(false),
                Some(v) => Err(Error::variable(name, &v, "0 or 1")),
            },
        };
        let backend = match (self.backend, from_env(backend::VARIABLE)) {
            (Some(backend), _) => backend,
            (None, None) => Backend::USUAL,
            (None, Some(v)) => {
                Backend::parse(&v).ok_or_else(|| Error::variable(backend::VARIABLE, &v, "goroutines or threads"))?
            }
        };
        let chaos = from_env("GORT_CHAOS")
            .map(|v| {
                v.to_str()
                    .and_then(Chaos::parse)
                    .ok_or_else(|| Error::variable("GORT_CHAOS", &v, "a number, a seed; \",faults\" may follow"))
            })
            .transpose()?;
        let guard = from_env("GORT_GUARD");
        let guard = stack::parse_guard(guard.as_deref()).map_err(|e| Error::invalid(e.to_string()))?;
        Ok(Settings {
            procs,
            stack_size,
            overflow_report: switch(self.overflow_report, "GORT_OVERFLOW_REPORT", is_application())?,
            deadlock_report: switch(self.deadlock_report, "GORT_DEADLOCK_REPORT", true)?,
            dump_on_sigquit: switch(self.dump_on_sigquit, "GORT_DUMP_ON_SIGQUIT", false)?,
            threads_as_goroutines: switch(self.threads_as_goroutines, "GORT_THREADS", false)?,
            backend,
            chaos,
            guard,
        })
    }
}

/// Numbers of Ps that there may be.
const PROCS: RangeInclusive<usize> = 1..=MOST_PROCS;

/// Whether there may be `n` Ps; else the error of `what` that was to be so many.
pub(crate) fn check_procs(what: &str, n: usize) -> Result<usize, Error> {
    if PROCS.contains(&n) {
        Ok(n)
    } else {
        Err(Error::invalid(format!("{what} is {n}; it must be from 1 to {MOST_PROCS}")))
    }
}

fn check_stack(n: usize) -> Result<usize, Error> {
    if n >= SMALLEST_STACK {
        Ok(n)
    } else {
        Err(Error::invalid(format!("Config::stack_size is {n}; it must be {SMALLEST_STACK} bytes or more")))
    }
}

/// A number, perhaps with `k`, `m` or `g` behind it.
fn parse(value: &OsString) -> Result<usize, ()> {
    let text = value.to_str().ok_or(())?.trim();
    let (digits, shift) = match text.as_bytes().last() {
        Some(b'k' | b'K') => (&text[..text.len() - 1], 10),
        Some(b'm' | b'M') => (&text[..text.len() - 1], 20),
        Some(b'g' | b'G') => (&text[..text.len() - 1], 30),
        _ => (text, 0),
    };
    digits.parse::<usize>().map_err(drop)?.checked_mul(1 << shift).ok_or(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_units() {
        for (text, number) in [("1", Ok(1)), ("64k", Ok(65536)), ("2M", Ok(2 << 20)), ("1g", Ok(1 << 30))] {
            assert_eq!(parse(&text.into()), number, "{text}");
        }
        for text in ["", "k", "-1", "1.5", "ten", "1kk", "99999999999999999999", "18446744073709551615k"] {
            assert_eq!(parse(&text.into()), Err(()), "{text}");
        }
    }

    #[test]
    fn what_is_set_is_checked() {
        assert!(Config::new().procs(0).settle().unwrap_err().to_string().contains("from 1 to 1024"));
        assert!(Config::new().procs(1025).settle().is_err());
        assert!(Config::new().stack_size(100).settle().unwrap_err().to_string().contains("16384"));
        assert_eq!(Config::new().procs(3).settle().unwrap().procs, 3);
        for backend in [Backend::Goroutines, Backend::Threads] {
            assert_eq!(Config::new().backend(backend).settle().unwrap().backend, backend);
        }
    }
}
