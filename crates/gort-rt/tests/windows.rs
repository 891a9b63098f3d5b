//! C threads on Windows that call in: threads that `CreateThread`, the system's thread pool and fibers give, which neither std nor
//! the runtime has made.

#![cfg(windows)]

use core::ffi::c_void;
use core::ptr;
use gort_rt::testing::{is_none, stray_store};
use gort_rt::{ffi, stats, thread, Backend, Config};
use std::cell::Cell;
use std::panic::resume_unwind;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{mpsc, Mutex, MutexGuard};
use windows_sys::core::BOOL;
use windows_sys::Win32::Foundation::{
    CloseHandle, GetLastError, SetLastError, EXCEPTION_ACCESS_VIOLATION, HANDLE, TRUE,
};
use windows_sys::Win32::Globalization::{EnumSystemLocalesA, LCID_INSTALLED};
use windows_sys::Win32::System::Diagnostics::Debug::{
    AddVectoredExceptionHandler, RaiseException, RemoveVectoredExceptionHandler, EXCEPTION_CONTINUE_EXECUTION,
    EXCEPTION_CONTINUE_SEARCH, EXCEPTION_POINTERS,
};
use windows_sys::Win32::System::Threading::{
    ConvertFiberToThread, ConvertThreadToFiber, CreateFiber, CreateThread, DeleteFiber, ExitProcess, GetExitCodeThread,
    SwitchToFiber, TerminateThread, TlsAlloc, TrySubmitThreadpoolCallback, WaitForSingleObject, INFINITE,
    PTP_CALLBACK_INSTANCE, STACK_SIZE_PARAM_IS_A_RESERVATION,
};

/// The figures of all tests are the process's: one test at a time.
static ONE: Mutex<()> = Mutex::new(());

fn one_at_a_time() -> MutexGuard<'static, ()> {
    ONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// A thread that `CreateThread` has made, as C would; it runs `f` and ends.
struct CThread(HANDLE);

impl CThread {
    fn start(f: impl FnOnce() + Send + 'static) -> CThread {
        CThread::with_stack(0, f)
    }

    fn with_stack(bytes: usize, f: impl FnOnce() + Send + 'static) -> CThread {
        unsafe extern "system" fn run(f: *mut c_void) -> u32 {
            // SAFETY: `with_stack` passes a box of this type, once.
            let f = unsafe { Box::from_raw(f.cast::<Box<dyn FnOnce() + Send>>()) };
            f();
            123
        }
        let f: Box<Box<dyn FnOnce() + Send>> = Box::new(Box::new(f));
        let flags = STACK_SIZE_PARAM_IS_A_RESERVATION;
        // SAFETY: `run` takes the box over.
        let handle =
            unsafe { CreateThread(ptr::null(), bytes, Some(run), Box::into_raw(f).cast(), flags, ptr::null_mut()) };
        assert!(!handle.is_null());
        CThread(handle)
    }

    /// Waits for the thread's end, and says what it returned, or was ended with.
    fn join(self) -> u32 {
        let mut code = 0;
        // SAFETY: the handle is ours, and closed once.
        unsafe {
            assert_eq!(WaitForSingleObject(self.0, INFINITE), 0);
            assert_ne!(GetExitCodeThread(self.0, &raw mut code), 0);
            CloseHandle(self.0);
        }
        code
    }
}

/// Runs the test `name` of this program once more, as a process of its own that is told by the environment to be `child`.
fn child(name: &str) -> (i32, String) {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env("GORT_TEST_CHILD", name)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code().unwrap_or(-1), text)
}

fn is_child(name: &str) -> bool {
    std::env::var("GORT_TEST_CHILD").is_ok_and(|child| child == name)
}

/// Row W-14.
#[test]
fn a_c_thread_is_bound_from_its_first_callback_to_its_end() {
    let _one = one_at_a_time();
    let before = stats().extra_ms_in_use;
    let (to_us, from_it) = mpsc::channel();
    let (to_it, from_us) = mpsc::channel::<()>();
    let c = CThread::start(move || {
        assert!(is_none(), "the first look finds none");
        to_us.send(stats().extra_ms_in_use).unwrap();
        assert_eq!(ffi::callback(|| 6 * 7), 42);
        assert!(!is_none());
        ffi::callback(|| assert_eq!(ffi::callback(|| stats().callbacks), 1, "nested"));
        to_us.send(stats().extra_ms_in_use).unwrap();
        from_us.recv().unwrap();
    });
    assert_eq!(from_it.recv().unwrap(), before);
    assert_eq!(from_it.recv().unwrap(), before + 1, "bound while it is in C");
    to_it.send(()).unwrap();
    assert_eq!(c.join(), 123, "what it returned");
    assert_eq!(stats().extra_ms_in_use, before, "given back at its end");
}

#[test]
fn ms_are_used_again() {
    let _one = one_at_a_time();
    CThread::start(|| ffi::callback(|| ())).join();
    let made = stats().extra_ms;
    for _ in 0..50 {
        CThread::start(|| ffi::callback(|| ())).join();
    }
    assert_eq!(stats().extra_ms, made);
}

/// The last thing that a thread does may be a call in: a thread-local variable's destructor, before ours has run.
#[test]
fn a_destructor_may_call_in_too() {
    let _one = one_at_a_time();
    struct Late(mpsc::Sender<usize>);
    impl Drop for Late {
        fn drop(&mut self) {
            let _ = self.0.send(ffi::callback(|| stats().callbacks));
        }
    }
    thread_local! {
        static LATE: Cell<Option<Late>> = const { Cell::new(None) };
    }
    let before = stats().extra_ms_in_use;
    for first in [false, true] {
        let (sender, receiver) = mpsc::channel();
        let c = CThread::start(move || {
            LATE.set(Some(Late(sender)));
            if first {
                ffi::callback(|| ());
            }
        });
        assert_eq!(receiver.recv().unwrap(), 1);
        c.join();
        assert_eq!(stats().extra_ms_in_use, before);
    }
}

/// Row X-15.
#[test]
fn a_stray_store_before_the_first_callback_is_an_access_violation() {
    const NAME: &str = "a_stray_store_before_the_first_callback_is_an_access_violation";
    const SEEN: u32 = 77;
    /// A vectored handler.
    unsafe extern "system" fn seen(pointers: *mut EXCEPTION_POINTERS) -> i32 {
        // SAFETY: the system passes a valid record.
        let record = unsafe { &*(*pointers).ExceptionRecord };
        const WRITE: usize = 1;
        if record.ExceptionCode == EXCEPTION_ACCESS_VIOLATION && record.ExceptionInformation[0] == WRITE {
            // SAFETY: the process is meant to end.
            unsafe { ExitProcess(SEEN) };
        }
        EXCEPTION_CONTINUE_SEARCH
    }
    if is_child(NAME) {
        CThread::start(|| {
            assert!(is_none());
            // SAFETY: the handler ends the process; the store is what is tried.
            unsafe {
                AddVectoredExceptionHandler(1, Some(seen));
                stray_store();
            }
            println!("the store went through");
        })
        .join();
        return;
    }
    let (code, text) = child(NAME);
    assert_eq!(code, SEEN as i32, "{text}");
}

#[test]
fn after_the_end_of_a_callback_for_one_call_there_is_none_again() {
    let _one = one_at_a_time();
    struct Ends(mpsc::Sender<bool>);
    impl Drop for Ends {
        fn drop(&mut self) {
            ffi::callback(|| ());
            let _ = self.0.send(!is_none());
        }
    }
    thread_local! {
        static ENDS: Cell<Option<Ends>> = const { Cell::new(None) };
    }
    let (sender, receiver) = mpsc::channel();
    CThread::start(move || ENDS.set(Some(Ends(sender)))).join();
    assert!(receiver.recv().unwrap(), "bound until the thread's end, which is after its variables' destructors");
}

/// The word that programs, debuggers and Go use, `ArbitraryUserPointer`, is nobody's to change. Row X-14.
#[test]
fn the_shared_word_of_the_threads_block_survives() {
    fn shared(new: Option<usize>) -> usize {
        let old;
        // SAFETY: the word at gs:0x28 is for programs to use as they like; nobody else in this test does.
        unsafe {
            core::arch::asm!("mov {}, gs:[0x28]", out(reg) old, options(nostack, preserves_flags));
            if let Some(new) = new {
                core::arch::asm!("mov gs:[0x28], {}", in(reg) new, options(nostack, preserves_flags));
            }
        }
        old
    }
    let _one = one_at_a_time();
    CThread::start(|| {
        shared(Some(0xdead));
        for _ in 0..3 {
            ffi::callback(|| {
                assert_eq!(shared(None), 0xdead);
                thread::spawn(|| assert_ne!(shared(None), 0xdead)).join().unwrap();
            });
            assert_eq!(shared(None), 0xdead);
        }
        shared(Some(0));
    })
    .join();
}

/// Go's `TestIssue59213`: a host that has taken the 64 slots of a thread's block before it loads the library. Row W-05.
#[test]
fn a_host_may_have_taken_all_near_slots() {
    const NAME: &str = "a_host_may_have_taken_all_near_slots";
    if !is_child(NAME) {
        let (code, text) = child(NAME);
        assert_eq!(code, 0, "{text}");
        assert!(text.contains("beyond the near slots: 42"), "{text}");
        return;
    }
    // SAFETY: no preconditions.
    while unsafe { TlsAlloc() } < 64 {}
    CThread::start(|| {
        assert!(is_none());
        for _ in 0..3 {
            let g = ffi::callback(|| thread::spawn(|| ffi::callback(|| 42)));
            println!("beyond the near slots: {}", g.join().unwrap());
        }
        assert!(!is_none());
    })
    .join();
    assert_eq!(stats().extra_ms_in_use, 0);
}

/// A host that handles exceptions goes on doing so, within callbacks too. Row W-02.
#[test]
fn exceptions_are_the_hosts_to_handle() {
    const OURS: i32 = 0x2a;
    static SEEN: AtomicUsize = AtomicUsize::new(0);
    /// A vectored handler.
    unsafe extern "system" fn settle(pointers: *mut EXCEPTION_POINTERS) -> i32 {
        // SAFETY: the system passes a valid record.
        if unsafe { (*(*pointers).ExceptionRecord).ExceptionCode } != OURS {
            return EXCEPTION_CONTINUE_SEARCH;
        }
        SEEN.fetch_add(1, SeqCst);
        EXCEPTION_CONTINUE_EXECUTION
    }
    // SAFETY: the handler settles the exception, which nothing else is done about.
    let raise = || unsafe { RaiseException(OURS as u32, 0, 0, ptr::null()) };
    let _one = one_at_a_time();
    CThread::start(move || {
        // SAFETY: the handler minds nobody's exceptions but this test's, and is taken out below.
        let handler = unsafe { AddVectoredExceptionHandler(1, Some(settle)) };
        raise();
        ffi::callback(raise);
        ffi::callback(|| thread::spawn(raise).join().unwrap());
        // SAFETY: installed above.
        unsafe { RemoveVectoredExceptionHandler(handler) };
    })
    .join();
    assert_eq!(SEEN.load(SeqCst), 3);
}

#[test]
fn the_last_error_is_the_callers() {
    let _one = one_at_a_time();
    CThread::start(|| {
        // SAFETY: no preconditions.
        let last = || unsafe { GetLastError() };
        for error in 70..73 {
            // SAFETY: no preconditions.
            unsafe { SetLastError(error) };
            assert_eq!(ffi::callback(last), error);
            assert_eq!(last(), error);
        }
    })
    .join();
}

/// Go's `TestBlockingCallback`. Row W-13.
#[test]
fn a_callback_may_block_until_a_goroutine_acts() {
    let _one = one_at_a_time();
    CThread::start(|| {
        let received = ffi::callback(|| {
            let (sender, receiver) = mpsc::channel();
            thread::spawn(move || {
                thread::yield_now();
                sender.send(7).unwrap();
            });
            receiver.recv().unwrap()
        });
        assert_eq!(received, 7);
    })
    .join();
}

/// Go's `TestCallbackPanicLoop`: panics stop at the boundary. Row W-11.
#[test]
fn panics_in_callbacks_leave_the_thread_as_it_was() {
    let _one = one_at_a_time();
    CThread::start(|| {
        for round in 0..1000 {
            let payload = Box::new(format!("round {round}"));
            assert_eq!(ffi::callback_or(|| resume_unwind(payload), || -1), -1);
            assert_eq!(ffi::take_last_panic(), Some(format!("round {round}")));
        }
        assert_eq!(ffi::callback(|| stats().callbacks), 1);
    })
    .join();
}

/// Go's `TestBigStackCallbackSyscall`: nothing is assumed of a host's stack. Row W-21.
#[test]
fn a_large_stack_of_the_hosts() {
    fn deep(left: usize) -> usize {
        let frame = [left as u8; 1024];
        core::hint::black_box(&frame);
        if left == 0 {
            return ffi::callback(|| 1);
        }
        deep(left - 1) + usize::from(frame[0] == left as u8)
    }
    let _one = one_at_a_time();
    CThread::with_stack(32 << 20, || assert_eq!(ffi::callback(|| deep(12 << 10)), 1 + (12 << 10))).join();
}

/// Go's `TestEnumWindows` and `TestCallback`: through a function of the system's that calls back, also one within the other.
/// Row W-07, W-08.
#[test]
fn the_system_calls_back() {
    thread_local! {
        static DEPTH: Cell<usize> = const { Cell::new(0) };
        static CALLS: Cell<usize> = const { Cell::new(0) };
    }
    unsafe extern "system" fn each(_name: windows_sys::core::PCSTR) -> BOOL {
        ffi::callback(|| {
            CALLS.set(CALLS.get() + 1);
            if DEPTH.get() < 3 {
                DEPTH.set(DEPTH.get() + 1);
                // SAFETY: the callback is right for this function.
                unsafe { EnumSystemLocalesA(Some(each), LCID_INSTALLED) };
            }
            0 // no more
        })
    }
    let _one = one_at_a_time();
    let run = || {
        // SAFETY: as above.
        unsafe { EnumSystemLocalesA(Some(each), LCID_INSTALLED) };
        assert_eq!((DEPTH.get(), CALLS.get()), (3, 4));
    };
    CThread::start(run).join();
    thread::spawn(run).join().unwrap();
}

#[test]
fn threads_of_the_systems_pool_call_in() {
    unsafe extern "system" fn work(_: PTP_CALLBACK_INSTANCE, sender: *mut c_void) {
        // SAFETY: the test passes a sender of this type, boxed, once for each call.
        let sender = unsafe { Box::from_raw(sender.cast::<mpsc::Sender<usize>>()) };
        sender.send(ffi::callback(|| 5)).unwrap();
    }
    let _one = one_at_a_time();
    let (sender, receiver) = mpsc::channel::<usize>();
    for _ in 0..20 {
        let boxed = Box::into_raw(Box::new(sender.clone()));
        // SAFETY: `work` takes the sender over.
        assert_eq!(unsafe { TrySubmitThreadpoolCallback(Some(work), boxed.cast(), ptr::null()) }, TRUE);
    }
    drop(sender);
    assert_eq!(receiver.iter().sum::<usize>(), 100);
}

/// A host that runs callbacks on fibers: they belong to the thread, and end in the reverse order of their beginning. Row X-06.
#[test]
fn fibers_of_a_host() {
    struct Fibers {
        thread: *mut c_void,
        inner: *mut c_void,
        log: Vec<&'static str>,
    }
    unsafe extern "system" fn inner(fibers: *mut c_void) {
        let fibers = fibers.cast::<Fibers>();
        // SAFETY: one fiber runs at a time, and the record outlives all of them.
        unsafe {
            (*fibers).log.push("inner begins");
            ffi::callback(|| {
                assert_eq!(stats().callbacks, 1, "one thread");
                SwitchToFiber((*fibers).thread);
                (*fibers).log.push("inner goes on");
            });
            SwitchToFiber((*fibers).thread);
        }
    }
    let _one = one_at_a_time();
    let before = stats().extra_ms_in_use;
    CThread::start(move || {
        let mut fibers = Fibers { thread: ptr::null_mut(), inner: ptr::null_mut(), log: Vec::new() };
        let at = &raw mut fibers;
        // SAFETY: each fiber is switched to while it lives, by one thread.
        unsafe {
            (*at).thread = ConvertThreadToFiber(ptr::null());
            (*at).inner = CreateFiber(0, Some(inner), at.cast());
            ffi::callback(|| {
                SwitchToFiber((*at).inner);
                (*at).log.push("outer goes on");
                assert_eq!(stats().extra_ms_in_use, before + 1, "the M is the thread's");
                SwitchToFiber((*at).inner);
            });
            DeleteFiber((*at).inner);
            assert_eq!(stats().extra_ms_in_use, before + 1, "a fiber's end is not the thread's");
            assert_eq!(ffi::callback(|| 1), 1);
            ConvertFiberToThread();
        }
        assert_eq!(fibers.log, ["inner begins", "outer goes on", "inner goes on"]);
    })
    .join();
    assert_eq!(stats().extra_ms_in_use, before);
}

/// A thread that is ended from outside, within a callback, holds no lock of ours for ever. Row X-23.
#[test]
fn a_thread_terminated_within_a_callback_is_only_lost() {
    const NAME: &str = "a_thread_terminated_within_a_callback_is_only_lost";
    if !is_child(NAME) {
        let (code, text) = child(NAME);
        assert_eq!(code, 0, "{text}");
        return;
    }
    for _ in 0..10 {
        let (sender, receiver) = mpsc::channel();
        let c = CThread::start(move || {
            ffi::callback(|| {
                sender.send(()).unwrap();
                loop {
                    thread::park();
                }
            });
        });
        receiver.recv().unwrap();
        // SAFETY: the thread holds nothing that others want: it parks, or is about to.
        unsafe { TerminateThread(c.0, 1) };
        c.join();
        CThread::start(|| assert_eq!(ffi::callback(|| thread::spawn(|| 3).join().unwrap()), 3)).join();
    }
    assert_eq!(stats().callbacks, 10, "they never came back");
    let refused = gort_rt::shutdown(std::time::Duration::ZERO).unwrap_err().to_string();
    assert!(refused.contains("10 callbacks"), "{refused}");
}

#[test]
fn goroutines_of_the_other_kind_are_refused() {
    const NAME: &str = "goroutines_of_the_other_kind_are_refused";
    if !is_child(NAME) {
        let (code, text) = child(NAME);
        assert_eq!(code, 0, "{text}");
        return;
    }
    let refused = Config::new().backend(Backend::Goroutines).start().unwrap_err().to_string();
    assert!(refused.contains("Windows") && refused.contains("GORT_BACKEND=threads"), "{refused}");
    assert_eq!(thread::spawn(|| 4).join().unwrap(), 4, "the usual kind is to be had all the same");
    assert_eq!(gort_rt::backend().unwrap(), Backend::Threads);
}

#[test]
fn a_dump_shows_goroutines_and_threads_that_have_called_in() {
    const NAME: &str = "a_dump_shows_goroutines_and_threads_that_have_called_in";
    if !is_child(NAME) {
        let (code, text) = child(NAME);
        assert_eq!(code, 0, "{text}");
        assert!(text.contains("the sleeper") && text.contains("1 bound to a thread, 1 in a callback"), "{text}");
        return;
    }
    let (begun, begins) = mpsc::channel();
    let sleeper = thread::Builder::new().name("the sleeper".into());
    let sleeper = sleeper.spawn(move || {
        begun.send(()).unwrap();
        thread::park();
    });
    begins.recv().unwrap();
    CThread::start(|| ffi::callback(|| gort_rt::dump(2).unwrap())).join();
    let sleeper = sleeper.unwrap();
    sleeper.thread().unpark();
    sleeper.join().unwrap();
}
