//! fork on a goroutine and on a thread: the child is a plain process, where plain things work and goroutines do not.

use gort::{ffi, thread};
use gort_tests::cthreads::{through_c, CThread};
use gort_tests::subprocess::{role, Rerun};
use std::ffi::{c_void, CStr};
use std::panic::catch_unwind;
use std::sync::{mpsc, Barrier, Condvar, Mutex};
use std::time::{Duration, Instant};

/// Forks, runs `child` in the child, and returns its exit code.
fn fork(child: impl FnOnce() -> i32) -> i32 {
    // SAFETY: the child only does what a child of a process with threads may do here: see the tests.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        let code = catch_unwind(std::panic::AssertUnwindSafe(child)).unwrap_or(99);
        // SAFETY: ends the child without running the test harness in it.
        unsafe { libc::_exit(code) };
    }
    assert!(pid > 0);
    let mut status = 0;
    // SAFETY: the child is ours; the status is written to a live integer.
    assert_eq!(gort::ffi::blocking(|| unsafe { libc::waitpid(pid, &mut status, 0) }), pid);
    assert!(libc::WIFEXITED(status), "the child died of signal {}", libc::WTERMSIG(status));
    libc::WEXITSTATUS(status)
}

/// Runs the test of this name in children: with one P and two, plain, with chaos, and with blocks of donors. True in a child.
fn alone_in_each_setting(test: &str) -> bool {
    if role().is_none() {
        for procs in ["1", "2"] {
            for (name, value) in [("GORT_CHAOS", ""), ("GORT_CHAOS", "3"), ("GORT_IDENTITY", "donor")] {
                Rerun::of(test, "child").env("GORT_PROCS", procs).env(name, value).run().success();
            }
        }
    }
    role().is_some()
}

/// What the child of a goroutine does with std.
fn plain_things_work() -> i32 {
    let lock = Mutex::new(1);
    *lock.lock().unwrap() += 1;
    let before = Instant::now();
    let timed_out = Condvar::new().wait_timeout(lock.lock().unwrap(), Duration::from_millis(2)).unwrap().1.timed_out();
    std::thread::sleep(Duration::from_millis(2));
    thread::sleep(Duration::from_millis(2));
    thread::yield_now();
    thread::park_timeout(Duration::from_millis(2));
    let long_enough = before.elapsed() >= Duration::from_millis(8);
    let (to, from) = mpsc::channel();
    // A thread of the child's own, and a wake between the two.
    let t = std::thread::spawn(move || to.send(40).unwrap());
    let sum = from.recv().unwrap() + *lock.lock().unwrap();
    t.join().unwrap();
    if timed_out && long_enough {
        sum
    } else {
        98
    }
}

fn spawning_is_a_clear_error() -> i32 {
    let e = thread::Builder::new().spawn(|| ()).unwrap_err().to_string();
    let panic = catch_unwind(|| thread::spawn(|| ())).map(drop).unwrap_err();
    let text = panic.downcast_ref::<String>().cloned().unwrap_or_default();
    if e.contains("fork") && text.contains("fork") {
        43
    } else {
        97
    }
}

fn exec() -> i32 {
    let sh: &CStr = c"/bin/sh";
    let args = [sh.as_ptr(), c"-c".as_ptr(), c"exit 44".as_ptr(), std::ptr::null()];
    // SAFETY: C strings and an array that ends in null.
    unsafe { libc::execv(sh.as_ptr(), args.as_ptr()) };
    96
}

/// libc forgets the threads that the child has not: it gives the child's new threads their stacks, or frees them when it keeps too
/// many. The one that ran the goroutine is among them, though the child goes on in its place.
fn stacks_of_lost_threads_may_go() -> i32 {
    for megabytes in [1, 64, 1] {
        let deep = std::thread::Builder::new().stack_size(megabytes << 20);
        deep.spawn(|| std::thread::sleep(Duration::from_millis(1))).unwrap().join().unwrap();
        std::thread::sleep(Duration::from_millis(1));
    }
    45
}

#[test]
fn a_child_of_many_threads_does_without_them() {
    if !alone_in_each_setting("a_child_of_many_threads_does_without_them") {
        return;
    }
    let over = Barrier::new(21);
    std::thread::scope(|scope| {
        // Libc keeps 40 MiB of stacks; these are more.
        for _ in 0..20 {
            std::thread::Builder::new().stack_size(4 << 20).spawn_scoped(scope, || over.wait()).unwrap();
        }
        for _ in 0..10 {
            assert_eq!(thread::spawn(|| fork(stacks_of_lost_threads_may_go)).join().unwrap(), 45);
        }
        over.wait();
    });
}

/// They may have the numbers of threads that were in callbacks when the process forked.
fn threads_of_the_child_can_be_cancelled() -> i32 {
    extern "C" fn wait_for_ever(_: *mut c_void) -> *mut c_void {
        loop {
            // SAFETY: it has no arguments, and nothing is there to drop.
            unsafe { libc::pause() };
        }
    }
    for _ in 0..8 {
        let mut thread = 0;
        // SAFETY: the function takes any argument; the thread is joined once.
        unsafe {
            assert_eq!(libc::pthread_create(&mut thread, std::ptr::null(), wait_for_ever, std::ptr::null_mut()), 0);
            assert_eq!(libc::pthread_cancel(thread), 0);
            assert_eq!(libc::pthread_join(thread, std::ptr::null_mut()), 0);
        }
    }
    46
}

#[test]
fn a_child_of_callbacks_may_cancel_its_threads() {
    if !alone_in_each_setting("a_child_of_callbacks_may_cancel_its_threads") {
        return;
    }
    thread::spawn(|| ()).join().unwrap();
    let (inside, over) = (&*Box::leak(Box::new(Barrier::new(5))), &*Box::leak(Box::new(Barrier::new(5))));
    // With stacks as the child's threads have them, which libc therefore gives to those.
    let in_callback = || {
        gort::ffi::callback(|| {
            inside.wait();
            over.wait();
        });
    };
    let threads: Vec<_> = (0..4).map(|_| CThread::spawn(in_callback)).collect();
    inside.wait();
    assert_eq!(fork(threads_of_the_child_can_be_cancelled), 46);
    over.wait();
    threads.into_iter().for_each(CThread::join);
}

/// Row X-10.
#[test]
fn fork_works_from_anywhere() {
    if !alone_in_each_setting("fork_works_from_anywhere") {
        return;
    }
    let from_everywhere = |child: fn() -> i32, code: i32| {
        assert_eq!(thread::spawn(move || fork(child)).join().unwrap(), code, "from a goroutine");
        assert_eq!(fork(child), code, "from a thread, after goroutines ran");
        let after_parks = thread::spawn(move || {
            (0..10).for_each(|_| thread::spawn(|| ()).join().unwrap());
            fork(child)
        });
        assert_eq!(after_parks.join().unwrap(), code);
    };
    from_everywhere(plain_things_work, 42);
    from_everywhere(spawning_is_a_clear_error, 43);
    from_everywhere(exec, 44);
    // The parent goes on.
    assert_eq!(thread::spawn(|| thread::spawn(|| 5).join().unwrap()).join().unwrap(), 5);
}

#[test]
fn a_child_forked_before_the_first_goroutine_may_spawn() {
    const NAME: &str = "a_child_forked_before_the_first_goroutine_may_spawn";
    if role().is_none() {
        Rerun::of(NAME, "child").env("GORT_PROCS", "2").run().success();
        return;
    }
    assert_eq!(fork(|| thread::spawn(|| thread::spawn(|| 21).join().unwrap() * 2).join().unwrap()), 42);
    assert_eq!(thread::spawn(|| 5).join().unwrap(), 5, "and so may the parent");
}

/// What the child of a host does with callbacks: on the thread that forked, in nested ones, and on threads of its own.
/// Those that spawn are told why they cannot.
fn callbacks_work() -> i32 {
    let nested = || ffi::callback(|| through_c(|| ffi::callback(|| 20)));
    let own = CThread::spawn(move || nested() + nested()).join();
    let again = CThread::spawn(|| ffi::callback(|| std::thread::spawn(|| 2).join().unwrap())).join();
    let refused = ffi::callback(|| thread::Builder::new().spawn(|| ()).is_err_and(|e| e.to_string().contains("fork")));
    let caught = ffi::try_callback(|| thread::spawn(|| ())).is_err();
    if refused && caught && nested() == 20 {
        own + again
    } else {
        95
    }
}

/// Row X-10.
#[test]
fn a_host_forks_after_use_and_the_child_calls_in() {
    const NAME: &str = "a_host_forks_after_use_and_the_child_calls_in";
    if role().is_none() {
        for (procs, chaos) in [("1", ""), ("2", ""), ("1", "3"), ("2", "4")] {
            Rerun::of(NAME, "child").env("GORT_PROCS", procs).env("GORT_CHAOS", chaos).run().success();
        }
        return;
    }
    // A thread that has not called in before, one that has, and one that is in a callback, of which the child returns.
    let places: [fn() -> i32; 4] = [
        || fork(callbacks_work),
        || {
            ffi::callback(|| thread::spawn(|| ()).join().unwrap());
            fork(callbacks_work)
        },
        || ffi::callback(|| through_c(|| fork(callbacks_work))),
        returns_from_callbacks,
    ];
    /// The child goes on where it was forked, returns from the callbacks, and calls in again.
    fn returns_from_callbacks() -> i32 {
        // SAFETY: the child does what `callbacks_work` says.
        let pid = ffi::callback(|| through_c(|| ffi::callback(|| unsafe { libc::fork() })));
        if pid == 0 {
            let code = catch_unwind(callbacks_work).unwrap_or(99);
            // SAFETY: ends the child without running the test harness in it.
            unsafe { libc::_exit(code) };
        }
        assert!(pid > 0);
        let mut status = 0;
        // SAFETY: the child is ours; the status is written to a live integer.
        assert_eq!(unsafe { libc::waitpid(pid, &mut status, 0) }, pid);
        libc::WEXITSTATUS(status)
    }
    thread::spawn(|| ()).join().unwrap();
    for place in places {
        for _ in 0..5 {
            assert_eq!(CThread::spawn(place).join(), 42);
        }
        assert_eq!(thread::spawn(|| thread::spawn(|| 5).join().unwrap()).join().unwrap(), 5, "the parent goes on");
    }
    assert_eq!(gort::stats().callbacks, 0);
}
