//! `gort::dump` while goroutines come and go: from signal handlers, on little stack, past threads that stand still.

use gort::thread;
use gort_tests::dumps::{check, dumped};
use gort_tests::kinds::with_one_p_and_two;
use gort_tests::measure::eventually;
use gort_tests::needs_goroutines;
use gort_tests::raw::system_call;
use gort_tests::storms;
use gort_tests::subprocess::alone;
use std::alloc::{GlobalAlloc, Layout, System};
use std::fs::File;
use std::os::fd::{AsRawFd, IntoRawFd};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

/// While it is set nobody may allocate.
static FORBIDDEN: AtomicBool = AtomicBool::new(false);

struct Watched;

// SAFETY: the system's allocator, or the end of the process.
unsafe impl GlobalAlloc for Watched {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if FORBIDDEN.load(SeqCst) {
            std::process::abort();
        }
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        if FORBIDDEN.load(SeqCst) {
            std::process::abort();
        }
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(at, layout) };
    }
}

#[global_allocator]
static ALLOCATOR: Watched = Watched;

fn handle(signal: i32, handler: extern "C" fn(i32)) {
    // SAFETY: the handlers of these tests make calls that are safe in handlers.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as *const () as usize;
        action.sa_flags = libc::SA_ONSTACK | libc::SA_RESTART;
        assert_eq!(libc::sigaction(signal, &action, std::ptr::null_mut()), 0);
    }
}

/// The kernel threads of this process, but for the calling one.
fn others() -> Vec<i32> {
    // SAFETY: no preconditions.
    let own = unsafe { libc::gettid() };
    let tasks = std::fs::read_dir("/proc/self/task").expect("/proc is mounted");
    tasks.filter_map(|task| task.ok()?.file_name().to_str()?.parse().ok()).filter(|&tid| tid != own).collect()
}

fn send(tid: i32, signal: i32) -> bool {
    // SAFETY: no memory is involved, and there is a handler.
    unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), tid, signal) == 0 }
}

static SINK: AtomicI32 = AtomicI32::new(-1);
static DUMPS: AtomicUsize = AtomicUsize::new(0);

extern "C" fn dumps(_: i32) {
    // SAFETY: errno's address is the thread's own.
    unsafe {
        let errno = *libc::__errno_location();
        *libc::__errno_location() = 77;
        // There may be more threads than dumps can be made at a time.
        let refused = |e: std::io::Error| e.raw_os_error() == Some(libc::EBUSY);
        if !gort::dump(SINK.load(SeqCst)).map_or_else(refused, |()| true) || *libc::__errno_location() != 77 {
            libc::abort();
        }
        *libc::__errno_location() = errno;
    }
    DUMPS.fetch_add(1, SeqCst);
}

#[test]
fn signal_handlers_dump_wherever_they_strike() {
    needs_goroutines!("of hundreds of threads more would make a dump at a time than can");
    if !with_one_p_and_two("signal_handlers_dump_wherever_they_strike") {
        return;
    }
    let sink = File::options().write(true).open("/dev/null").unwrap();
    SINK.store(sink.into_raw_fd(), SeqCst); // for ever: a signal may come late
    handle(libc::SIGUSR1, dumps);
    storms::begin("spawns");
    storms::begin("timers");
    while DUMPS.load(SeqCst) < 300 {
        let _ = others().iter().filter(|&&tid| send(tid, libc::SIGUSR1)).count();
        check(&dumped());
    }
    storms::goes_on();
}

static FROZEN: AtomicUsize = AtomicUsize::new(0);
static FREEZE: AtomicBool = AtomicBool::new(false);

extern "C" fn freezes(_: i32) {
    FROZEN.fetch_add(1, SeqCst);
    while FREEZE.load(SeqCst) {
        // SAFETY: takes nothing; past every hook.
        unsafe { system_call(libc::SYS_sched_yield, [0; 3]) };
    }
    FROZEN.fetch_sub(1, SeqCst);
}

#[test]
fn threads_that_stand_still_anywhere_do_not_hold_a_dump_up() {
    needs_goroutines!("hundreds of threads that begin and end cannot all be stopped");
    if !with_one_p_and_two("threads_that_stand_still_anywhere_do_not_hold_a_dump_up") {
        return;
    }
    handle(libc::SIGUSR2, freezes);
    storms::begin("spawns");
    storms::begin("timers");
    let file = File::options().write(true).open("/dev/null").unwrap();
    for _ in 0..100 {
        FREEZE.store(true, SeqCst);
        let sent = others().iter().filter(|&&tid| send(tid, libc::SIGUSR2)).count();
        // A thread may have ended before its signal reached it.
        for _ in 0..1000 {
            if FROZEN.load(SeqCst) >= sent {
                break;
            }
            std::thread::yield_now();
        }
        // With all of them in the middle of something: locks of the runtime's, malloc's, the loader's.
        FORBIDDEN.store(FROZEN.load(SeqCst) >= sent, SeqCst);
        let done = gort::dump(file.as_raw_fd());
        FORBIDDEN.store(false, SeqCst);
        FREEZE.store(false, SeqCst);
        done.unwrap();
        while FROZEN.load(SeqCst) > 0 {
            std::thread::yield_now();
        }
    }
    storms::goes_on();
}

#[test]
fn the_smallest_signal_stack_is_enough() {
    alone("the_smallest_signal_stack_is_enough", || {
        let sink = File::options().write(true).open("/dev/null").unwrap();
        SINK.store(sink.into_raw_fd(), SeqCst);
        handle(libc::SIGUSR1, dumps);
        thread::Builder::new().name("there".into()).spawn(|| ()).unwrap().join().unwrap();
        const PAGE: usize = 4096;
        // SAFETY: a mapping of our own, whose lower page faults; the table of the process.
        unsafe {
            let frame = libc::getauxval(libc::AT_MINSIGSTKSZ) as usize;
            // Not a byte more: it ends in the middle of a page.
            let size = frame.max(libc::MINSIGSTKSZ) + 2048;
            let rights = libc::PROT_READ | libc::PROT_WRITE;
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            let start = libc::mmap(std::ptr::null_mut(), PAGE + size, rights, flags, -1, 0);
            assert_ne!(start, libc::MAP_FAILED);
            assert_eq!(libc::mprotect(start, PAGE, libc::PROT_NONE), 0);
            let stack = libc::stack_t { ss_sp: start.add(PAGE), ss_flags: 0, ss_size: size };
            assert_eq!(libc::sigaltstack(&stack, std::ptr::null_mut()), 0);
            let before = DUMPS.load(SeqCst);
            libc::raise(libc::SIGUSR1);
            assert_eq!(DUMPS.load(SeqCst), before + 1);
        }
    });
}

#[test]
fn ten_thousand_goroutines_are_all_there() {
    alone("ten_thousand_goroutines_are_all_there", || {
        let n = if gort_tests::backend::goroutines_are_threads() { 100 } else { 10_000 };
        let all: Vec<_> = (0..n).map(|_| thread::spawn(thread::park)).collect();
        assert!(
            eventually(Duration::from_secs(60), || {
                let dump = dumped();
                check(&dump);
                dump.lines().filter(|line| line.starts_with("goroutine ")).count() == n
            }),
            "{}",
            dumped()
        );
        all.iter().for_each(|g| g.thread().unpark());
        all.into_iter().for_each(|g| g.join().unwrap());
        check(&dumped());
        assert!(!dumped().contains("goroutine 1"));
    });
}
