//! Goroutines as kernel threads: what `Backend::Threads` promises beyond what all scenarios show when they run on it.

use gort::thread::{self, Builder};
use gort::{Backend, Config};
use gort_tests::measure::{eventually, everywhere, kernel_threads, on_goroutine};
use gort_tests::subprocess::{role, Rerun};
use gort_tests::watch::Shortage;
use std::cell::RefCell;
use std::collections::HashSet;
use std::ffi::c_void;
use std::hint::black_box;
use std::os::fd::AsRawFd;
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Barrier, Mutex};
use std::time::Duration;

/// Runs the test of that name in a child where goroutines are kernel threads. True in the child.
fn alone(name: &str) -> bool {
    if role().is_none() {
        Rerun::of(name, "child").env("GORT_BACKEND", "threads").env("GORT_PROCS", 3).run().success();
    }
    role().is_some()
}

fn tid() -> i32 {
    // SAFETY: no preconditions.
    unsafe { libc::gettid() }
}

#[test]
fn each_goroutine_is_a_kernel_thread() {
    const N: usize = 50;
    if !alone("each_goroutine_is_a_kernel_thread") {
        return;
    }
    assert_eq!(gort::backend().unwrap(), Backend::Threads, "before the start");
    let before = kernel_threads();
    let gate = Barrier::new(N + 1);
    let tids = Mutex::new(HashSet::new());
    thread::scope(|s| {
        for _ in 0..N {
            s.spawn(|| {
                let home = tid();
                assert!(tids.lock().unwrap().insert(home), "nobody else's");
                gate.wait();
                thread::yield_now();
                gate.wait();
                assert_eq!(tid(), home);
            });
        }
        gate.wait();
        let stats = gort::stats();
        assert_eq!((stats.procs, stats.goroutines, stats.kernel_threads, stats.idle_threads), (3, N, N, 0));
        assert_eq!(kernel_threads(), before + N, "the runtime has none of its own");
        gate.wait();
    });
    assert_eq!(gort::stats().goroutines, 0);
    assert_eq!(gort::backend().unwrap(), Backend::Threads);
    assert!(Config::new().start().unwrap_err().to_string().contains("runs already"));
}

#[test]
fn a_program_may_choose() {
    const NAME: &str = "a_program_may_choose";
    let Some(role) = role() else {
        for (role, variable) in [("threads", "goroutines"), ("threads", "nonsense"), ("goroutines", "threads")] {
            Rerun::of(NAME, role).env("GORT_BACKEND", variable).run().success();
        }
        return;
    };
    let backend = if role == "threads" { Backend::Threads } else { Backend::Goroutines };
    Config::new().backend(backend).start().unwrap();
    assert_eq!(gort::backend().unwrap(), backend);
    let main = Mutex::new(HashSet::new());
    everywhere(|| _ = main.lock().unwrap().insert(thread::is_goroutine()));
    assert_eq!(main.into_inner().unwrap().len(), 2, "goroutines know what they are");
    // The kernel knows the thread under the goroutine's name, or not at all.
    let named = Builder::new().name("a long name of one".into()).spawn(|| {
        let comm = std::fs::read_to_string(format!("/proc/self/task/{}/comm", tid())).unwrap();
        (comm, std::thread::current().name().map(str::to_owned))
    });
    let (comm, name) = named.unwrap().join().unwrap();
    match backend {
        Backend::Threads => {
            assert_eq!((comm.as_str(), name.as_deref()), ("a long name of \n", Some("a long name of one")))
        }
        Backend::Goroutines => assert_eq!(comm, "gort-m\n"),
    }
}

/// What ends with a goroutine, in order.
static ENDS: Mutex<Vec<&str>> = Mutex::new(Vec::new());
/// The key of the test below.
static KEY: AtomicUsize = AtomicUsize::new(0);

struct Variable;

impl Drop for Variable {
    fn drop(&mut self) {
        assert!(thread::is_goroutine());
        ENDS.lock().unwrap().push("variable");
    }
}

/// Sets its key again, once.
unsafe extern "C" fn key_ends(value: *mut c_void) {
    assert!(thread::is_goroutine());
    let again = value.addr() == 1;
    ENDS.lock().unwrap().push(if again { "key" } else { "key again" });
    if again {
        set_key(2);
    }
}

fn set_key(value: usize) {
    // SAFETY: the key exists; its values are not looked at as pointers.
    assert_eq!(unsafe { libc::pthread_setspecific(KEY.load(SeqCst) as u32, ptr::without_provenance(value)) }, 0);
}

#[test]
fn join_waits_for_destructors() {
    if !alone("join_waits_for_destructors") {
        return;
    }
    thread_local!(static VARIABLE: RefCell<Option<Variable>> = const { RefCell::new(None) });
    let mut key = 0;
    // SAFETY: `key` is ours to write.
    assert_eq!(unsafe { libc::pthread_key_create(&raw mut key, Some(key_ends)) }, 0);
    KEY.store(key as usize, SeqCst);
    let life = || {
        VARIABLE.set(Some(Variable));
        set_key(1);
    };
    let in_order = ["variable", "key", "key again"];
    for _ in 0..20 {
        thread::spawn(life).join().unwrap();
        assert_eq!(*std::mem::take(&mut *ENDS.lock().unwrap()), in_order);
        let id = Builder::new().name("x".into()).spawn(move || {
            life();
            thread::current().id()
        });
        let id = id.unwrap();
        let handle = id.thread().id();
        assert_eq!(id.join().unwrap(), handle);
        assert_eq!(*std::mem::take(&mut *ENDS.lock().unwrap()), in_order);
        thread::scope(|s| {
            s.spawn(life);
        });
        assert_eq!(*std::mem::take(&mut *ENDS.lock().unwrap()), in_order, "a scope waits for them too");
        assert_eq!(gort::stats().goroutines, 0);
    }
}

/// What the thread of the test below stays in at its very end, once it has been told which.
static STAYS: AtomicUsize = AtomicUsize::new(0);

/// A key's destructor that stays in the last round, when nothing of the goroutine is left.
unsafe extern "C" fn key_stays(value: *mut c_void) {
    match value.addr() {
        4 => {
            let mut byte = 0u8;
            // SAFETY: the byte is ours to write.
            let end = unsafe { libc::read(STAYS.load(SeqCst) as i32, (&raw mut byte).cast(), 1) };
            assert_eq!(end, 0, "the other end has been closed");
        }
        round => set_key(round + 1),
    }
}

#[test]
fn a_thread_that_ends_slowly_keeps_no_other() {
    if !alone("a_thread_that_ends_slowly_keeps_no_other") {
        return;
    }
    let before = kernel_threads();
    let (stays, go) = std::io::pipe().unwrap();
    STAYS.store(stays.as_raw_fd() as usize, SeqCst);
    thread::spawn(|| ()).join().unwrap(); // the runtime's key comes before ours, and its destructor too
    let mut key = 0;
    // SAFETY: `key` is ours to write.
    assert_eq!(unsafe { libc::pthread_key_create(&raw mut key, Some(key_stays)) }, 0);
    KEY.store(key as usize, SeqCst);
    thread::spawn(|| set_key(1)).join().unwrap();
    for _ in 0..100 {
        thread::spawn(|| ()).join().unwrap();
    }
    let left = || kernel_threads() == before + 1;
    assert!(eventually(Duration::from_secs(30), left), "{} threads are left", kernel_threads());
    drop(go);
    gort::shutdown(Duration::from_secs(50)).unwrap();
}

#[test]
fn stacks_have_the_room_of_the_system_stack() {
    if !alone("stacks_have_the_room_of_the_system_stack") {
        return;
    }
    let fill = |goroutine: Builder| {
        let bytes = goroutine.spawn(|| gort::ffi::on_system_stack(|| black_box(&[1u8; 1900 << 10]).len()));
        assert_eq!(bytes.unwrap().join().unwrap(), 1900 << 10);
    };
    fill(Builder::new());
    fill(Builder::new().stack_size(64 << 10));
    let large = Builder::new().stack_size(16 << 20).spawn(|| black_box(&[1u8; 15 << 20]).len());
    assert_eq!(large.unwrap().join().unwrap(), 15 << 20);
    for absurd in [usize::MAX, usize::MAX / 2, 1 << 60] {
        let error = Builder::new().stack_size(absurd).spawn(|| ()).unwrap_err();
        assert!(!error.to_string().is_empty());
    }
    assert_eq!(gort::stats().goroutines, 0);
}

#[test]
fn an_overflow_is_reported_by_std() {
    const NAME: &str = "an_overflow_is_reported_by_std";
    #[inline(never)]
    fn recurse(n: u64) -> u64 {
        let block = black_box([n; 64]);
        if n == u64::MAX {
            return 0;
        }
        recurse(n + 1) + block[3]
    }
    if role().is_none() {
        let outcome = Rerun::of(NAME, "child").env("GORT_BACKEND", "threads").run();
        outcome.died_of(libc::SIGABRT).says("thread 'deep diver'").says("has overflowed its stack");
        return;
    }
    Builder::new().name("deep diver".into()).spawn(|| recurse(0)).unwrap().join().unwrap();
}

#[test]
fn a_thread_that_cannot_be_had_is_an_error_at_spawn() {
    if !alone("a_thread_that_cannot_be_had_is_an_error_at_spawn") {
        return;
    }
    let threads = Shortage::prepare();
    let kept = Arc::new(());
    for _ in 0..3 {
        threads.begin();
        let theirs = kept.clone();
        let error = Builder::new().spawn(move || drop(theirs)).unwrap_err();
        assert!(error.to_string().contains("pids.max"), "{error}");
        assert_eq!((Arc::strong_count(&kept), gort::stats().goroutines), (1, 0), "dropped, and not counted");
        // A scope does not wait for what was never there.
        thread::scope(|s| assert!(Builder::new().spawn_scoped(s, || ()).is_err()));
        threads.end();
        assert_eq!(on_goroutine(|| 5), 5);
    }
}

#[test]
fn without_a_key_nothing_starts() {
    if !alone("without_a_key_nothing_starts") {
        return;
    }
    let mut keys = Vec::new();
    loop {
        let mut key = 0;
        // SAFETY: `key` is ours to write.
        if unsafe { libc::pthread_key_create(&raw mut key, None) } != 0 {
            break;
        }
        keys.push(key);
    }
    assert!(keys.len() > 100, "all keys of the process are used up");
    let error = Builder::new().spawn(|| ()).unwrap_err();
    assert!(error.to_string().contains("no pthread key is left"), "{error}");
    // SAFETY: the key is ours, and nobody uses it.
    assert_eq!(unsafe { libc::pthread_key_delete(keys[0]) }, 0);
    assert_eq!(on_goroutine(|| 5), 5);
}

#[test]
fn lives_on_threads_and_on_the_scheduler_follow_each_other() {
    const NAME: &str = "lives_on_threads_and_on_the_scheduler_follow_each_other";
    if !alone(NAME) {
        return;
    }
    let before = kernel_threads();
    for life in 0..30 {
        let backend = [Backend::Threads, Backend::Goroutines, Backend::Threads][life % 3];
        Config::new().backend(backend).procs(life + 1).start().unwrap();
        assert_eq!((gort::backend().unwrap(), gort::stats().procs), (backend, life + 1));
        let detached: Vec<_> =
            (0..20).map(|i| thread::spawn(move || thread::spawn(move || i).join().unwrap())).collect();
        let kept = thread::spawn(thread::current).join().unwrap();
        drop(detached); // those that run are waited for
        gort::shutdown(Duration::from_secs(50)).unwrap();
        assert_eq!((gort::stats().goroutines, gort::stats().kernel_threads), (0, 0));
        assert!(Builder::new().spawn(|| ()).unwrap_err().to_string().contains("shut down"));
        kept.unpark();
        // All have been joined; the kernel lists one a moment longer.
        assert!(eventually(Duration::from_secs(50), || kernel_threads() == before), "in life {life}");
    }
}
