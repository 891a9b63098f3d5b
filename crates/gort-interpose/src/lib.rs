//! Definitions of libc functions that park goroutines.
//!
//! A program that links this crate (by naming `gort`) calls these in place of libc's, from std, from other crates and from
//! C libraries, without `LD_PRELOAD`: symbols of the executable come before those of `libc.so`.
//!
//! | Function | On a goroutine | Elsewhere |
//! |---|---|---|
//! | `syscall(SYS_futex, …)` with WAIT, WAIT_BITSET, private | parks | the system call |
//! | the same with WAKE, WAKE_BITSET, private | wakes goroutines, then the kernel's waiters; one count for both | the same |
//! | `syscall`, anything else | the system call | the system call |
//! | `nanosleep`, `clock_nanosleep` | parks | libc's function |
//! | `sched_yield` | lets other goroutines run | the system call |
//! | `dlopen`, `dlclose` | libc's function, then thread-local storage of goroutines follows | the same |
//!
//! With these `std::sync` (`Mutex`, `RwLock`, `Condvar`, `Barrier`, `Once`, `mpsc`), `std::thread::{park, sleep}`,
//! parking_lot, crossbeam-channel and flume park goroutines, also when plain threads use the same object.
//!
//! Rules that every hook keeps: off a goroutine it costs a load and a branch before the real thing; it never allocates,
//! panics or uses lazily made thread-locals; errno is what libc's function would leave. Inside the runtime itself, and in
//! a forked child, hooks pass through.
//!
//! `GORT_INTERPOSE=0` switches parking off at run time: everything passes through. [`report`] tells which hooks are live.

mod dl;
mod futex;
mod next;
mod sleep;
mod switch;
mod sys;

/// One libc name that this crate defines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hook {
    /// The C name.
    pub name: &'static str,
    /// Whether calls in this process go to the hook: it is the definition that the dynamic linker finds first.
    pub live: bool,
}

/// Which hooks are live in this process, and whether parking is switched on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// False with `GORT_INTERPOSE=0`.
    pub enabled: bool,
    /// All hooks.
    pub hooks: Vec<Hook>,
}

impl Report {
    /// Whether parking is on and every hook is live.
    pub fn all_live(&self) -> bool {
        self.enabled && self.hooks.iter().all(|hook| hook.live)
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = if self.enabled { "on" } else { "off (GORT_INTERPOSE=0)" };
        write!(f, "parking in libc calls is {state};")?;
        for hook in &self.hooks {
            write!(f, " {}{}", hook.name, if hook.live { "" } else { " (not live)" })?;
        }
        Ok(())
    }
}

/// Finds out which hooks calls in this process go to.
///
/// ```
/// println!("{}", gort_interpose::report());
/// ```
pub fn report() -> Report {
    let hooks: [(&'static core::ffi::CStr, usize); 6] = [
        (c"syscall", sys::syscall as *const () as usize),
        (c"nanosleep", sleep::nanosleep as *const () as usize),
        (c"clock_nanosleep", sleep::clock_nanosleep as *const () as usize),
        (c"sched_yield", sleep::sched_yield as *const () as usize),
        (c"dlopen", dl::dlopen as *const () as usize),
        (c"dlclose", dl::dlclose as *const () as usize),
    ];
    let hooks = hooks.into_iter().map(|(name, ours)| {
        // SAFETY: looking a name up has no preconditions.
        let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) } as usize;
        Hook { name: name.to_str().expect("names are ASCII"), live: found == ours }
    });
    Report { enabled: switch::enabled(), hooks: hooks.collect() }
}
