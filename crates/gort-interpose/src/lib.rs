//! Definitions of libc functions that park goroutines.
//!
//! A program that links this crate (by naming `gort`) calls these in place of libc's, from std, from other crates and from
//! C libraries, without `LD_PRELOAD`: symbols of the executable come before those of `libc.so`.
//!
//! | Function | On a goroutine | Elsewhere |
//! |---|---|---|
//! | `syscall(SYS_futex, …)` with WAIT, WAIT_BITSET, private or on a static variable | parks | the system call |
//! | the same with WAKE, WAKE_BITSET, private | wakes goroutines, then the kernel's waiters; one count for both | the same |
//! | `syscall`, anything else | the system call | the system call |
//! | `nanosleep`, `clock_nanosleep`, `sleep`, `usleep`, `thrd_sleep` | parks | libc's function |
//! | `sched_yield` | lets other goroutines run | the system call |
//! | C's mutexes, condition variables, readers-writer locks, barriers, semaphores, spin locks, `once` | `pthread` says what | libc's function |
//! | `pthread_create`, `thrd_create` | a goroutine, if `GORT_THREADS=1` says so; else libc's function | the same |
//! | joining, detaching, `pthread_exit` | parks for a goroutine, hands off for a thread | waits for a goroutine, else libc's function |
//! | what else takes a `pthread_t`; `prctl` of names | answers for goroutines | the same |
//! | `poll`, `select`, `epoll_wait` and their kin | parks until a descriptor may be ready, then asks the kernel | libc's function |
//! | `read`, `write`, `recv`, `send`, `accept`, `connect`, `splice` and their kin | parks until the descriptor is ready; of a file hands off: see `rw`, `net` | libc's function |
//! | what makes, closes and duplicates descriptors, or changes their mode | tells the netpoller; opening and closing hand off: see `fd` | tells the netpoller |
//! | `waitpid` and its kin | parks for one child's end; else hands off | libc's function |
//! | `vfork` | `fork` | `fork` |
//! | names of hosts, users, groups, services | libc's function on the kernel thread's own stack, handed off; 64 at a time | libc's function |
//! | what waits for a disk, a file's lock, a message, a signal, a shell | hands off: see `fs`, `ipc`, `process` | libc's function |
//! | `dlopen` | libc's function, on the kernel thread's own stack and thread-local storage; then that of goroutines follows | libc's function, then the same |
//! | `dlclose` | libc's function, then thread-local storage of goroutines follows | the same |
//!
//! With these `std::sync` (`Mutex`, `RwLock`, `Condvar`, `Barrier`, `Once`, `mpsc`), `std::thread::{park, sleep}`,
//! parking_lot, crossbeam-channel and flume park goroutines, also when plain threads use the same object.
//!
//! Rules that every hook keeps: off a goroutine it costs a load and a branch before the real thing; it never allocates,
//! panics or uses lazily made thread-locals; errno is what libc's function would leave. Inside the runtime itself, and in
//! a forked child, hooks pass through.
//!
//! `GORT_INTERPOSE=0` switches parking off at run time: everything passes through. [`report`] tells which hooks are live.

mod arch;
mod attempts;
mod dl;
mod dns;
mod errno;
mod fd;
mod fs;
mod futex;
mod hand_off;
mod iov;
mod ipc;
mod kind;
mod net;
mod next;
mod process;
mod pthread;
mod ready;
mod retry;
mod run_path;
mod rw;
mod select;
mod sleep;
mod statics;
mod switch;
mod sys;
mod thread;
mod thread_info;

use core::ffi::CStr;

/// One definition of ours, as the tables of the families list them.
pub(crate) struct Ours {
    name: &'static CStr,
    at: *const (),
}

// SAFETY: a function's address may be known to anybody.
unsafe impl Sync for Ours {}

impl Ours {
    pub(crate) const fn new(name: &'static CStr, at: *const ()) -> Ours {
        Ours { name, at }
    }
}

/// All families.
static FAMILIES: &[&[Ours]] = &[
    sys::HOOKS,
    sleep::HOOKS,
    dl::HOOKS,
    dns::HOSTS,
    dns::ACCOUNTS,
    fs::HOOKS,
    fs::COPY,
    ipc::HOOKS,
    ipc::QUEUES,
    process::HOOKS,
    process::WAITS,
    ready::HOOKS,
    select::HOOKS,
    pthread::mutex::HOOKS,
    pthread::cond::HOOKS,
    pthread::rwlock::HOOKS,
    pthread::barrier::HOOKS,
    pthread::sem::HOOKS,
    pthread::spin::HOOKS,
    pthread::once::HOOKS,
    pthread::c11::HOOKS,
    thread::HOOKS,
    thread_info::HOOKS,
    fd::HOOKS,
    fd::OTHERS,
    fd::open::HOOKS,
    fd::open::VARIADIC,
    fd::close::HOOKS,
    fd::mode::HOOKS,
    net::receive::HOOKS,
    net::send::HOOKS,
    net::batch::HOOKS,
    net::accept::HOOKS,
    net::connect::HOOKS,
    net::options::HOOKS,
    rw::HOOKS,
    rw::offsets::HOOKS,
    rw::offsets::WITH_FLAGS,
    rw::transfer::HOOKS,
];

/// One libc name that this crate defines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hook {
    /// The C name.
    pub name: &'static str,
    /// Whether calls in this process go to the hook: it is the definition that the dynamic linker finds first, or the only one
    /// that there is. What glibc brought after the release that a program was linked with is not live in it: its own calls go to
    /// the hook, those of libraries do not.
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
    let hooks = FAMILIES.iter().copied().flatten().map(|hook| {
        // SAFETY: looking a name up has no preconditions.
        let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, hook.name.as_ptr()) };
        let name = hook.name.to_str().expect("names are ASCII");
        // A name that no library has, the linker has given to us, and nobody else can find.
        Hook { name, live: found.is_null() || core::ptr::eq(found.cast(), hook.at) }
    });
    Report { enabled: switch::enabled(), hooks: hooks.collect() }
}
