//! What once went wrong at the end of a goroutine, in a scope, and in a forked child.

use gort::thread::{self, Builder};
use gort_tests::kinds::{with_one_p_and_two, with_one_p_and_two_without_chaos};
use gort_tests::measure::eventually;
use gort_tests::needs_goroutines;
use gort_tests::raw::{futex_wait, futex_wake};
use std::cell::{Cell, RefCell};
use std::os::unix::process::CommandExt;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::SeqCst};
use std::sync::{mpsc, Arc, Mutex};
use std::time::Duration;

const LONG: Duration = Duration::from_secs(30);

static MADE: AtomicUsize = AtomicUsize::new(0);
static DROPPED: AtomicUsize = AtomicUsize::new(0);

/// Something on the heap that is counted.
struct Counted(Box<usize>);

impl Counted {
    fn new() -> Counted {
        Counted(Box::new(MADE.fetch_add(1, SeqCst)))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        assert!(*self.0 < MADE.load(SeqCst), "not what was put there");
        *self.0 = usize::MAX;
        DROPPED.fetch_add(1, SeqCst);
    }
}

thread_local! {
    static KEPT: RefCell<Vec<Counted>> = const { RefCell::new(Vec::new()) };
}

fn keep() {
    KEPT.with(|kept| {
        assert!(kept.borrow().is_empty(), "what another goroutine left");
        kept.borrow_mut().push(Counted::new());
    });
}

/// A result whose drop is the first to use a thread-local variable.
struct Late;

impl Drop for Late {
    fn drop(&mut self) {
        keep();
    }
}

/// Has its owner's joiner go away, when it is dropped.
struct Gate(mpsc::Sender<()>, mpsc::Receiver<()>);

impl Drop for Gate {
    fn drop(&mut self) {
        self.0.send(()).unwrap();
        self.1.recv().unwrap_err();
    }
}

thread_local! {
    static GATE: RefCell<Option<Gate>> = const { RefCell::new(None) };
}

#[test]
fn thread_locals_that_a_result_uses_when_it_is_dropped_are_destroyed_once() {
    if !with_one_p_and_two("thread_locals_that_a_result_uses_when_it_is_dropped_are_destroyed_once") {
        return;
    }
    let count = |n| {
        let what = || (MADE.load(SeqCst), DROPPED.load(SeqCst), gort::stats().goroutines);
        assert!(eventually(LONG, || what() == (n, n, 0)), "{:?} are not {n} of each, and no goroutine", what());
    };
    for round in 0..20 {
        let before = 4 * round;
        // Nobody waits for the result when the closure returns.
        let (detach, detached) = mpsc::channel::<()>();
        drop(thread::spawn(move || {
            detached.recv().unwrap_err();
            Late
        }));
        drop(detach);
        count(before + 1);
        thread::spawn(keep).join().unwrap();
        count(before + 2);
        // The handle goes while the thread-local destructors run: nobody but the goroutine's very end can drop the result.
        let (to_us, from_gate) = mpsc::channel();
        let (detach, detached) = mpsc::channel::<()>();
        let g = thread::spawn(move || {
            GATE.with(|gate| *gate.borrow_mut() = Some(Gate(to_us, detached)));
            Late
        });
        from_gate.recv().unwrap();
        drop(g);
        drop(detach);
        count(before + 3);
        thread::spawn(keep).join().unwrap();
        count(before + 4);
    }
}

#[test]
fn a_result_that_nobody_wants_is_dropped_while_thread_locals_work() {
    if !with_one_p_and_two("a_result_that_nobody_wants_is_dropped_while_thread_locals_work") {
        return;
    }
    struct Number(Cell<u32>);
    impl Drop for Number {
        fn drop(&mut self) {}
    }
    thread_local! {
        static NUMBER: Number = const { Number(Cell::new(0)) };
    }
    type Seen = (Option<u32>, Option<String>);
    struct Result(mpsc::Sender<Seen>);
    impl Drop for Result {
        fn drop(&mut self) {
            let number = NUMBER.try_with(|number| number.0.get()).ok();
            self.0.send((number, thread::current().name().map(str::to_owned))).unwrap();
        }
    }
    // The same of std's threads and of goroutines, returning and panicking.
    let want = (Some(7), Some("worker".to_owned()));
    let body = |result: Result, detached: mpsc::Receiver<()>, panic: bool| {
        move || {
            detached.recv().unwrap_err();
            NUMBER.with(|number| number.0.set(7));
            if panic {
                std::panic::resume_unwind(Box::new(result));
            }
            result
        }
    };
    for panic in [false, true] {
        let (to, seen) = mpsc::channel();
        let (detach, detached) = mpsc::channel();
        let f = body(Result(to), detached, panic);
        drop(Builder::new().name("worker".into()).spawn(f).unwrap());
        drop(detach);
        assert_eq!(seen.recv().unwrap(), want, "on a goroutine");

        let (to, seen) = mpsc::channel();
        let (detach, detached) = mpsc::channel();
        let f = body(Result(to), detached, panic);
        drop(std::thread::Builder::new().name("worker".into()).spawn(f).unwrap());
        drop(detach);
        assert_eq!(seen.recv().unwrap().0, want.0, "on a thread");
    }
}

#[test]
fn a_scope_ends_when_a_spawn_in_it_panics() {
    if !with_one_p_and_two("a_scope_ends_when_a_spawn_in_it_panics") {
        return;
    }
    struct Angry;
    impl Drop for Angry {
        fn drop(&mut self) {
            panic!("dropped");
        }
    }
    let ran = AtomicUsize::new(0);
    let scope = |spawn: fn(Builder)| {
        let result = catch_unwind(AssertUnwindSafe(|| {
            thread::scope(|s| {
                s.spawn(|| ran.fetch_add(1, SeqCst));
                spawn(Builder::new());
            })
        }));
        assert!(result.is_err());
    };
    let spawn_named: fn(Builder) = |b| thread::scope(|s| drop(b.name("a\0b".into()).spawn_scoped(s, || ())));
    let spawn_angry: fn(Builder) = |b| {
        thread::scope(|s| {
            let angry = Angry;
            drop(b.stack_size(usize::MAX / 2).spawn_scoped(s, move || drop(angry)));
        })
    };
    scope(spawn_named);
    scope(spawn_angry);
    thread::spawn(move || (spawn_named, spawn_angry)).join().unwrap();
    assert_eq!(ran.load(SeqCst), 2);
    assert!(eventually(LONG, || gort::stats().goroutines == 0), "{:?}", gort::stats());
}

/// Seconds after which a forked child that hangs is ended by SIGALRM, so that it does not hold our output open for ever.
const ALARM: u32 = 20;

/// Forks; the child ends with what `child` returns.
fn fork(child: impl FnOnce() -> i32) -> libc::pid_t {
    // SAFETY: the children do what a child of a process with threads may: futex calls, and std's threads, which need only
    // malloc (glibc makes it work again in the child).
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        // SAFETY: no preconditions.
        unsafe { libc::alarm(ALARM) };
        let code = catch_unwind(AssertUnwindSafe(child)).unwrap_or(99);
        // SAFETY: ends the child without running the test harness in it.
        unsafe { libc::_exit(code) };
    }
    assert!(pid > 0);
    pid
}

fn exit_code(pid: libc::pid_t) -> i32 {
    let mut status = 0;
    // SAFETY: the child is ours; the status is written to a live integer.
    assert_eq!(gort::ffi::blocking(|| unsafe { libc::waitpid(pid, &mut status, 0) }), pid);
    assert!(libc::WIFEXITED(status), "the child died of signal {}", libc::WTERMSIG(status));
    libc::WEXITSTATUS(status)
}

#[test]
fn a_forked_child_wakes_its_own_waiters_only() {
    needs_goroutines!("no idle threads tell that all wait");
    if !with_one_p_and_two_without_chaos("a_forked_child_wakes_its_own_waiters_only") {
        return;
    }
    static LOCK: Mutex<u32> = Mutex::new(0);
    static WORD: AtomicU32 = AtomicU32::new(0);
    const EACH: usize = 4;
    let arrived = Arc::new(AtomicUsize::new(0));
    let guard = LOCK.lock().unwrap();
    let goroutines: Vec<_> = (0..2 * EACH)
        .map(|i| {
            let arrived = arrived.clone();
            thread::spawn(move || {
                arrived.fetch_add(1, SeqCst);
                if i % 2 == 0 {
                    *LOCK.lock().unwrap() += 1;
                } else {
                    assert_eq!(futex_wait(&WORD, 0, None), 0);
                }
            })
        })
        .collect();
    // They have parked when their kernel threads find nothing to do.
    assert!(eventually(LONG, || {
        let s = gort::stats();
        arrived.load(SeqCst) == 2 * EACH && s.idle_threads == s.kernel_threads
    }));
    let mut guard = Some(guard);
    let pid = fork(|| {
        let waiter = std::thread::spawn(|| futex_wait(&WORD, 0, None));
        let contenders: Vec<_> =
            (0..3).map(|_| std::thread::spawn(|| (0..1000).for_each(|_| *LOCK.lock().unwrap() += 1))).collect();
        guard.take(); // and wakes the contenders, not those of the parent
        contenders.into_iter().for_each(|t| t.join().unwrap());
        let mut woken = 0;
        while woken == 0 {
            woken = futex_wake(&WORD, 1);
            std::thread::yield_now();
        }
        assert_eq!(waiter.join().unwrap(), 0);
        assert_eq!((woken, futex_wake(&WORD, i32::MAX)), (1, 0));
        assert_eq!(*LOCK.lock().unwrap(), 3000);
        42
    });
    assert_eq!(exit_code(pid), 42);
    drop(guard.take().expect("the child dropped its own"));
    let mut woken = 0;
    assert!(eventually(LONG, || {
        woken += futex_wake(&WORD, i32::MAX);
        woken == EACH
    }));
    goroutines.into_iter().for_each(|g| g.join().unwrap());
    assert_eq!(*LOCK.lock().unwrap(), EACH as u32);
}

#[test]
fn a_fork_amid_wakes_leaves_no_lock_behind() {
    if !with_one_p_and_two("a_fork_amid_wakes_leaves_no_lock_behind") {
        return;
    }
    static STOP: AtomicBool = AtomicBool::new(false);
    static WORD: AtomicU32 = AtomicU32::new(0);
    let busy: Vec<_> = (0..4)
        .map(|i| {
            thread::spawn(move || {
                while !STOP.load(SeqCst) {
                    match i % 2 {
                        0 => drop(futex_wait(&WORD, 0, Some(Duration::from_micros(50)))),
                        _ => {
                            futex_wake(&WORD, 1);
                            thread::yield_now();
                        }
                    }
                }
            })
        })
        .collect();
    for _ in 0..100 {
        let wakes = || {
            (0..10).for_each(|_| assert!(futex_wake(&WORD, 1) <= 1));
            0
        };
        assert_eq!(exit_code(fork(wakes)), 0);
        assert_eq!(exit_code(thread::spawn(move || fork(wakes)).join().unwrap()), 0);
    }
    for _ in 0..20 {
        let mut command = Command::new("/bin/true");
        // SAFETY: the closure makes futex calls only.
        unsafe {
            command.pre_exec(|| {
                futex_wake(&WORD, 1);
                std::thread::yield_now();
                Ok(())
            })
        };
        assert!(command.status().unwrap().success());
    }
    STOP.store(true, SeqCst);
    busy.into_iter().for_each(|g| g.join().unwrap());
}

#[test]
fn a_goroutine_that_returns_in_a_forked_child_ends_the_child() {
    if !with_one_p_and_two("a_goroutine_that_returns_in_a_forked_child_ends_the_child") {
        return;
    }
    const OTHERS: u32 = 10;
    let size = std::mem::size_of::<AtomicU32>();
    // SAFETY: a new mapping; zero is a valid number; it stays.
    let ran = unsafe {
        let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
        let page = libc::mmap(std::ptr::null_mut(), size, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0);
        assert_ne!(page, libc::MAP_FAILED);
        &*page.cast::<AtomicU32>()
    };
    for round in 1..=100 {
        let forker = thread::spawn(move || {
            let others: Vec<_> = (0..OTHERS).map(|_| thread::spawn(|| ran.fetch_add(1, SeqCst))).collect();
            // SAFETY: the child sets an alarm and returns from here, and that is all it does.
            let pid = unsafe { libc::fork() };
            if pid == 0 {
                // SAFETY: no preconditions.
                unsafe { libc::alarm(ALARM) };
            } else {
                others.into_iter().for_each(|g| assert!(g.join().unwrap() < round * OTHERS));
            }
            pid
        });
        let pid = forker.join().unwrap();
        assert!(pid > 0);
        assert_eq!(exit_code(pid), 0);
        assert_eq!(ran.load(SeqCst), round * OTHERS, "each once, and none in the child");
    }
}
