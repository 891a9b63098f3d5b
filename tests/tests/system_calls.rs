//! What a callback costs in system calls, as a seccomp filter sees them.

use gort::ffi;
use gort_tests::subprocess::alone;
use gort_tests::watch::system_calls;

/// A call that nothing here makes by itself: it divides what is counted.
fn mark() {
    // SAFETY: no preconditions.
    unsafe { libc::syscall(libc::SYS_getpgid, 0) };
}

/// The system calls before the mark.
fn before_mark(calls: &[i64]) -> &[i64] {
    let at = calls.iter().position(|&nr| nr == libc::SYS_getpgid).expect("the mark was seen");
    &calls[..at]
}

/// Lets the process make everything that it makes once, such as the runtime's key.
fn warm_up() {
    gort_tests::cthreads::CThread::spawn(|| ffi::callback(|| ())).join();
}

#[test]
fn the_counter_counts() {
    alone("the_counter_counts", || {
        let calls = system_calls(
            || (),
            || {
                // SAFETY: no preconditions.
                ffi::callback(|| unsafe { libc::syscall(libc::SYS_getppid) });
                mark();
            },
        );
        assert!(before_mark(&calls).contains(&libc::SYS_getppid), "{calls:?}");
        assert_eq!(calls.last(), Some(&libc::SYS_exit), "up to the thread's very end");
    });
}

/// Row X-03.
#[test]
fn none_from_the_second_callback_on() {
    alone("none_from_the_second_callback_on", || {
        let calls = system_calls(
            || ffi::callback(|| ()),
            || {
                let mut sum = 0u64;
                for i in 0..1000 {
                    ffi::callback(|| sum += i);
                    ffi::callback_or(|| gort_tests::cthreads::through_c(|| ffi::callback(|| sum += i)), || ());
                }
                assert_eq!(sum, 999_000);
                mark();
            },
        );
        assert_eq!(before_mark(&calls), [0i64; 0]);
    });
}

/// Row X-04.
#[test]
fn few_for_the_first_one_and_the_exit() {
    alone("few_for_the_first_one_and_the_exit", || {
        warm_up();
        let bare = system_calls(|| (), || ());
        let with = system_calls(|| (), || ffi::callback(|| ()));
        assert!(!bare.is_empty(), "a thread's end is seen at least");
        assert!(with.len() <= bare.len() + 3, "{bare:?} without, {with:?} with a callback");
        assert_eq!(gort::stats().extra_ms_in_use, 0);
    });
}

#[test]
fn few_for_the_first_one_of_the_process() {
    alone("few_for_the_first_one_of_the_process", || {
        let bare = system_calls(|| (), || ());
        let with = system_calls(|| (), || ffi::callback(|| ()));
        assert_eq!(gort::stats().extra_ms, 1);
        assert!(with.len() <= bare.len() + 10, "{bare:?} without, {with:?} with a callback");
    });
}
