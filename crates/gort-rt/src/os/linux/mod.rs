//! Linux. Each file is one subject; [`syscall`] is the only one that enters the kernel.

mod activity;
mod clock;
pub(crate) mod code;
mod cpus;
pub(crate) mod epoll;
mod fence;
mod file;
mod futex;
mod key;
pub(crate) mod mem;
mod signal;
mod syscall;
mod thread;
mod word;

pub(crate) use activity::{activity, Activity};
pub(crate) use clock::{now, sleep_ns};
pub(crate) use cpus::available_cpus;
pub(crate) use epoll::poll;
pub(crate) use fence::{membarrier, membarrier_register};
pub(crate) use file::{read_file, write_all, write_stderr};
pub(crate) use futex::{futex_wait, futex_wake};
pub(crate) use key::{forget_exit_keys, ExitKey};
pub(crate) use signal::{on_signal_stack, refuse_signals, remember_mask, take_signals, Blocked};
pub(crate) use thread::{
    at_fork, create_thread, forget_rseq, getpid, gettid, leave_to_itself, sched_yield, spawn_thread, thread_count,
    thread_number, wants_real_thread, RealThreads, Thread,
};
pub(crate) use word::thread_word;
