//! On Windows: functions of the system's that park goroutines. (Elsewhere this crate is empty: `gort-interpose` does this by names.)
//!
//! A module calls functions of other modules through words that the loader has filled in, its imports. Those of the program, or of
//! the library, that this crate is linked into are made to lead here, before `main`. So std, other crates and C code that is
//! linked into the same module park goroutines where they wait; other modules, the system's above all, are left alone.
//!
//! | Function | On a goroutine | Elsewhere |
//! |---|---|---|
//! | `WaitOnAddress` | parks | the system's function |
//! | `WakeByAddressSingle`, `WakeByAddressAll` | wakes goroutines, then the system's waiters | the same |
//! | `Sleep` | parks; `Sleep(0)` lets other goroutines run | the system's function |
//! | `SwitchToThread` | lets other goroutines run | the system's function |
//! | `GetProcAddress` | the system's function; for the first four names the address of the hook | the same |
//! | `SetWaitableTimer` | the system's function; remembers when it is due | the system's function |
//! | `WaitForSingleObject` | for a timer that it knows of, parks until that is due; what is not there yet it waits for as in a declared blocking call | the system's function |
//! | `accept`, `connect`, `recv`, `recvfrom`, `send`, `sendto`, `WSARecv`, `WSARecvFrom`, `WSASend`, `WSASendTo`, `select` | parks until the socket is ready: see `net` | the system's function |
//! | what makes, duplicates and closes sockets, or changes their mode | the system's function; remembers the mode, wakes who waits for a socket that is closed | the same |
//!
//! With these std's sockets, parking_lot, crossbeam-channel, flume, `std::sync` (`Mutex`, `RwLock`, `Condvar`, `Barrier`, `Once`, `mpsc`) and `std::thread::{park, sleep, yield_now}` park
//! goroutines, also when plain threads use the same object.
//!
//! Rules that every hook keeps: off a goroutine it costs a load and a branch before the real thing; it never allocates or panics;
//! the last error is what the system's function would leave. Inside the runtime itself hooks pass through.
//!
//! `GORT_INTERPOSE=0` switches parking off at run time: everything passes through. `report` tells which hooks are live.

#![cfg(windows)]

mod address;
mod lookup;
mod net;
mod sleep;
mod switch;
mod timer;

use gort_rt::hook::{redirect, Function};

/// All families.
static FAMILIES: &[&[&Function]] = &[
    address::HOOKS,
    lookup::HOOKS,
    sleep::HOOKS,
    timer::HOOKS,
    net::accept::HOOKS,
    net::connect::HOOKS,
    net::life::HOOKS,
    net::mode::HOOKS,
    net::receive::HOOKS,
    net::select::HOOKS,
    net::send::HOOKS,
];

/// One function of the system's that a hook stands in for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hook {
    /// Its name.
    pub name: &'static str,
    /// Whether calls in this module go to the hook: it imports the function.
    pub live: bool,
}

/// Which hooks are live in this module, and whether parking is switched on.
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
        write!(f, "parking in the system's functions is {state};")?;
        for hook in &self.hooks {
            write!(f, " {}{}", hook.name, if hook.live { "" } else { " (not live)" })?;
        }
        Ok(())
    }
}

/// Finds out which hooks calls in this module go to.
///
/// ```
/// println!("{}", gort_redirect::report());
/// ```
pub fn report() -> Report {
    // SAFETY: a static may be read. So a linker that takes this function from a static library takes the initialiser too.
    unsafe { core::ptr::read_volatile(&raw const INSTALL) };
    let hooks = FAMILIES.iter().copied().flatten().map(|hook| {
        let name = hook.name().to_str().expect("names are ASCII");
        Hook { name, live: hook.is_redirected() }
    });
    Report { enabled: switch::enabled(), hooks: hooks.collect() }
}

/// Runs with the initialisers of the program, or of the library that has linked this crate. What cannot be redirected is the
/// system's, as [`report`] says.
extern "C" fn install() {
    for family in FAMILIES {
        let _ = redirect(family);
    }
}

#[used]
#[link_section = ".CRT$XCU"]
static INSTALL: extern "C" fn() = install;
