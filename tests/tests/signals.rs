//! What the host has set up about signals stays as it is: handlers, masks, signal stacks.

use gort::{ffi, thread, Config};
use gort_tests::cthreads::{eventually, through_c, tid, CThread};
use gort_tests::host_state::{set_up_everything, HostState};
use gort_tests::needs_goroutines;
use gort_tests::signals::{bit, block, blocked, blocked_by, count, handle, handled, threads};
use gort_tests::subprocess::{alone, role, Rerun};
use libc::{SIGBUS, SIGIO, SIGSEGV, SIGTERM, SIGUSR1, SIGUSR2};
use std::collections::HashMap;
use std::ffi::{c_int, c_void};
use std::os::unix::process::ExitStatusExt;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::Mutex;
use std::time::Duration;

/// glibc's handler for changes of credentials, which the runtime wraps while it runs.
const CREDENTIALS: c_int = 33;

extern "C" fn nothing(_: c_int) {}

#[track_caller]
fn compare(before: &HostState, but: &[c_int]) {
    let found = before.clone().without(but).differences(&HostState::now().without(but));
    assert!(found.is_empty(), "{found:#?}");
}

/// Row. A host in which a library uses the runtime alone keeps every handler, with its flags, and its mask and signal
/// stack: while the library is used, after its end, and after another start.
#[test]
fn a_library_changes_nothing_of_the_hosts() {
    let outcome = Rerun::scenario(env!("CARGO_BIN_EXE_library_host"), "").inherit_all().run();
    outcome.success();
    assert!(outcome.stdout.contains("all as before"), "{}", outcome.stdout);
}

/// An application has the report of stack overflows unless it says otherwise, and no other handler.
#[test]
fn an_application_has_one_handler_and_may_have_none() {
    needs_goroutines!("the report is std's");
    const NAME: &str = "an_application_has_one_handler_and_may_have_none";
    let Some(role) = role() else {
        for role in ["on", "off"] {
            Rerun::of(NAME, role).run().success();
        }
        return;
    };
    set_up_everything(nothing);
    let before = HostState::now();
    let on = role == "on";
    if on {
        thread::spawn(|| ()).join().unwrap();
        assert!(!before.clone().without(&[CREDENTIALS]).differences(&HostState::now()).is_empty(), "a handler");
    } else {
        Config::new().overflow_report(false).start().unwrap();
    }
    // Of the two that the report has, flags and mask are its own.
    let all = HostState::now().differences(&before).len();
    assert_eq!(all, if on { 3 } else { 1 }, "{:#?}", HostState::now().differences(&before));
    thread::spawn(|| ffi::callback(|| ())).join().unwrap();
    gort::shutdown(Duration::from_secs(30)).unwrap();
    compare(&before, &[]);
}

/// Row A-01. A handler that the host installs after the start is the one that is called, and stays after the end.
#[test]
fn a_handler_installed_after_the_start_stays() {
    alone("a_handler_installed_after_the_start_stays", || {
        extern "C" fn fault(_: c_int) {
            // SAFETY: may be called in a handler.
            unsafe { libc::_exit(0) };
        }
        thread::spawn(|| ()).join().unwrap();
        [SIGSEGV, SIGBUS].iter().for_each(|&signal| handle(signal, libc::SA_ONSTACK, nothing));
        let before = HostState::now();
        thread::spawn(|| ()).join().unwrap();
        gort::shutdown(Duration::from_secs(30)).unwrap();
        compare(&before, &[CREDENTIALS]);
        Config::new().start().unwrap();
        thread::spawn(|| ()).join().unwrap();
        gort::shutdown(Duration::from_secs(30)).unwrap();
        compare(&before, &[CREDENTIALS]);
        handle(SIGSEGV, libc::SA_ONSTACK, fault);
        Config::new().start().unwrap();
    });
}

/// Row. A fault that is no overflow goes to the handler that the host had before the start, with the host's flags.
#[test]
fn the_report_passes_faults_on_to_the_hosts_handler() {
    const NAME: &str = "the_report_passes_faults_on_to_the_hosts_handler";
    extern "C" fn fault(signal: c_int) {
        // SAFETY: may be called in a handler.
        unsafe { libc::_exit(40 + signal) };
    }
    extern "C" fn told_where(signal: c_int, info: *mut libc::siginfo_t, _: *mut c_void) {
        // SAFETY: the kernel's record, which a handler with SA_SIGINFO gets, and which must have come with the fault.
        let right = unsafe { (*info).si_signo == signal && (*info).si_addr().is_null() };
        // SAFETY: as above.
        unsafe { libc::_exit(if right { 40 + signal } else { 1 }) };
    }
    let Some(role) = role() else {
        for role in ["goroutine", "thread", "callback", "info"] {
            let outcome = Rerun::of(NAME, role).run();
            assert_eq!(outcome.status.code(), Some(40 + SIGSEGV), "{role}: {outcome:?}");
        }
        return;
    };
    if role == "info" {
        // SAFETY: zero is a valid action, and the handler is of the type that the flags say.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = told_where as *const () as usize;
            action.sa_flags = libc::SA_ONSTACK | libc::SA_SIGINFO;
            assert_eq!(libc::sigaction(SIGSEGV, &raw const action, std::ptr::null_mut()), 0);
        }
    } else {
        handle(SIGSEGV, libc::SA_ONSTACK, fault);
    }
    thread::spawn(|| ()).join().unwrap();
    // SAFETY: none; the handler ends the process.
    let write_null = || unsafe { std::hint::black_box(std::ptr::null_mut::<u8>()).write_volatile(1) };
    match role.as_str() {
        "goroutine" | "info" => thread::spawn(write_null).join().unwrap(),
        "thread" => std::thread::spawn(write_null).join().unwrap(),
        _ => CThread::spawn(move || ffi::callback(|| through_c(write_null))).join(),
    }
}

/// Row, U-03. What kills a process by default kills it where a goroutine or a callback does it.
#[test]
fn signals_that_kill_kill() {
    const NAME: &str = "signals_that_kill_kill";
    let Some(role) = role() else {
        for place in ["goroutine", "callback"] {
            for signal in [SIGSEGV, libc::SIGPIPE, SIGTERM] {
                let outcome = Rerun::of(NAME, &format!("{place} {signal}")).run();
                assert_eq!(outcome.status.signal(), Some(signal), "{place}: {outcome:?}");
            }
        }
        return;
    };
    let (place, signal) = role.split_once(' ').unwrap();
    let signal: c_int = signal.parse().unwrap();
    // std ignores this one in Rust programs; a host of C's does not.
    // SAFETY: the default action is no handler.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    let die = move || {
        // SAFETY: the process is meant to die: of a store, of a write that nobody can read, of a signal to the thread.
        unsafe {
            match signal {
                SIGSEGV => std::hint::black_box(std::ptr::null_mut::<u8>()).write_volatile(1),
                libc::SIGPIPE => {
                    let mut ends = [0; 2];
                    assert_eq!(libc::pipe(ends.as_mut_ptr()), 0);
                    libc::close(ends[0]);
                    libc::write(ends[1], b"x".as_ptr().cast(), 1);
                }
                _ => drop(libc::raise(signal)),
            }
        }
    };
    match place {
        "goroutine" => thread::spawn(die).join().unwrap(),
        _ => CThread::spawn(move || ffi::callback(die)).join(),
    }
}

/// Makes the runtime have at least `n` kernel threads for goroutines, and returns the masks that they have, by their numbers.
fn masks_of_ms(n: usize) -> HashMap<i32, u64> {
    let (masks, arrived) = (Mutex::new(HashMap::new()), AtomicUsize::new(0));
    thread::scope(|s| {
        for _ in 0..n {
            s.spawn(|| {
                masks.lock().unwrap().insert(tid(), blocked());
                // Each of them holds its kernel thread until all have one.
                ffi::blocking(|| {
                    arrived.fetch_add(1, SeqCst);
                    while arrived.load(SeqCst) < n {
                        gort_tests::raw::block_for(Duration::from_micros(200));
                    }
                });
            });
        }
    });
    masks.into_inner().unwrap()
}

/// What the host has blocked when the runtime starts none of its threads ever takes.
#[test]
fn what_the_host_has_blocked_stays_blocked() {
    needs_goroutines!("a thread has the mask of whoever makes it");
    alone("what_the_host_has_blocked_stays_blocked", || {
        let mask = bit(SIGTERM) | bit(SIGIO) | bit(libc::SIGCHLD);
        let before = block(mask);
        Config::new().procs(2).start().unwrap();
        let masks = masks_of_ms(8);
        block(before);
        assert!(masks.len() >= 8 && masks.values().all(|&m| m == mask), "{masks:x?}");
    });
    // And a program whose every thread blocks a signal finds it pending.
    Rerun::scenario(env!("CARGO_BIN_EXE_scenario"), "blocked_signal").inherit_all().run().success();
}

/// Who makes the runtime's threads does not matter: neither a goroutine's mask, on its kernel thread, nor a C thread's spreads.
#[test]
fn masks_do_not_spread() {
    needs_goroutines!("a thread has the mask of whoever makes it");
    alone("masks_do_not_spread", || {
        let mine = blocked();
        let some = bit(SIGUSR1) | bit(SIGUSR2);
        Config::new().procs(1).start().unwrap();
        let from_goroutine = thread::spawn(move || {
            ffi::lock_os_thread();
            let (before, own) = (block(some), tid());
            // This goroutine keeps the only kernel thread that there is, and waits: so its thread makes another.
            let child = thread::spawn(|| (blocked(), tid())).join().unwrap();
            assert_eq!((block(before), tid()), (some, own), "the locked goroutine's own kernel thread");
            assert_ne!(child.1, own);
            child.0
        });
        assert_eq!(from_goroutine.join().unwrap(), mine);
        gort::shutdown(Duration::from_secs(30)).unwrap();
        Config::new().procs(2).start().unwrap();
        let from_c = CThread::spawn(move || {
            let before = block(some);
            let masks = ffi::callback(|| masks_of_ms(4));
            assert_eq!(block(before), some, "the C thread's own");
            masks
        });
        let masks = from_c.join();
        assert!(masks.len() >= 4 && masks.values().all(|&mask| mask == mine), "{masks:x?}");
    });
}

/// sysmon runs nobody's code but the runtime's: no handler of the host's runs there. Signals of faults and those of glibc's own
/// it takes.
#[test]
fn no_handler_runs_on_sysmon() {
    needs_goroutines!("there is no sysmon");
    alone("no_handler_runs_on_sysmon", || {
        thread::spawn(|| ()).join().unwrap();
        let [sysmon] = threads(|_, name| name == "gort-sysmon")[..] else { panic!("one sysmon") };
        let faults = [SIGSEGV, SIGBUS, libc::SIGFPE, libc::SIGILL, libc::SIGTRAP, libc::SIGSYS, 32, 33];
        // The kernel never lets these two be blocked.
        let open = faults.into_iter().chain([libc::SIGKILL, libc::SIGSTOP]).fold(0, |set, signal| set | bit(signal));
        // All of them are blocked while it begins, and while it makes a thread, which is to take none before it is ready.
        eventually("sysmon's own mask", || blocked_by(sysmon) == Some(!open));
    });
}

/// Row A-08. A thread with a signal stack of its own has it in a callback and afterwards, and handlers run on it.
#[test]
fn a_threads_signal_stack_is_its_own() {
    static RAN_AT: AtomicUsize = AtomicUsize::new(0);
    extern "C" fn handler(_: c_int) {
        let here = 0u8;
        handled(|| RAN_AT.store(&raw const here as usize, SeqCst));
    }
    alone("a_threads_signal_stack_is_its_own", || {
        handle(SIGUSR1, libc::SA_ONSTACK, handler);
        let thread = CThread::spawn(|| {
            const SIZE: usize = 64 << 10;
            let mut memory = vec![0u8; SIZE];
            let stack = libc::stack_t { ss_sp: memory.as_mut_ptr().cast(), ss_flags: 0, ss_size: SIZE };
            let mut old = libc::stack_t { ss_sp: std::ptr::null_mut(), ss_flags: 0, ss_size: 0 };
            let range = memory.as_ptr_range();
            let ran_there = || (range.start as usize..range.end as usize).contains(&RAN_AT.load(SeqCst));
            // SAFETY: the memory outlives its use as a signal stack, which ends below; the signals have a handler.
            unsafe {
                assert_eq!(libc::sigaltstack(&raw const stack, &raw mut old), 0);
                let with = HostState::now();
                ffi::callback(|| {
                    libc::raise(SIGUSR1);
                    assert!(ran_there());
                    thread::spawn(|| ()).join().unwrap();
                    compare(&with, &[SIGSEGV, SIGBUS, CREDENTIALS]);
                });
                RAN_AT.store(0, SeqCst);
                libc::raise(SIGUSR1);
                assert!(ran_there());
                assert_eq!(libc::sigaltstack(&raw const old, std::ptr::null_mut()), 0);
            }
        });
        thread.join();
        assert_eq!(count(), 2);
    });
}
