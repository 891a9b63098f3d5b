//! Windows. Each file is one subject.
//!
//! Errors are what `GetLastError` says. Functions that other code may call between any two instructions of its own leave that
//! value alone ([`error::kept`]): to the code of a goroutine it is what `errno` is on other systems.

mod activity;
pub(crate) mod afd;
mod clock;
pub(crate) mod code;
mod cpus;
mod error;
mod fence;
mod file;
mod futex;
pub(crate) mod imports;
mod key;
pub(crate) mod mem;
mod real;
mod signal;
mod slot;
mod thread;
mod word;

pub(crate) use activity::{activity, Activity};
pub(crate) use clock::{now, sleep_ns};
pub(crate) use cpus::available_cpus;
pub(crate) use fence::{membarrier, membarrier_register};
pub(crate) use file::{write_all, write_stderr};
pub(crate) use futex::{futex_wait, futex_wake};
pub(crate) use key::{forget_exit_keys, is_for_kernel_threads, ExitKey};
pub(crate) use signal::{on_signal_stack, refuse_signals, remember_mask, take_signals, Blocked};
pub(crate) use slot::{Place, Slot};
pub(crate) use thread::{
    at_fork, getpid, gettid, leave_to_itself, sched_yield, spawn_thread, thread_count, thread_number, RealThreads,
    Thread,
};
pub(crate) use word::{forget_thread_words, thread_word, ThreadWord};
