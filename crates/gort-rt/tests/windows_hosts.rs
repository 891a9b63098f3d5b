//! What hosts on Windows do in callbacks and with the threads that make them: exceptions, fibers, the system's own callbacks.

#![cfg(windows)]

mod c_threads;

use c_threads::{child, is_child, one_at_a_time, CThread};
use core::ffi::c_void;
use core::ptr;
use gort_rt::{ffi, stats, thread};
use std::cell::Cell;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc;
use windows_sys::core::BOOL;
use windows_sys::Win32::Foundation::TRUE;
use windows_sys::Win32::Globalization::{EnumSystemLocalesA, LCID_INSTALLED};
use windows_sys::Win32::System::Diagnostics::Debug::{
    AddVectoredExceptionHandler, RaiseException, RemoveVectoredExceptionHandler, EXCEPTION_CONTINUE_EXECUTION,
    EXCEPTION_CONTINUE_SEARCH, EXCEPTION_POINTERS,
};
use windows_sys::Win32::System::Threading::{
    ConvertFiberToThread, ConvertThreadToFiber, CreateFiber, DeleteFiber, SwitchToFiber, TerminateThread,
    TrySubmitThreadpoolCallback, PTP_CALLBACK_INSTANCE,
};

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
