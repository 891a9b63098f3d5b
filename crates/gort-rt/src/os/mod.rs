//! What the runtime asks of the operating system.
//!
//! Everything here goes to the kernel by a system call of our own, not by libc's function of that name: libc's are the
//! ones that gort's hooks replace, and a runtime that parked a goroutine by calling a hooked `futex` would call itself.
//! For the same reason nothing here touches `errno`, allocates (unless it says so) or uses thread-local storage, so it
//! may be called between two goroutines, under any thread pointer, and in a signal handler where the item says so.
//!
//! # Required items
//!
//! A platform supplies all of these. Errors are raw `errno` values.
//!
//! | Item | Contract | Signal-safe |
//! |---|---|---|
//! | [`now`] | nanoseconds of a clock that never goes back and stands still while the machine is suspended | yes |
//! | [`futex_wait`] | sleep while a word of this process holds a value, until woken or an absolute time | yes |
//! | [`futex_wake`] | wake sleepers on a word; says how many | yes |
//! | [`membarrier_register`] | once before [`membarrier`]; false when the platform has no such fence | no |
//! | [`membarrier`] | every thread of the process executes a full fence before this returns | yes |
//! | [`ExitKey`], [`forget_exit_keys`] | be told, on the thread itself, that a thread ends; not any more | no |
//! | [`spawn_thread`] | start a kernel thread, on which no signal handler runs; allocates | no |
//! | [`remember_mask`], [`take_signals`], [`refuse_signals`] | note which signals the starter of the runtime takes; let handlers run for the same ones on one of the runtime's threads, or for none | yes |
//! | [`create_thread`], [`RealThreads`], [`wants_real_thread`] | start kernel threads where hooks make goroutines of threads | no |
//! | [`available_cpus`] | how many processors this process may keep busy; allocates | no |
//! | [`forget_rseq`] | the kernel no longer writes to the calling thread's area for restartable sequences | yes |
//! | [`getpid`] | the kernel's number of this process | yes |
//! | [`gettid`] | the kernel's number of the calling thread | yes |
//! | [`sched_yield`] | let another kernel thread run | yes |
//! | [`sleep_ns`] | sleep at least so long, signals notwithstanding | yes |
//! | [`read_file`] | read a file from its start into a buffer | yes |
//! | [`write_stderr`] | write to descriptor 2, as far as it goes | yes |
//! | [`write_all`] | write to a descriptor, waiting where it is full | yes |
//! | [`activity`] | what a thread of this process does, if the kernel tells | yes |
//! | [`thread_count`] | how many kernel threads this process has | yes |
//! | [`mem::page_size`] | the unit of all lengths in `mem` | yes |
//! | [`mem::reserve`] | address space that costs memory only where it is touched; zero; never huge pages | yes |
//! | [`mem::unreserve`] | give address space back | yes |
//! | [`mem::release_pages`] | give memory back, keep the addresses; they read as zero | yes |
//! | [`mem::guard_install`] | make pages fault without splitting the mapping | yes |
//! | [`mem::is_readable`] | whether the first bytes of zeroed memory can be read | yes |
//! | [`mem::protect_none`] | make pages fault by taking their access rights away | yes |
//! | [`epoll::epoll_create`], [`epoll::epoll_register`], [`epoll::epoll_ensure`], [`epoll::epoll_remove`] | a set of descriptors that reports changes of their readiness, once each | yes |
//! | [`epoll::epoll_wait`], [`epoll::readiness`] | wait for such changes; what they mean | yes |
//! | [`epoll::interrupter`], [`epoll::interrupt`], [`epoll::calm`] | end such a wait | yes |
//! | [`poll`] | wait for one descriptor, blocking the kernel thread | yes |
//! | [`epoll::make_room`] | make opening many descriptors quick | yes |
//! | [`epoll::close`] | close a descriptor of our own | yes |
//! | [`mem::max_mappings`] | how many mappings the process may have, if there is a limit | yes |

mod linux;

use crate::chaos::{happens, Whim};
use core::sync::atomic::AtomicU32;

/// Sleeps while `word` holds `expected`, until [`futex_wake`] or until [`now`] reaches `deadline` (nanoseconds).
///
/// False says that the deadline has passed. True says any other thing: woken, the word had another value, a signal,
/// chaos, or nothing at all; the caller looks at the word and decides.
pub(crate) fn futex_wait(word: &AtomicU32, expected: u32, deadline: Option<u64>) -> bool {
    happens(Whim::Kernel, None) || linux::futex_wait(word, expected, deadline)
}

pub(crate) use linux::{
    activity, available_cpus, create_thread, epoll, forget_exit_keys, forget_rseq, futex_wake, getpid, gettid, mem,
    membarrier, membarrier_register, now, on_signal_stack, poll, read_file, refuse_signals, remember_mask, sched_yield,
    sleep_ns, spawn_thread, take_signals, thread_count, wants_real_thread, write_all, write_stderr, Activity, Blocked,
    ExitKey, RealThreads, Thread,
};
