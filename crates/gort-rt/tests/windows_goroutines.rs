//! Goroutines on Windows: what is their own though they share kernel threads, and what is the kernel thread's.

#![cfg(all(windows, target_env = "gnu"))]

mod c_threads;

use c_threads::{child, is_child, one_at_a_time};
use core::ffi::c_void;
use core::mem::transmute;
use core::ptr;
use gort_rt::{ffi, thread, Config};
use std::cell::Cell;
use std::hint::black_box;
use std::panic::{catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use windows_sys::core::{s, w, BOOL};
use windows_sys::Win32::Foundation::{GetLastError, SetLastError, EXCEPTION_ACCESS_VIOLATION};
use windows_sys::Win32::System::LibraryLoader::{GetModuleHandleW, GetProcAddress};
use windows_sys::Win32::System::Threading::{GetCurrentThreadId, TlsAlloc, TlsFree, TlsGetValue, TlsSetValue};

/// Skips a test where the environment chooses kernel threads.
macro_rules! on_goroutines {
    () => {
        if gort_rt::backend().unwrap() == gort_rt::Backend::Threads {
            return;
        }
    };
}

/// Runs `f(n)` on as many goroutines at a time.
fn on_each(n: usize, f: impl Fn(usize) + Sync) {
    thread::scope(|scope| {
        for n in 0..n {
            let f = &f;
            scope.spawn(move || f(n));
        }
    });
}

#[test]
fn each_goroutine_has_its_own_variables() {
    on_goroutines!();
    thread_local! {
        static NUMBER: Cell<usize> = const { Cell::new(7) };
        static TEXT: Cell<String> = Cell::new("fresh".to_owned());
    }
    let ids = std::sync::Mutex::new(std::collections::HashSet::new());
    for _ in 0..3 {
        on_each(100, |n| {
            assert_eq!((NUMBER.get(), TEXT.take().as_str()), (7, "fresh"));
            NUMBER.set(n);
            TEXT.set(n.to_string());
            for _ in 0..5 {
                thread::yield_now();
                assert_eq!(NUMBER.get(), n);
                assert_eq!(TEXT.take(), n.to_string());
                TEXT.set(n.to_string());
            }
            assert!(ids.lock().unwrap().insert(std::thread::current().id()), "an id of its own");
        });
    }
    assert_eq!(ids.lock().unwrap().len(), 300);
}

#[test]
fn destructors_run_at_its_end_once() {
    on_goroutines!();
    static DROPPED: AtomicUsize = AtomicUsize::new(0);
    struct Counts(&'static str);
    impl Drop for Counts {
        fn drop(&mut self) {
            assert_eq!(self.0, "mine");
            DROPPED.fetch_add(1, Ordering::Relaxed);
            LATE.with(|late| late.set(None)); // a variable that another's destructor makes
        }
    }
    thread_local! {
        static OWN: Cell<Option<Counts>> = const { Cell::new(None) };
        static LATE: Cell<Option<Counts>> = const { Cell::new(None) };
    }
    for round in 1..=50 {
        thread::spawn(|| {
            OWN.set(Some(Counts("mine")));
            thread::yield_now();
        })
        .join()
        .unwrap();
        assert_eq!(DROPPED.load(Ordering::Relaxed), round, "before who joins goes on");
    }
}

#[test]
fn values_under_keys_are_its_own_near_and_far() {
    on_goroutines!();
    const KEYS: usize = 100; // more than a block has places for
                             // SAFETY: no preconditions.
    let keys: Vec<u32> = (0..KEYS).map(|_| unsafe { TlsAlloc() }).collect();
    assert!(keys.iter().any(|&key| key >= 64));
    // SAFETY: the keys are ours.
    let get = |key| unsafe { TlsGetValue(key) }.addr();
    let set = |key, value| {
        // SAFETY: as above; nobody follows the value.
        assert_ne!(unsafe { TlsSetValue(key, ptr::without_provenance::<c_void>(value)) }, 0);
    };
    keys.iter().for_each(|&key| set(key, 1));
    for _ in 0..2 {
        on_each(10, |n| {
            assert!(keys.iter().all(|&key| get(key) == 0));
            keys.iter().for_each(|&key| set(key, n + 2));
            thread::yield_now();
            assert!(keys.iter().all(|&key| get(key) == n + 2));
        });
    }
    assert!(keys.iter().all(|&key| get(key) == 1), "this thread's");
    // A key that is new to all, though the number was in use.
    thread::scope(|scope| {
        let (has_set, sets) = std::sync::mpsc::channel();
        let keys = &keys;
        let waits = scope.spawn(move || {
            keys.iter().for_each(|&key| set(key, 9));
            has_set.send(()).unwrap();
            thread::park();
            keys.iter().all(|&key| get(key) == 0)
        });
        sets.recv().unwrap();
        // SAFETY: ours; the last use of what they were.
        keys.iter().for_each(|&key| assert_ne!(unsafe { TlsFree(key) }, 0));
        // SAFETY: no preconditions.
        let mut again: Vec<u32> = (0..KEYS).map(|_| unsafe { TlsAlloc() }).collect();
        again.sort_unstable();
        let mut sorted = keys.clone();
        sorted.sort_unstable();
        assert_eq!(again, sorted);
        waits.thread().unpark();
        assert!(waits.join().unwrap());
        // SAFETY: ours.
        again.iter().for_each(|&key| assert_ne!(unsafe { TlsFree(key) }, 0));
    });
}

/// Who asks the system itself gets what the system's own libraries get.
#[test]
fn the_systems_own_functions_see_the_kernel_thread() {
    on_goroutines!();
    type Get = unsafe extern "system" fn(u32) -> *mut c_void;
    type Set = unsafe extern "system" fn(u32, *const c_void) -> BOOL;
    let named = |name| {
        // SAFETY: the names are strings with an end.
        unsafe { GetProcAddress(GetModuleHandleW(w!("kernel32.dll")), name) }.unwrap()
    };
    type Any = unsafe extern "system" fn() -> isize;
    // SAFETY: the types are those of the functions with these names.
    let (get, set) =
        unsafe { (transmute::<Any, Get>(named(s!("TlsGetValue"))), transmute::<Any, Set>(named(s!("TlsSetValue")))) };
    // SAFETY: no preconditions.
    let key = unsafe { TlsAlloc() };
    thread::spawn(move || {
        ffi::lock_os_thread();
        // SAFETY: the key is ours; nobody follows the values.
        unsafe {
            assert_ne!(set(key, ptr::without_provenance(3)), 0);
            assert_eq!(TlsGetValue(key).addr(), 0);
            assert_ne!(TlsSetValue(key, ptr::without_provenance(4)), 0);
            assert_eq!(get(key).addr(), 3);
            let on_it = ffi::on_system_stack(|| TlsGetValue(key).addr());
            assert_eq!(on_it, 3, "there the caller is the kernel thread");
            assert_eq!(TlsGetValue(key).addr(), 4);
        }
    })
    .join()
    .unwrap();
    // SAFETY: ours.
    unsafe { TlsFree(key) };
}

extern "C" {
    fn _errno() -> *mut i32;
}

#[test]
fn errors_are_its_own() {
    on_goroutines!();
    on_each(20, |n| {
        // SAFETY: no preconditions; errno is the caller's.
        let seen = || unsafe { (GetLastError(), *_errno()) };
        assert_eq!(seen().1, 0, "as on a new thread");
        for round in 0..20 {
            let (last, errno) = (n as u32 * 100 + round, n as i32 * 100 - round as i32);
            // SAFETY: as above.
            unsafe {
                *_errno() = errno;
                SetLastError(last);
            }
            thread::yield_now();
            assert_eq!(seen(), (last, errno));
            ffi::blocking(thread::yield_now);
            assert_eq!(seen(), (last, errno));
        }
    });
}

/// Takes about `kib` KiB of stack, and says how much that was.
#[inline(never)]
fn deep(kib: usize, top: usize) -> usize {
    let frame = black_box([kib as u8; 1024]);
    let here = (&raw const frame).addr();
    if kib == 0 || top - here >= kib * 1024 {
        return top - here;
    }
    deep(kib, top).max(usize::from(frame[0] == 0))
}

#[test]
fn stacks_grow_as_they_are_used() {
    on_goroutines!();
    for kib in [4, 12, 20, 60, 150, 200] {
        on_each(8, |_| {
            let here = 0u8;
            for _ in 0..2 {
                assert!(deep(kib, (&raw const here).addr()) >= kib * 1024);
                thread::yield_now();
            }
        });
    }
    // A frame of many pages, which is touched from above.
    on_each(4, |n| {
        let frame = black_box([n as u8; 64 << 10]);
        thread::yield_now();
        assert!(frame.iter().all(|&byte| byte == n as u8));
    });
    let large = thread::Builder::new().stack_size(8 << 20).spawn(|| {
        let here = 0u8;
        deep(7 << 10, (&raw const here).addr())
    });
    assert!(large.unwrap().join().unwrap() >= 7 << 20);
}

#[test]
fn an_overflow_is_reported() {
    on_goroutines!();
    const NAME: &str = "an_overflow_is_reported";
    if !is_child(NAME) {
        let (_, text) = child(NAME);
        let size = "has overflowed its stack of 4";
        assert!(text.contains("gort: goroutine 'worker' (id ") && text.contains(size), "{text}");
        assert!(text.contains("raise it with Builder::stack_size"), "{text}");
        return;
    }
    Config::new().overflow_report(true).start().unwrap();
    let builder = || thread::Builder::new().name("worker".into()).stack_size(40 << 10);
    let go = |kib| {
        let worker = builder().spawn(move || {
            let here = 0u8;
            deep(kib, (&raw const here).addr())
        });
        worker.unwrap().join().unwrap()
    };
    // The second has a stack that another has used.
    assert!(go(30) >= 30 << 10);
    go(1 << 20);
}

/// A panic on a stack that has grown, with handlers on the way, and a backtrace that ends.
#[test]
fn panics_unwind() {
    on_goroutines!();
    #[inline(never)]
    fn down(n: u32) -> u32 {
        let room = black_box([n as u8; 500]);
        assert_ne!(n, 0, "the end");
        let result = match n % 50 {
            0 => catch_unwind(|| down(n - 1)).unwrap_or_else(|payload| resume_unwind(payload)),
            _ => down(n - 1),
        };
        result + u32::from(room[499] != n as u8)
    }
    on_each(4, |_| {
        for _ in 0..3 {
            assert!(catch_unwind(|| down(99)).is_err());
            thread::yield_now();
        }
        let trace = std::backtrace::Backtrace::force_capture().to_string();
        assert!(!trace.is_empty());
    });
    let panics = thread::spawn(|| -> () { panic!("expected") });
    assert_eq!(panics.join().unwrap_err().downcast_ref(), Some(&"expected"));
}

/// An exception that nobody handles ends the process as it does on a thread. Row W-17.
#[test]
fn an_unhandled_exception_ends_the_process() {
    use windows_sys::Win32::System::Diagnostics::Debug::{SetErrorMode, SetUnhandledExceptionFilter};
    use windows_sys::Win32::System::Diagnostics::Debug::{EXCEPTION_POINTERS, SEM_NOGPFAULTERRORBOX};
    const NAME: &str = "an_unhandled_exception_ends_the_process";
    const SEEN: u32 = 42;
    /// The host's, which is asked when no handler was found.
    unsafe extern "system" fn filter(pointers: *const EXCEPTION_POINTERS) -> i32 {
        // SAFETY: the system passes valid records.
        let code = unsafe { (*(*pointers).ExceptionRecord).ExceptionCode };
        let seen = if code == EXCEPTION_ACCESS_VIOLATION { SEEN } else { 1 };
        // SAFETY: no preconditions.
        unsafe { windows_sys::Win32::System::Threading::ExitProcess(seen) }
    }
    if !is_child(NAME) {
        let (code, text) = child(NAME);
        assert_eq!(code, SEEN as i32, "{text}");
        return;
    }
    // SAFETY: the filter is a function of this program's; the read is meant to fail.
    unsafe {
        SetErrorMode(SEM_NOGPFAULTERRORBOX);
        SetUnhandledExceptionFilter(Some(filter));
    }
    // SAFETY: none: the process is meant to end.
    let _ = thread::spawn(|| unsafe { black_box(ptr::without_provenance::<u8>(8)).read_volatile() }).join();
}

/// Others share the kernel thread, so it is no goroutine's to end.
#[test]
fn a_goroutine_that_ends_its_kernel_thread_is_told() {
    on_goroutines!();
    const NAME: &str = "a_goroutine_that_ends_its_kernel_thread_is_told";
    if !is_child(NAME) {
        let (_, text) = child(NAME);
        assert!(text.contains("gort: a goroutine has ended the kernel thread that it ran on"), "{text}");
        return;
    }
    // SAFETY: none: the process is meant to end.
    let _ = thread::spawn(|| unsafe { windows_sys::Win32::System::Threading::ExitThread(1) }).join();
}

/// Many more than there are kernel threads, and each goes from one to another.
#[test]
fn goroutines_move() {
    let _one = one_at_a_time();
    on_goroutines!();
    let threads = std::sync::Mutex::new(std::collections::HashSet::new());
    on_each(1000, |_| {
        for _ in 0..10 {
            // SAFETY: no preconditions.
            threads.lock().unwrap().insert(unsafe { GetCurrentThreadId() });
            thread::yield_now();
        }
    });
    assert!(threads.lock().unwrap().len() < 100);
}
