//! `lock_os_thread`: one kernel thread, for the goroutine alone, until the lock is undone or the goroutine ends.

use gort::ffi::{self, lock_os_thread, unlock_os_thread};
use gort_tests::cthreads::{eventually, thread_exists, through_c, tid, CThread};
use gort_tests::needs_goroutines;
use gort_tests::subprocess::{is_child, Rerun};
use std::collections::HashSet;
use std::ffi::c_void;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{mpsc, Arc};
use std::time::Duration;

/// A goroutine that returns what it gets, until there is no more.
fn echo() -> (mpsc::Sender<u32>, mpsc::Receiver<u32>) {
    let (to, theirs) = mpsc::channel();
    let (back, from) = mpsc::channel();
    gort::thread::spawn(move || theirs.into_iter().for_each(|n| back.send(n).unwrap()));
    (to, from)
}

/// Parks and yields; checks that it is always on kernel thread `home`.
fn stay(home: i32, rounds: u32) {
    let (to, from) = echo();
    for n in 0..rounds {
        to.send(n).unwrap();
        assert_eq!(from.recv().unwrap(), n);
        assert_eq!(tid(), home, "after a park");
        gort::thread::yield_now();
        assert_eq!(tid(), home, "after a yield");
    }
}

fn same_thread() {
    let locked = Arc::new(AtomicBool::new(false));
    let done = Arc::new(AtomicBool::new(false));
    let others: Vec<_> = (0..8)
        .map(|_| {
            let (locked, done) = (locked.clone(), done.clone());
            gort::thread::spawn(move || {
                let mut seen = HashSet::new();
                while !done.load(Ordering::Acquire) {
                    let before = locked.load(Ordering::Acquire);
                    let here = tid();
                    if before && locked.load(Ordering::Acquire) {
                        seen.insert(here);
                    }
                    gort::thread::yield_now();
                }
                seen
            })
        })
        .collect();
    let home = gort::thread::spawn(move || {
        lock_os_thread();
        let home = tid();
        locked.store(true, Ordering::Release);
        stay(home, 200);
        gort::thread::sleep(Duration::from_micros(100));
        assert_eq!(tid(), home, "after a sleep");
        locked.store(false, Ordering::Release);
        unlock_os_thread();
        done.store(true, Ordering::Release);
        home
    });
    let home = home.join().unwrap();
    for other in others {
        assert!(!other.join().unwrap().contains(&home), "nobody else runs on the locked thread");
    }
}

#[test]
fn same_thread_over_parks_and_yields() {
    same_thread();
}

#[test]
fn same_thread_when_others_are_moved_about() {
    if is_child() {
        return same_thread();
    }
    for seed in 1..=3 {
        for procs in [1, 2] {
            let child = Rerun::of("same_thread_when_others_are_moved_about", "child").inherit_all();
            child.env("GORT_CHAOS", seed).env("GORT_PROCS", procs).run().success();
        }
    }
}

/// Row P-01.
#[test]
fn locks_nest() {
    let goroutine = gort::thread::spawn(|| {
        lock_os_thread();
        lock_os_thread();
        lock_os_thread();
        let home = tid();
        unlock_os_thread();
        stay(home, 50);
        unlock_os_thread();
        stay(home, 50);
        unlock_os_thread();
        std::panic::catch_unwind(unlock_os_thread).unwrap_err()
    });
    let payload = goroutine.join().unwrap();
    let text = payload.downcast_ref::<&str>().unwrap();
    assert!(text.contains("unlock_os_thread without lock_os_thread"), "{text}");
}

#[test]
fn locked_in_callbacks_and_calls() {
    let goroutine = gort::thread::spawn(|| {
        lock_os_thread();
        let home = tid();
        through_c(|| ffi::callback(|| stay(home, 20)));
        ffi::blocking(|| {
            assert_eq!(tid(), home);
            through_c(|| ffi::callback(|| stay(home, 20)));
        });
        assert_eq!(ffi::on_system_stack(tid), home);
        stay(home, 20);
        unlock_os_thread();
    });
    goroutine.join().unwrap();
}

/// Two locked goroutines send numbers back and forth, up to `end`; the kernel threads that they were on.
fn take_turns(end: u32) -> [i32; 2] {
    let (to_b, from_a) = mpsc::channel();
    let (to_a, from_b) = mpsc::channel();
    let play = |first: bool, to: mpsc::Sender<u32>, from: mpsc::Receiver<u32>| {
        move || {
            lock_os_thread();
            let home = tid();
            if first {
                to.send(0).unwrap();
            }
            let mut last = 0;
            while last < end {
                last = from.recv().unwrap() + 1;
                assert_eq!(tid(), home);
                let _ = to.send(last);
            }
            home // still locked: the end of the goroutine ends its thread
        }
    };
    let a = gort::thread::spawn(play(true, to_b, from_b));
    let b = gort::thread::spawn(play(false, to_a, from_a));
    [a, b].map(|goroutine| goroutine.join().unwrap())
}

#[test]
fn two_locked_goroutines_take_turns() {
    let [a, b] = take_turns(399);
    assert_ne!(a, b);
}

/// How often the runtime's kernel threads, without those of `homes`, have gone to sleep.
fn sleeps_of_others(homes: &[i32]) -> u64 {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().map(|task| task.unwrap().path());
    let ours = tasks.filter(|task| {
        let tid: i32 = task.file_name().unwrap().to_str().unwrap().parse().unwrap();
        // One may end while we look.
        !homes.contains(&tid) && std::fs::read_to_string(task.join("comm")).is_ok_and(|name| name == "gort-m\n")
    });
    let statuses = ours.filter_map(|task| std::fs::read_to_string(task.join("status")).ok());
    statuses
        .filter_map(|text| text.split_once("\nvoluntary_ctxt_switches:")?.1.lines().next()?.trim().parse::<u64>().ok())
        .sum()
}

/// Each brings the P to the other. (Not by way of an idle M, which finds who is next and goes back to sleep.)
#[test]
fn two_locked_goroutines_need_no_third_thread() {
    needs_goroutines!("kernel threads are counted");
    const NAME: &str = "two_locked_goroutines_need_no_third_thread";
    if !is_child() {
        Rerun::of(NAME, "child").inherit_all().env("GORT_PROCS", 1).run().success();
        return;
    }
    const ROUNDS: u32 = 4000;
    let homes = take_turns(ROUNDS);
    let sleeps = sleeps_of_others(&homes);
    // sysmon may have sent somebody now and then.
    assert!(sleeps < u64::from(ROUNDS) / 4, "{sleeps} sleeps of others");
}

/// Tells on which kernel thread it runs.
unsafe extern "C" fn thread_ends(value: *mut c_void) {
    // SAFETY: the test leaked a sender for this.
    let tell = unsafe { Box::from_raw(value.cast::<mpsc::Sender<i32>>()) };
    let _ = tell.send(tid());
}

/// Row R-32.
#[test]
fn exit_while_locked_ends_the_kernel_thread() {
    let mut key = 0;
    // SAFETY: `key` is ours to write.
    assert_eq!(unsafe { libc::pthread_key_create(&raw mut key, Some(thread_ends)) }, 0);
    let (tell, told) = mpsc::channel();
    let goroutine = gort::thread::spawn(move || {
        lock_os_thread();
        // A key of the kernel thread's own, not of the goroutine's.
        ffi::on_system_stack(move || {
            let tell = Box::into_raw(Box::new(tell));
            // SAFETY: the key exists and its destructor takes such a box.
            assert_eq!(unsafe { libc::pthread_setspecific(key, tell.cast_const().cast()) }, 0);
        });
        tid()
    });
    let home = goroutine.join().unwrap();
    eventually("the thread's destructors ran", || {
        // Others go on, but not there: an idle thread leaves after a while too, one that was locked serves nobody more.
        let others = [gort::thread::spawn(tid), gort::thread::spawn(tid)];
        let others = others.map(|other| other.join().unwrap());
        let ended = told.try_recv();
        assert!(!others.contains(&home), "the thread was used again");
        ended == Ok(home)
    });
    eventually("the kernel thread is gone", || !thread_exists(home));
}

/// Row P-02.
#[test]
fn a_panic_while_locked_ends_the_kernel_thread() {
    let (to, from) = mpsc::channel();
    let goroutine = gort::thread::spawn(move || {
        lock_os_thread();
        to.send(tid()).unwrap();
        panic!("while locked");
    });
    assert!(goroutine.join().is_err());
    let home = from.recv().unwrap();
    eventually("the kernel thread is gone", || !thread_exists(home));
}

#[test]
fn unlocked_in_time_the_thread_lives_on() {
    needs_goroutines!("no kernel thread serves two");
    const NAME: &str = "unlocked_in_time_the_thread_lives_on";
    if !is_child() {
        Rerun::of(NAME, "child").inherit_all().env("GORT_PROCS", 1).run().success();
        return;
    }
    // With one P and nobody in a blocking call the same thread serves one goroutine after the other.
    let mut before = HashSet::new();
    for _ in 0..50 {
        let home = gort::thread::spawn(|| {
            lock_os_thread();
            let home = tid();
            unlock_os_thread();
            home
        });
        before.insert(home.join().unwrap());
    }
    assert!(before.len() < 25, "threads are used again: {before:?}");
}

/// Row X-25.
#[test]
fn many_exits_while_locked() {
    let goroutines: Vec<_> = (0..40)
        .map(|_| {
            gort::thread::spawn(|| {
                lock_os_thread();
                gort::thread::yield_now();
                let child = gort::thread::spawn(tid);
                let home = tid();
                (home, child.join().unwrap())
            })
        })
        .collect();
    let mut homes = HashSet::new();
    for goroutine in goroutines {
        let (home, child) = goroutine.join().unwrap();
        assert_ne!(home, child, "a child does not inherit the lock");
        assert!(homes.insert(home) || !thread_exists(home), "no two locked goroutines share a thread");
    }
    eventually("their kernel threads are gone", || homes.iter().all(|&home| !thread_exists(home)));
}

#[test]
fn a_lock_ends_with_its_goroutine() {
    const NAME: &str = "a_lock_ends_with_its_goroutine";
    if !is_child() {
        Rerun::of(NAME, "child").inherit_all().env("GORT_PROCS", 1).run().success();
        return;
    }
    for depth in 1..=20 {
        gort::thread::spawn(move || (0..depth).for_each(|_| lock_os_thread())).join().unwrap();
        // Goroutines that are given what that one left, its stack and all, start without a lock.
        let heirs: Vec<_> = (0..4)
            .map(|_| {
                gort::thread::spawn(|| {
                    gort::thread::yield_now();
                    std::panic::catch_unwind(unlock_os_thread).is_err()
                })
            })
            .collect();
        assert!(heirs.into_iter().all(|heir| heir.join().unwrap()), "there was a lock to undo");
    }
}

#[test]
fn on_other_threads_it_does_nothing() {
    CThread::spawn(|| {
        lock_os_thread();
        ffi::callback(|| {
            lock_os_thread();
            unlock_os_thread();
            unlock_os_thread();
        });
        unlock_os_thread();
    })
    .join();
    lock_os_thread();
    unlock_os_thread();
}
