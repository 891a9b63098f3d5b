//! What the runtime asks of the operating system.
//!
//! Everything here goes to the kernel by a system call of our own, not by libc's function of that name: libc's are the
//! ones that gort's hooks replace, and a runtime that parked a goroutine by calling a hooked `futex` would call itself.
//! For the same reason nothing here touches `errno`, allocates (unless it says so) or uses thread-local storage, so it
//! may be called between two goroutines, under any thread pointer, and in a signal handler where the item says so.
//!
//! # Required items
//!
//! A platform supplies all of these; those marked with a star only where there are hooks, which so far is Linux. Errors are
//! numbers as `std::io::Error::from_raw_os_error` takes them: `errno` values, or `GetLastError`'s.
//!
//! | Item | Contract | Signal-safe |
//! |---|---|---|
//! | [`code`] | the numbers of errors that the runtime itself gives; those that mean that something is used up | yes |
//! | [`thread_word`] | declare a word for each thread, and each goroutine, with an initial value | yes |
//! | [`now`] | nanoseconds of a clock that never goes back (on Linux it stands still while the machine is suspended) | yes |
//! | [`futex_wait`] | sleep while a word of this process holds a value, until woken or an absolute time | yes |
//! | [`futex_wake`] | wake sleepers on a word | yes |
//! | [`membarrier_register`] | once before [`membarrier`]; false when the platform has no such fence | no |
//! | [`membarrier`] | every thread of the process executes a full fence before this returns | yes |
//! | [`ExitKey`], [`forget_exit_keys`] | be told, on the thread itself, that a thread ends; not any more | no |
//! | [`spawn_thread`] | start a kernel thread, on which no signal handler runs; allocates | no |
//! | [`remember_mask`], [`take_signals`], [`refuse_signals`] | note which signals the starter of the runtime takes; let handlers run for the same ones on one of the runtime's threads, or for none | yes |
//! | [`leave_to_itself`] | let a thread of std's see to its own end | no |
//! | [`RealThreads`]; [`create_thread`]*, [`wants_real_thread`]* | start kernel threads where hooks make goroutines of threads | no |
//! | [`available_cpus`] | how many processors this process may keep busy; allocates | no |
//! | [`at_fork`] | be told of forks, in the child | no |
//! | [`thread_number`] | what others name the calling thread by | yes |
//! | [`forget_rseq`]* | the kernel no longer writes to the calling thread's area for restartable sequences | yes |
//! | [`getpid`] | the kernel's number of this process | yes |
//! | [`gettid`] | the kernel's number of the calling thread | yes |
//! | [`sched_yield`] | let another kernel thread run | yes |
//! | [`sleep_ns`] | sleep at least so long, signals notwithstanding | yes |
//! | [`read_file`]* | read a file from its start into a buffer | yes |
//! | [`write_stderr`] | write to the standard error, as far as it goes | yes |
//! | [`write_all`] | write to a descriptor, waiting where it is full | yes |
//! | [`activity`] | what a thread of this process does, if the kernel tells | yes |
//! | [`thread_count`] | how many kernel threads this process has | yes |
//! | [`mem::page_size`] | the unit of all lengths in `mem` | yes |
//! | [`mem::reserve`] | address space that costs memory only where it is touched; zero; never huge pages | yes |
//! | [`mem::unreserve`] | give address space back | yes |
//! | [`mem::release_pages`]* | give memory back, keep the addresses; they read as zero | yes |
//! | [`mem::reserve_stacks`] | address space for stacks, of which nothing need be there yet | yes |
//! | [`mem::commit_stack`] | the memory of a stack, which reads as zero: all of it, or what is there grows as frames touch it | yes |
//! | [`mem::empty_stack`], [`mem::trim_stack`] | give the memory of a stack back, which needs [`mem::commit_stack`] then; give some of a stack's depth back, if that can be | yes |
//! | [`mem::guard_install`] | make pages fault without splitting the mapping | yes |
//! | [`mem::is_readable`] | whether the first bytes of zeroed memory can be read | yes |
//! | [`mem::protect_none`] | make pages fault by taking their access rights away | yes |
//! | [`epoll::epoll_create`], [`epoll::epoll_register`], [`epoll::epoll_ensure`], [`epoll::epoll_remove`]* | a set of descriptors that reports changes of their readiness, once each | yes |
//! | [`epoll::epoll_wait`], [`epoll::readiness`]* | wait for such changes; what they mean | yes |
//! | [`epoll::interrupter`], [`epoll::interrupt`], [`epoll::calm`]* | end such a wait | yes |
//! | [`poll`]* | wait for one descriptor, blocking the kernel thread | yes |
//! | [`epoll::make_room`]* | make opening many descriptors quick | yes |
//! | [`epoll::close`]* | close a descriptor of our own | yes |
//! | [`mem::max_mappings`] | how many mappings the process may have, if there is a limit | yes |

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
use linux as system;
#[cfg(windows)]
mod windows;
#[cfg(windows)]
use windows as system;

use crate::chaos::{happens, Whim};
use core::sync::atomic::AtomicU32;

/// Sleeps while `word` holds `expected`, until [`futex_wake`] or until [`now`] reaches `deadline` (nanoseconds).
///
/// False says that the deadline has passed. True says any other thing: woken, the word had another value, a signal,
/// chaos, or nothing at all; the caller looks at the word and decides.
pub(crate) fn futex_wait(word: &AtomicU32, expected: u32, deadline: Option<u64>) -> bool {
    happens(Whim::Kernel, None) || system::futex_wait(word, expected, deadline)
}

pub(crate) use system::{
    activity, at_fork, available_cpus, code, forget_exit_keys, futex_wake, getpid, gettid, leave_to_itself, mem,
    membarrier, membarrier_register, now, on_signal_stack, refuse_signals, remember_mask, sched_yield, sleep_ns,
    spawn_thread, take_signals, thread_count, thread_number, thread_word, write_all, write_stderr, Activity, Blocked,
    ExitKey, RealThreads, Thread,
};

#[cfg(target_os = "linux")]
pub(crate) use linux::{create_thread, epoll, forget_rseq, poll, read_file, wants_real_thread};

#[cfg(windows)]
pub(crate) use windows::{afd, forget_thread_words, imports, is_for_kernel_threads, Place, Slot, ThreadWord};
