//! What C's locks say: the same on goroutines as on threads.

use gort::thread;
use gort_tests::locks::*;
use gort_tests::measure::{everywhere, on_goroutine};
use gort_tests::subprocess::without_chaos;
use libc::{CLOCK_MONOTONIC, CLOCK_REALTIME, EBUSY, EDEADLK, EINVAL, EPERM, ETIMEDOUT};
use std::time::{Duration, Instant};

const LONG: Duration = Duration::from_secs(30);
const SHORT: Duration = Duration::from_millis(3);

/// Types of mutexes as [`CMutex::of_type`] takes them.
const RECURSIVE: i32 = libc::PTHREAD_MUTEX_RECURSIVE;
const CHECKING: i32 = libc::PTHREAD_MUTEX_ERRORCHECK;

/// Who owns a mutex is the goroutine, wherever it runs.
#[test]
fn owners_are_goroutines() {
    let (checking, recursive) = (CMutex::of_type(CHECKING), CMutex::of_type(RECURSIVE));
    everywhere(|| {
        let hop = || (0..5).for_each(|_| thread::yield_now());
        assert_eq!(checking.unlock(), EPERM);
        assert_eq!(checking.lock(), 0);
        hop();
        assert_eq!((checking.lock(), checking.try_lock()), (EDEADLK, EBUSY));
        assert_eq!(checking.timed_lock(moment(CLOCK_REALTIME, LONG)), EDEADLK);
        for _ in 0..3 {
            assert_eq!(recursive.lock(), 0);
            hop();
        }
        on_goroutine(|| {
            assert_eq!((checking.unlock(), checking.try_lock(), recursive.try_lock()), (EPERM, EBUSY, EBUSY));
            assert_eq!(checking.timed_lock(moment(CLOCK_REALTIME, SHORT)), ETIMEDOUT);
            assert_eq!(recursive.timed_lock(moment(CLOCK_REALTIME, SHORT)), ETIMEDOUT);
        });
        hop();
        for _ in 0..3 {
            assert_eq!(recursive.try_lock(), 0);
            assert_eq!((recursive.unlock(), recursive.unlock()), (0, 0));
            hop();
        }
        assert_eq!(recursive.unlock(), EPERM);
        assert_eq!(CCond::new().wait(&recursive), EPERM);
        assert_eq!(checking.unlock(), 0);
    });
    let lock = CRwLock::of_kind(READERS_FIRST);
    everywhere(|| {
        assert_eq!(lock.write(), 0);
        thread::yield_now();
        assert_eq!((lock.read(), lock.write()), (EDEADLK, EDEADLK));
        lock.unlock();
    });
}

#[test]
fn deadlines_are_kept() {
    without_chaos("deadlines_are_kept", || {
        let (mutex, held, lock, sem) = (CMutex::new(), CMutex::new(), CRwLock::of_kind(READERS_FIRST), CSem::new(0));
        let (has, may_go) = (CSem::new(0), CSem::new(0));
        thread::scope(|s| {
            s.spawn(|| {
                assert_eq!((held.lock(), lock.write()), (0, 0));
                has.post();
                may_go.wait();
                lock.unlock();
                assert_eq!(held.unlock(), 0);
            });
            has.wait();
            everywhere(|| deadlines(&mutex, &held, &lock, &sem));
            may_go.post();
        });
    });
}

/// Of four objects: a mutex that is free, others that somebody else holds, and a semaphore at 0.
fn deadlines(mutex: &CMutex, held: &CMutex, lock: &CRwLock, sem: &CSem) {
    for clock in [CLOCK_REALTIME, CLOCK_MONOTONIC] {
        let cond = CCond::by(clock);
        let waits: [&dyn Fn(libc::timespec) -> i32; 6] = [
            &|at| held.clock_lock(clock, at),
            &|at| mutex.with(|| cond.timed_wait(mutex, at)),
            &|at| mutex.with(|| cond.clock_wait(mutex, clock, at)),
            &|at| lock.clock_read(clock, at),
            &|at| lock.clock_write(clock, at),
            &|at| sem.clock_wait(clock, at),
        ];
        for (i, wait) in waits.into_iter().enumerate() {
            let begin = Instant::now();
            assert_eq!(wait(moment(clock, SHORT)), ETIMEDOUT, "{i}");
            assert!(begin.elapsed() >= SHORT, "{i}");
            for past in [moment(clock, Duration::ZERO), libc::timespec { tv_sec: -1, tv_nsec: 0 }] {
                assert_eq!(wait(past), ETIMEDOUT, "{i}");
            }
            for tv_nsec in [-1, 1_000_000_000] {
                let bad = libc::timespec { tv_sec: moment(clock, LONG).tv_sec, tv_nsec };
                assert_eq!(wait(bad), EINVAL, "{i}");
            }
        }
    }
    assert_eq!(held.timed_lock(moment(CLOCK_REALTIME, SHORT)), ETIMEDOUT);
    assert_eq!(sem.timed_wait(moment(CLOCK_REALTIME, SHORT)), ETIMEDOUT);
    // Other clocks are refused by all; a lock that is free is got whatever the moment.
    let at = moment(CLOCK_MONOTONIC, SHORT);
    let other = libc::CLOCK_PROCESS_CPUTIME_ID;
    assert_eq!((held.clock_lock(other, at), mutex.clock_lock(other, at)), (EINVAL, EINVAL));
    assert_eq!(mutex.with(|| CCond::new().clock_wait(mutex, other, at)), EINVAL);
    assert_eq!(
        (lock.clock_read(other, at), lock.clock_write(other, at), sem.clock_wait(other, at)),
        (EINVAL, EINVAL, EINVAL)
    );
    let bad = libc::timespec { tv_sec: 0, tv_nsec: -1 };
    assert_eq!((mutex.timed_lock(bad), mutex.unlock()), (0, 0));
}

/// errno is a matter of the functions that return -1.
#[test]
fn errno_is_left_alone() {
    // SAFETY: the location is the caller's own.
    let errno = || unsafe { *libc::__errno_location() };
    everywhere(|| {
        let (sem, mutex, barrier) = (CSem::new(0), CMutex::new(), CBarrier::new(2));
        thread::scope(|s| {
            assert_eq!(mutex.lock(), 0);
            s.spawn(|| {
                sem.post();
                assert_eq!(mutex.lock(), 0);
                assert_eq!(mutex.unlock(), 0);
                barrier.wait();
            });
            // Not before: whoever spawns first starts the runtime, and std may wait there and leave EAGAIN.
            // SAFETY: as above.
            unsafe { *libc::__errno_location() = 77 };
            sem.wait();
            thread::yield_now();
            assert_eq!((mutex.unlock(), errno()), (0, 77));
            barrier.wait();
            assert_eq!(errno(), 77);
        });
    });
}
