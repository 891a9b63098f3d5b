//! The system's functions that park goroutines on Windows: which there are, and that they hold no kernel thread.

use gort::thread;
use gort_tests::needs_goroutines;
use gort_tests::subprocess::{is_child, Rerun};
use std::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, AtomicU8, Ordering};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

#[test]
fn the_report_says_what_is_live() {
    if is_child() {
        assert!(!gort::interpose::report().enabled);
        assert!(gort::interpose::report().to_string().contains("off (GORT_INTERPOSE=0)"));
        return;
    }
    let report = gort::interpose::report();
    assert!(report.enabled);
    // What std imports is in every program.
    for name in ["WaitOnAddress", "WakeByAddressSingle", "WakeByAddressAll", "Sleep", "WaitForSingleObject"] {
        assert!(report.hooks.iter().any(|hook| hook.name == name && hook.live), "{name}: {report}");
    }
    Rerun::of("the_report_says_what_is_live", "child").env("GORT_INTERPOSE", "0").run().success();
}

/// Sleeps by std's function, which sets a timer of high resolution and waits for it, or by the system's.
fn sleep(by_std: bool, time: Duration) {
    if by_std {
        return std::thread::sleep(time);
    }
    // SAFETY: no preconditions.
    unsafe { windows_sys::Win32::System::Threading::Sleep(time.as_millis() as u32) };
}

#[test]
fn sleepers_hold_no_kernel_thread() {
    needs_goroutines!("each is a kernel thread");
    if !is_child() {
        Rerun::of("sleepers_hold_no_kernel_thread", "child").env("GORT_PROCS", 2).run().success();
        return;
    }
    static ASLEEP: AtomicU32 = AtomicU32::new(0);
    for by_std in [true, false] {
        let before = ASLEEP.load(Ordering::Relaxed);
        for _ in 0..500 {
            thread::spawn(move || {
                ASLEEP.fetch_add(1, Ordering::Relaxed);
                sleep(by_std, Duration::from_secs(3600)); // longer than this process lives
            });
        }
        thread::spawn(move || {
            while ASLEEP.load(Ordering::Relaxed) < before + 500 {
                thread::yield_now();
            }
        })
        .join()
        .unwrap();
        let threads = gort::stats().kernel_threads;
        assert!(threads < 60, "{threads} kernel threads");
    }
}

#[test]
fn sleeps_last() {
    const TIME: Duration = Duration::from_millis(20);
    let sleepers = (0..100).map(|n| {
        thread::spawn(move || {
            let before = Instant::now();
            sleep(n % 2 == 0, TIME);
            before.elapsed()
        })
    });
    let sleepers: Vec<_> = sleepers.collect();
    sleepers.into_iter().for_each(|sleeper| assert!(sleeper.join().unwrap() >= TIME));
}

#[test]
fn words_of_all_sizes_are_waited_on() {
    needs_goroutines!("the system does that for threads");
    fn each<T: Sync + Send + 'static>(word: T, size: usize, change: fn(&T)) {
        use windows_sys::Win32::System::Threading::{WaitOnAddress, WakeByAddressAll, INFINITE};
        let word = Arc::new(word);
        let begun = Arc::new(Barrier::new(3));
        let waiters: Vec<_> = (0..2)
            .map(|_| {
                let (word, begun) = (word.clone(), begun.clone());
                thread::spawn(move || {
                    begun.wait();
                    let zero = 0u64;
                    // SAFETY: both words have that size.
                    let read = || unsafe { std::ptr::from_ref(&*word).cast::<u8>().read_volatile() };
                    while read() == 0 {
                        // SAFETY: as above.
                        unsafe {
                            WaitOnAddress(std::ptr::from_ref(&*word).cast(), (&raw const zero).cast(), size, INFINITE)
                        };
                    }
                })
            })
            .collect();
        begun.wait();
        change(&word);
        // SAFETY: the address alone counts.
        unsafe { WakeByAddressAll(std::ptr::from_ref(&*word).cast()) };
        waiters.into_iter().for_each(|waiter| waiter.join().unwrap());
    }
    each(AtomicU8::new(0), 1, |word| word.store(1, Ordering::SeqCst));
    each(AtomicU16::new(0), 2, |word| word.store(1, Ordering::SeqCst));
    each(AtomicU32::new(0), 4, |word| word.store(1, Ordering::SeqCst));
    each(AtomicU64::new(0), 8, |word| word.store(1, Ordering::SeqCst));
}

#[test]
fn a_wait_that_times_out_says_so() {
    use windows_sys::Win32::Foundation::{GetLastError, SetLastError, ERROR_TIMEOUT};
    use windows_sys::Win32::System::Threading::WaitOnAddress;
    thread::spawn(|| {
        let (word, same, other) = (0u32, 0u32, 1u32);
        let wait = |compare: &u32| {
            // SAFETY: words of four bytes; the last error is the caller's.
            unsafe {
                SetLastError(77);
                let result = WaitOnAddress((&raw const word).cast(), std::ptr::from_ref(compare).cast(), 4, 5);
                (result != 0, GetLastError())
            }
        };
        assert_eq!(wait(&other), (true, 77), "not what was expected: no wait");
        loop {
            match wait(&same) {
                (true, _) => {} // for no reason, as it may
                timed_out => break assert_eq!(timed_out, (false, ERROR_TIMEOUT)),
            }
        }
    })
    .join()
    .unwrap();
}

/// What has no hook of its own, a thread's end, is waited for while others run.
#[test]
fn a_wait_for_a_thread_lets_others_run() {
    needs_goroutines!("each is a kernel thread");
    if !is_child() {
        Rerun::of("a_wait_for_a_thread_lets_others_run", "child").env("GORT_PROCS", 1).run().success();
        return;
    }
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let joins = thread::spawn(move || std::thread::spawn(move || wait.recv().unwrap()).join().unwrap());
    let other = thread::spawn(move || go.send(()).unwrap());
    other.join().unwrap();
    joins.join().unwrap();
}
