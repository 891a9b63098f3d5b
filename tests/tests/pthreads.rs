//! `pthread_create` and what C does with a thread's number, on goroutines: joining, detaching, leaving, attributes, names,
//! signals, C11's interface.
//!
//! Each scenario runs in a process of its own, with one P, with two, and with chaos.

use gort::thread;
use gort_tests::measure::{eventually, on_goroutine};
use gort_tests::needs_goroutines;
use gort_tests::real::{self, on_real_thread};
use gort_tests::release;
use gort_tests::subprocess::{role, Rerun};
use std::ffi::{c_int, c_long, c_void};
use std::fs;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc;
use std::time::Duration;

type Fn1 = unsafe extern "C" fn(*mut c_void);

#[repr(C)]
#[derive(Default, Debug)]
struct Seen {
    tid: c_int,
    policy: c_int,
    cpus: c_int,
    local: usize,
}

const NOTHING: c_int = 0;
const FIFO: c_int = 1;
const ONE_CPU: c_int = 2;
const SIGNALS: c_int = 3;
const STACK: c_int = 4;
const EXPLICIT_OTHER: c_int = 5;

extern "C" {
    fn pt_return(thread: *mut libc::pthread_t, value: c_long, detached: c_int) -> c_int;
    fn pt_exit(
        thread: *mut libc::pthread_t,
        value: c_long,
        depth: c_int,
        cleaned: *mut c_int,
        f: Fn1,
        arg: *mut c_void,
    ) -> c_int;
    fn pt_exit_now();
    fn pt_asking(ask: c_int, stack: *mut c_void, size: usize, seen: *mut Seen) -> c_int;
    fn pt_bounds(size: usize) -> c_int;
    fn pt_c11(value: c_int, by_exit: c_int) -> c_int;
    fn pt_c11_detached(f: Fn1, arg: *mut c_void) -> c_int;
    fn pthread_tryjoin_np(thread: libc::pthread_t, value: *mut *mut c_void) -> c_int;
    fn pthread_timedjoin_np(thread: libc::pthread_t, value: *mut *mut c_void, when: *const libc::timespec) -> c_int;
    fn pthread_clockjoin_np(
        thread: libc::pthread_t,
        value: *mut *mut c_void,
        clock: libc::clockid_t,
        when: *const libc::timespec,
    ) -> c_int;
    fn pthread_sigqueue(thread: libc::pthread_t, signal: c_int, value: libc::sigval) -> c_int;
}

/// Runs `body`, all there is to the test named `test`, in processes where threads are goroutines: on one of those, on a
/// goroutine of gort's, and on a kernel thread.
fn on_goroutines(test: &str, body: impl Fn() + Sync) {
    if role().is_some() {
        std::thread::scope(|s| s.spawn(&body).join()).unwrap();
        on_goroutine(&body);
        return on_real_thread(&body);
    }
    for (procs, chaos) in [("1", None), ("2", None), ("2", Some("3"))] {
        let mut child = Rerun::of(test, "child").env("GORT_THREADS", "1").env("GORT_PROCS", procs);
        if let Some(seed) = chaos {
            child = child.env("GORT_CHAOS", seed);
        }
        child.run().success();
    }
}

/// Joins a thread: what it left, or the error's number.
fn join(thread: libc::pthread_t) -> Result<usize, c_int> {
    let mut value = ptr::null_mut();
    // SAFETY: joining a number is what the tests are about; the hooks check it.
    match unsafe { libc::pthread_join(thread, &raw mut value) } {
        0 => Ok(value as usize),
        code => Err(code),
    }
}

/// A thread that returns `value`.
fn returning(value: usize, detached: bool) -> libc::pthread_t {
    let mut thread = 0;
    // SAFETY: the number is ours to write.
    assert_eq!(unsafe { pt_return(&raw mut thread, value as c_long, detached.into()) }, 0);
    thread
}

/// The caller's number.
fn number() -> libc::pthread_t {
    // SAFETY: the call has no preconditions.
    unsafe { libc::pthread_self() }
}

/// A start routine that waits until the word at `arg` is 1.
extern "C" fn wait_for_one(arg: *mut c_void) -> *mut c_void {
    // SAFETY: the maker passes a word that outlives the thread.
    let word = unsafe { &*arg.cast::<AtomicU32>() };
    while word.load(SeqCst) != 1 {
        std::thread::yield_now();
    }
    arg
}

/// A thread that ends when `word` is 1.
fn waiting(word: &'static AtomicU32) -> libc::pthread_t {
    let mut thread = 0;
    let arg = ptr::from_ref(word).cast_mut().cast();
    // SAFETY: `wait_for_one` takes such an argument.
    assert_eq!(unsafe { libc::pthread_create(&raw mut thread, ptr::null(), wait_for_one, arg) }, 0);
    thread
}

fn leak() -> &'static AtomicU32 {
    Box::leak(Box::new(AtomicU32::new(0)))
}

#[test]
fn values_are_returned_to_the_one_who_joins() {
    on_goroutines("values_are_returned_to_the_one_who_joins", || {
        let threads: Vec<_> = (0..500).map(|i| (i, returning(i, false))).collect();
        for (i, thread) in threads {
            assert_eq!(join(thread), Ok(i));
        }
        assert!(join(returning(1, false)).is_ok());
        let word = leak();
        let thread = waiting(word);
        word.store(1, SeqCst);
        assert_eq!(join(thread), Ok(ptr::from_ref(word) as usize));
    });
}

#[test]
fn errors_are_those_of_posix() {
    needs_goroutines!("glibc does not survive the number of a thread that is gone");
    on_goroutines("errors_are_those_of_posix", || {
        let word = leak();
        let thread = waiting(word);
        let mut value = ptr::null_mut();
        let past = libc::timespec { tv_sec: 1, tv_nsec: 0 };
        let never = libc::timespec { tv_sec: 1, tv_nsec: 1_000_000_000 };
        let mut soon = MaybeUninit::<libc::timespec>::uninit();
        // SAFETY: all pointers are to live objects of their types.
        unsafe {
            assert_eq!(pthread_tryjoin_np(thread, &raw mut value), libc::EBUSY);
            assert_eq!(pthread_timedjoin_np(thread, &raw mut value, &past), libc::ETIMEDOUT);
            assert_eq!(pthread_timedjoin_np(thread, &raw mut value, &never), libc::EINVAL);
            libc::clock_gettime(libc::CLOCK_MONOTONIC, soon.as_mut_ptr());
            let mut soon = soon.assume_init();
            soon.tv_nsec += 2_000_000;
            soon.tv_sec += soon.tv_nsec / 1_000_000_000;
            soon.tv_nsec %= 1_000_000_000;
            assert_eq!(pthread_clockjoin_np(thread, &raw mut value, libc::CLOCK_MONOTONIC, &soon), libc::ETIMEDOUT);
            assert_eq!(pthread_clockjoin_np(thread, &raw mut value, libc::CLOCK_BOOTTIME, &soon), libc::EINVAL);
            word.store(1, SeqCst);
            assert_eq!(pthread_clockjoin_np(thread, &raw mut value, libc::CLOCK_REALTIME, ptr::null()), 0);
            assert_eq!(value, ptr::from_ref(word).cast_mut().cast());
            assert_eq!(libc::pthread_detach(thread), libc::ESRCH, "joined");
        }
        assert_eq!(join(thread), Err(libc::ESRCH), "joined");

        // A detached one; and one that is detached while it runs.
        for detached in [true, false] {
            let word = leak();
            let mut attr = MaybeUninit::<libc::pthread_attr_t>::uninit();
            let mut thread = 0;
            // SAFETY: as above; the attributes are initialised before they are used.
            unsafe {
                libc::pthread_attr_init(attr.as_mut_ptr());
                let state = if detached { libc::PTHREAD_CREATE_DETACHED } else { libc::PTHREAD_CREATE_JOINABLE };
                libc::pthread_attr_setdetachstate(attr.as_mut_ptr(), state);
                let arg = ptr::from_ref(word).cast_mut().cast();
                assert_eq!(libc::pthread_create(&raw mut thread, attr.as_ptr(), wait_for_one, arg), 0);
                assert_eq!(libc::pthread_detach(thread), if detached { libc::EINVAL } else { 0 });
                assert_eq!(libc::pthread_detach(thread), libc::EINVAL);
            }
            assert_eq!(join(thread), Err(libc::EINVAL), "detached");
            word.store(1, SeqCst);
            // SAFETY: signal 0 does nothing.
            assert!(eventually(Duration::from_secs(30), || unsafe { libc::pthread_kill(thread, 0) } == libc::ESRCH));
        }

        // Oneself.
        let me = std::thread::spawn(|| join(number())).join().unwrap();
        assert_eq!(me, Err(libc::EDEADLK));

        // A second one: whoever of the two comes later is told so at once, the other waits.
        let word = leak();
        let thread = waiting(word);
        let (to, from) = mpsc::channel();
        let joining = [to.clone(), to].map(|to| std::thread::spawn(move || to.send(join(thread)).unwrap()));
        assert_eq!(from.recv().unwrap(), Err(libc::EINVAL));
        word.store(1, SeqCst);
        assert_eq!(from.recv().unwrap(), Ok(ptr::from_ref(word) as usize));
        joining.into_iter().for_each(|one| one.join().unwrap());
    });
}

/// Asking whether a thread has ended is not joining it: nobody who joins it meanwhile is refused.
#[test]
fn a_look_at_a_thread_takes_nothing_from_who_joins_it() {
    on_goroutines("a_look_at_a_thread_takes_nothing_from_who_joins_it", || {
        for _ in 0..50 {
            let word = leak();
            let thread = waiting(word);
            let looks: &AtomicU32 = leak();
            let looking = std::thread::spawn(move || {
                while word.load(SeqCst) == 0 {
                    // SAFETY: null asks for no value, and the thread is joined when this one has ended.
                    assert_eq!(unsafe { pthread_tryjoin_np(thread, ptr::null_mut()) }, libc::EBUSY);
                    looks.fetch_add(1, SeqCst);
                    std::thread::yield_now();
                }
            });
            let begun: &AtomicU32 = leak();
            let joining = std::thread::spawn(move || {
                begun.store(1, SeqCst);
                join(thread)
            });
            // Both are at it, for some turns.
            while begun.load(SeqCst) == 0 || looks.load(SeqCst) < 20 {
                std::thread::yield_now();
            }
            word.store(2, SeqCst);
            looking.join().unwrap();
            word.store(1, SeqCst);
            assert_eq!(joining.join().unwrap(), Ok(ptr::from_ref(word) as usize));
        }
    });
}

/// Counts its drops.
struct Count(&'static AtomicUsize);

impl Drop for Count {
    fn drop(&mut self) {
        self.0.fetch_add(1, SeqCst);
    }
}

static DROPPED: AtomicUsize = AtomicUsize::new(0);

extern "C" fn use_a_thread_local(_: *mut c_void) {
    thread_local! {
        static LOCAL: Count = const { Count(&DROPPED) };
    }
    LOCAL.with(|_| std::thread::yield_now());
}

#[test]
fn pthread_exit_leaves_with_a_value() {
    on_goroutines("pthread_exit_leaves_with_a_value", || {
        let before = DROPPED.load(SeqCst);
        for i in 1..200 {
            let mut thread = 0;
            let mut cleaned: c_int = 0;
            let depth = (i % 5 + 1) as c_int;
            // SAFETY: the thread is joined before `cleaned` goes.
            let code =
                unsafe { pt_exit(&raw mut thread, i, depth, &raw mut cleaned, use_a_thread_local, ptr::null_mut()) };
            assert_eq!(code, 0);
            assert_eq!(join(thread), Ok(i as usize));
            assert_eq!(cleaned, depth, "handlers of pthread_cleanup_push have run");
            assert_eq!(DROPPED.load(SeqCst) - before, i as usize, "destructors have run");
        }
        assert_eq!(join(returning(5, false)), Ok(5), "on a stack that was left so before");
    });
}

/// Row R-52.
#[test]
fn pthread_exit_elsewhere_ends_the_process_with_a_message() {
    const NAME: &str = "pthread_exit_elsewhere_ends_the_process_with_a_message";
    match role().as_deref() {
        None => {
            for role in ["goroutine", "system stack"] {
                Rerun::of(NAME, role).run().died_of(libc::SIGABRT).says("gort: pthread_exit");
            }
        }
        // SAFETY: the process is meant to die.
        Some("goroutine") => on_goroutine(|| unsafe { pt_exit_now() }),
        // SAFETY: as above.
        Some(_) => on_goroutine(|| gort::ffi::on_system_stack(|| unsafe { pt_exit_now() })),
    }
}

/// What a thread saw of itself that was to have such attributes.
fn asking(ask: c_int) -> Seen {
    let mut seen = Seen::default();
    // SAFETY: no stack is lent.
    assert_eq!(unsafe { pt_asking(ask, ptr::null_mut(), 0, &raw mut seen) }, 0);
    seen
}

/// The kernel threads that the runtime has made.
fn runtimes_threads() -> Vec<c_int> {
    let tasks = fs::read_dir("/proc/self/task").unwrap().map(|task| task.unwrap().path());
    let ours = tasks.filter(|task| fs::read_to_string(task.join("comm")).is_ok_and(|name| name.starts_with("gort-m")));
    ours.map(|task| task.file_name().unwrap().to_str().unwrap().parse().unwrap()).collect()
}

#[test]
fn attributes_may_ask_for_a_real_thread() {
    needs_goroutines!("threads that others start are no goroutines");
    on_goroutines("attributes_may_ask_for_a_real_thread", || {
        let is_goroutine = |seen: &Seen| runtimes_threads().contains(&seen.tid);
        // A thread that was joined may still be listed for a moment, under the name of the one that made it.
        let is_real = |seen: &Seen| eventually(Duration::from_secs(30), || !is_goroutine(seen));
        for ask in [NOTHING, EXPLICIT_OTHER] {
            assert!(is_goroutine(&asking(ask)));
        }
        let one = asking(ONE_CPU);
        assert!(is_real(&one) && one.cpus == 1, "{one:?}");
        let mut seen = Seen::default();
        // SAFETY: as in `asking`.
        match unsafe { pt_asking(SIGNALS, ptr::null_mut(), 0, &raw mut seen) } {
            0 => assert!(is_real(&seen)),
            code => assert!(code == libc::ENOSYS && release::running() < (2, 32), "{code}"),
        }
        let mut stack = vec![0u8; 256 << 10];
        let mut seen = Seen::default();
        // SAFETY: the stack is ours to lend, and the thread has ended when the call returns.
        let code = unsafe { pt_asking(STACK, stack.as_mut_ptr().cast(), stack.len(), &raw mut seen) };
        assert_eq!(code, 0);
        assert!(is_real(&seen) && stack.as_ptr_range().contains(&(seen.local as *const u8)), "{seen:?}");
        let mut seen = Seen::default();
        // SAFETY: as in `asking`.
        match unsafe { pt_asking(FIFO, ptr::null_mut(), 0, &raw mut seen) } {
            0 => assert!(is_real(&seen) && seen.policy == libc::SCHED_FIFO, "{seen:?}"),
            code => assert_eq!(code, libc::EPERM, "a real thread was asked for; who may have one, the kernel decides"),
        }
    });
}

#[test]
fn stack_bounds_hold_what_is_on_the_stack() {
    on_goroutines("stack_bounds_hold_what_is_on_the_stack", || {
        // SAFETY: the call only reads.
        let bounds = |size| move || unsafe { pt_bounds(size) };
        assert_eq!(std::thread::spawn(bounds(2 << 20)).join().unwrap(), 1);
        for size in [64 << 10, 8 << 20] {
            let builder = std::thread::Builder::new().stack_size(size);
            assert_eq!(builder.spawn(bounds(size)).unwrap().join().unwrap(), 1);
        }
        assert_eq!(thread::spawn(bounds(216 << 10)).join().unwrap(), 1, "a goroutine of gort's");
        let mut attr = MaybeUninit::<libc::pthread_attr_t>::uninit();
        let ended = returning(0, false);
        join(ended).unwrap();
        // SAFETY: room for an attribute object.
        assert_eq!(unsafe { libc::pthread_getattr_np(ended, attr.as_mut_ptr()) }, libc::ESRCH);
    });
}

extern "C" fn count_signal(_: c_int) {
    SIGNALLED.fetch_add(1, SeqCst);
}

static SIGNALLED: AtomicI32 = AtomicI32::new(0);

#[test]
fn numbers_are_safe_arguments() {
    needs_goroutines!("glibc does not survive the number of a thread that is gone");
    on_goroutines("numbers_are_safe_arguments", || {
        let word = leak();
        let thread = waiting(word);
        let gorts = thread::spawn(number).join().unwrap();
        // SAFETY: all pointers are to live objects of their types, and zero is valid for them.
        unsafe {
            let handler = count_signal as *const () as libc::sighandler_t;
            assert_ne!(libc::signal(libc::SIGUSR1, handler), libc::SIG_ERR);
            assert_eq!(libc::pthread_kill(thread, 0), 0);
            assert_eq!(libc::pthread_kill(thread, libc::SIGUSR1), libc::ESRCH);
            assert_eq!(libc::pthread_kill(thread, 1000), libc::EINVAL);
            assert_eq!(libc::pthread_kill(gorts, 0), libc::ESRCH, "it has ended");
            assert_eq!(pthread_sigqueue(thread, 0, std::mem::zeroed()), libc::ESRCH);
            assert_eq!(libc::pthread_cancel(thread), libc::ESRCH);
            let before = SIGNALLED.load(SeqCst);
            let to_itself = || libc::pthread_kill(number(), libc::SIGUSR1);
            assert_eq!(std::thread::spawn(to_itself).join().unwrap(), 0);
            assert_eq!(thread::spawn(to_itself).join().unwrap(), 0);
            assert_eq!(SIGNALLED.load(SeqCst), before + 2);

            let (mut policy, mut param) = (-1, std::mem::zeroed::<libc::sched_param>());
            assert_eq!(libc::pthread_getschedparam(thread, &raw mut policy, &raw mut param), 0);
            assert_eq!((policy, param.sched_priority), (libc::SCHED_OTHER, 0));
            assert_eq!(libc::pthread_setschedparam(thread, policy, &param), 0);
            param.sched_priority = 1;
            assert_eq!(libc::pthread_setschedparam(thread, libc::SCHED_RR, &param), libc::ENOTSUP);
            assert_eq!(libc::pthread_setschedprio(thread, 1), libc::ENOTSUP);

            let mut cpus: libc::cpu_set_t = std::mem::zeroed();
            assert_eq!(libc::pthread_getaffinity_np(thread, size_of_val(&cpus), &raw mut cpus), 0);
            assert!(libc::CPU_COUNT(&cpus) > 0);
            assert_eq!(libc::pthread_setaffinity_np(thread, size_of_val(&cpus), &cpus), libc::ENOTSUP);
            let mut clock = 0;
            assert_eq!(libc::pthread_getcpuclockid(thread, &raw mut clock), libc::ENOENT);

            let mut name = [0 as libc::c_char; 16];
            assert_eq!(libc::pthread_setname_np(thread, c"fifteen letters".as_ptr()), 0);
            assert_eq!(libc::pthread_setname_np(thread, c"sixteen letters!".as_ptr()), libc::ERANGE);
            assert_eq!(libc::pthread_getname_np(thread, name.as_mut_ptr(), 15), libc::ERANGE);
            assert_eq!(libc::pthread_getname_np(thread, name.as_mut_ptr(), 16), 0);
            assert_eq!(std::ffi::CStr::from_ptr(name.as_ptr()), c"fifteen letters");
        }
        word.store(1, SeqCst);
        join(thread).unwrap();
        // A goroutine of gort's keeps the name that it was built with, and the kernel thread its own.
        let builder = thread::Builder::new().name("built with a long name".into());
        let name = builder.spawn(|| {
            let mut name = [0 as libc::c_char; 16];
            // SAFETY: as above.
            unsafe {
                assert_eq!(libc::pthread_setname_np(number(), c"another".as_ptr()), 0);
                assert_eq!(libc::pthread_getname_np(number(), name.as_mut_ptr(), 16), 0);
            }
            name.map(|c| c as u8)
        });
        assert_eq!(&name.unwrap().join().unwrap(), b"built with a lo\0");
        for task in fs::read_dir("/proc/self/task").unwrap() {
            let name = fs::read_to_string(task.unwrap().path().join("comm")).unwrap_or_default();
            assert!(!name.starts_with("another") && !name.starts_with("fifteen"), "{name}");
        }
    });
}

#[test]
fn joining_a_real_thread_lets_others_run() {
    on_goroutines("joining_a_real_thread_lets_others_run", || {
        static GO: AtomicBool = AtomicBool::new(false);
        GO.store(false, SeqCst);
        extern "C" fn spin(arg: *mut c_void) -> *mut c_void {
            while !GO.load(SeqCst) {
                std::thread::yield_now();
            }
            arg
        }
        // SAFETY: `spin` takes any argument.
        let real = unsafe { real::create(spin, ptr::null_mut()) };
        // On one P, the second goroutine runs only if the first gives it up.
        let (to, from) = mpsc::channel();
        let joiner = thread::spawn(move || {
            to.send(()).unwrap();
            join(real)
        });
        from.recv().unwrap();
        thread::spawn(|| GO.store(true, SeqCst)).join().unwrap();
        assert_eq!(joiner.join().unwrap(), Ok(0));
    });
}

extern "C" fn set_one(arg: *mut c_void) {
    assert!(thread::is_goroutine());
    // SAFETY: the maker passes a word that outlives the thread.
    unsafe { &*arg.cast::<AtomicU32>() }.store(1, SeqCst);
}

#[test]
fn c11s_threads_too() {
    needs_goroutines!("threads that others start are no goroutines");
    on_goroutines("c11s_threads_too", || {
        for value in [0, 7, -1, i32::MIN, i32::MAX] {
            // SAFETY: the calls make a thread and join it.
            unsafe {
                assert_eq!(pt_c11(value, 0), value);
                assert_eq!(pt_c11(value, 1), value);
            }
        }
        let word = leak();
        // SAFETY: `set_one` takes such an argument, which lives for ever.
        assert_eq!(unsafe { pt_c11_detached(set_one, ptr::from_ref(word).cast_mut().cast()) }, 0);
        assert!(eventually(Duration::from_secs(30), || word.load(SeqCst) == 1));
    });
}

#[test]
fn a_forked_childs_threads_are_real() {
    on_goroutines("a_forked_childs_threads_are_real", || {
        let forked = || {
            // SAFETY: the child makes a thread, joins it and exits.
            let pid = unsafe { libc::fork() };
            assert!(pid >= 0);
            if pid == 0 {
                let mut thread = 0;
                // SAFETY: as above.
                unsafe {
                    let made = pt_return(&raw mut thread, 3, 0);
                    libc::_exit(if made == 0 && join(thread) == Ok(3) { 0 } else { 1 });
                }
            }
            let mut status = -1;
            // SAFETY: the child is ours.
            assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
            assert_eq!(status, 0);
        };
        std::thread::spawn(forked).join().unwrap();
    });
}
