//! One object, waiters of two kinds: goroutines in our table and kernel threads in the kernel's.

use gort::thread;
use gort_tests::kinds::on_goroutines_and_threads;
use gort_tests::measure::{eventually, everywhere, kernel_threads};
use gort_tests::needs_goroutines;
use gort_tests::raw::{futex_wait, futex_wake};
use gort_tests::subprocess::{alone, without_chaos};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::SeqCst};
use std::sync::{mpsc, Arc, Barrier, Condvar, Mutex, RwLock};
use std::time::{Duration, Instant};

const LONG: Duration = Duration::from_secs(30);

#[test]
fn a_wake_counts_each_waiter_once() {
    without_chaos("a_wake_counts_each_waiter_once", || {
        for round in 0..20 {
            const EACH: usize = 8;
            const SOME: usize = EACH + 2;
            let (word, arrived, back) = (AtomicU32::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
            std::thread::scope(|threads| {
                thread::scope(|goroutines| {
                    let wait = || {
                        arrived.fetch_add(1, SeqCst);
                        assert_eq!(futex_wait(&word, 0, None), 0);
                        back.fetch_add(1, SeqCst);
                    };
                    for _ in 0..EACH {
                        threads.spawn(wait);
                        goroutines.spawn(wait);
                    }
                    assert!(eventually(LONG, || arrived.load(SeqCst) == 2 * EACH));
                    // Some may be on their way to sleep still: ask until as many have been woken. More than there are of one kind.
                    let mut woken = 0;
                    assert!(eventually(LONG, || {
                        woken += futex_wake(&word, (SOME - woken) as i32);
                        assert!(woken <= SOME, "{woken} woken where {SOME} were asked for");
                        woken == SOME
                    }));
                    assert!(eventually(LONG, || back.load(SeqCst) >= SOME));
                    assert_eq!(back.load(SeqCst), SOME, "round {round}: as many wakes, as many return");
                    // The rest: each exactly once, whoever it is.
                    assert!(eventually(LONG, || {
                        woken += futex_wake(&word, i32::MAX);
                        woken >= 2 * EACH
                    }));
                    assert_eq!(woken, 2 * EACH);
                })
            });
            assert_eq!(back.load(SeqCst), 2 * EACH);
            assert_eq!(futex_wake(&word, i32::MAX), 0, "nobody is left");
        }
    });
}

#[test]
fn a_wake_on_another_word_wakes_nobody() {
    let words = [const { AtomicU32::new(0) }; 64];
    let back = AtomicUsize::new(0);
    thread::scope(|s| {
        for word in &words {
            let back = &back;
            s.spawn(move || {
                while word.load(SeqCst) == 0 {
                    futex_wait(word, 0, None);
                }
                back.fetch_add(1, SeqCst);
            });
        }
        for (i, word) in words.iter().enumerate() {
            assert_eq!(back.load(SeqCst), i);
            word.store(1, SeqCst);
            futex_wake(word, 1);
            assert!(eventually(LONG, || back.load(SeqCst) == i + 1));
        }
    });
}

/// Enough words that some share a bucket of the runtime's table with the one that is waited for.
#[test]
fn a_word_in_the_same_bucket_is_another_word() {
    without_chaos("a_word_in_the_same_bucket_is_another_word", || {
        let words: Vec<AtomicU32> = (0..300_000).map(|_| AtomicU32::new(0)).collect();
        let arrived = AtomicBool::new(false);
        thread::scope(|s| {
            let waiter = s.spawn(|| {
                arrived.store(true, SeqCst);
                futex_wait(&words[0], 0, None)
            });
            assert!(eventually(LONG, || arrived.load(SeqCst)));
            for _ in 0..2 {
                assert_eq!(words[1..].iter().map(|word| futex_wake(word, 1)).sum::<usize>(), 0);
            }
            assert!(!waiter.is_finished());
            assert!(eventually(LONG, || futex_wake(&words[0], 1) == 1));
            assert_eq!(waiter.join().unwrap(), 0);
        });
    });
}

#[test]
fn the_futex_call_says_what_happened() {
    without_chaos("the_futex_call_says_what_happened", || {
        everywhere(|| {
            let word = AtomicU32::new(5);
            assert_eq!(futex_wait(&word, 4, None), libc::EAGAIN, "the word has changed");
            let before = Instant::now();
            assert_eq!(futex_wait(&word, 5, Some(Duration::from_millis(3))), libc::ETIMEDOUT);
            assert!(before.elapsed() >= Duration::from_millis(3));
            // SAFETY: the word lives; the kernel or the hook refuses the address of its second byte.
            let odd = unsafe {
                let at = word.as_ptr().cast::<u8>().add(1);
                libc::syscall(libc::SYS_futex, at, libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG, 5, 0, 0, 0)
            };
            assert_eq!((odd, std::io::Error::last_os_error().raw_os_error()), (-1, Some(libc::EINVAL)));
            let bad = libc::timespec { tv_sec: 0, tv_nsec: 2_000_000_000 };
            let op = libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG;
            // SAFETY: word and timespec live during the call.
            let bad = unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), op, 5, &raw const bad, 0, 0) };
            assert_eq!((bad, std::io::Error::last_os_error().raw_os_error()), (-1, Some(libc::EINVAL)));
        });
    });
}

/// As libstdc++ waits while another thread makes a static variable of a function: without saying that the word is private.
#[test]
fn a_static_word_needs_no_flag() {
    needs_goroutines!("kernel threads are counted");
    const N: usize = 100;
    static WORD: AtomicU32 = AtomicU32::new(0);
    static ARRIVED: AtomicUsize = AtomicUsize::new(0);
    static WOKEN: AtomicUsize = AtomicUsize::new(0);
    let wait = || {
        ARRIVED.fetch_add(1, SeqCst);
        // SAFETY: the word lives; no timeout.
        assert_eq!(unsafe { libc::syscall(libc::SYS_futex, WORD.as_ptr(), libc::FUTEX_WAIT, 0, 0usize, 0, 0) }, 0);
        WOKEN.fetch_add(1, SeqCst);
    };
    alone("a_static_word_needs_no_flag", || {
        std::thread::scope(|threads| {
            threads.spawn(wait);
            thread::scope(|s| {
                (0..N).for_each(|_| drop(s.spawn(wait)));
                assert!(eventually(Duration::from_secs(30), || ARRIVED.load(SeqCst) == N + 1));
                let threads = kernel_threads();
                while WOKEN.load(SeqCst) < N + 1 {
                    // SAFETY: the call only looks the address up.
                    let woken = unsafe { libc::syscall(libc::SYS_futex, WORD.as_ptr(), libc::FUTEX_WAKE, 1, 0, 0, 0) };
                    assert!((0..=1).contains(&woken));
                    thread::yield_now();
                }
                // Before glibc 2.35 nobody tells that the word is static, and each waits in the kernel.
                // SAFETY: looking a name up has no preconditions.
                let tells = unsafe { !libc::dlsym(libc::RTLD_DEFAULT, c"_dl_find_object".as_ptr()).is_null() };
                assert!(!tells || threads < N / 2, "{threads} kernel threads for {N} goroutines");
            });
        });
    });
}

#[test]
fn a_bitset_wakes_those_that_match() {
    without_chaos("a_bitset_wakes_those_that_match", || {
        let word = AtomicU32::new(0);
        let woken = Mutex::new(Vec::new());
        let arrived = AtomicUsize::new(0);
        let wait = |bits: u32| {
            arrived.fetch_add(1, SeqCst);
            let op = libc::FUTEX_WAIT_BITSET | libc::FUTEX_PRIVATE_FLAG;
            // SAFETY: the word lives during the call; no timeout.
            assert_eq!(unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), op, 0, 0usize, 0usize, bits) }, 0);
            woken.lock().unwrap().push(bits);
        };
        let wake = |bits: u32| {
            let op = libc::FUTEX_WAKE_BITSET | libc::FUTEX_PRIVATE_FLAG;
            // SAFETY: the call only looks the address up.
            unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), op, i32::MAX, 0usize, 0usize, bits) as usize }
        };
        std::thread::scope(|threads| {
            thread::scope(|s| {
                for bits in [1, 2, 4] {
                    s.spawn(move || wait(bits));
                    threads.spawn(move || wait(bits));
                }
                assert!(eventually(LONG, || arrived.load(SeqCst) == 6));
                for bits in [2u32, 5] {
                    let mut n = 0;
                    let want = 2 * bits.count_ones() as usize;
                    assert!(eventually(LONG, || {
                        n += wake(bits);
                        n >= want
                    }));
                    assert_eq!(n, want, "of bits {bits}");
                    assert!(
                        eventually(LONG, || woken.lock().unwrap().iter().filter(|b| *b & bits != 0).count() == want)
                    );
                }
            })
        });
        assert_eq!(woken.lock().unwrap()[..2], [2, 2]);
    });
}

#[test]
fn mutex() {
    let cell = Mutex::new(0u64);
    on_goroutines_and_threads(8, |i| {
        for round in 0..500 {
            let mut n = cell.lock().unwrap();
            let old = *n;
            if (round + i) % 16 == 0 {
                thread::yield_now();
            }
            *n = old + 1;
        }
    });
    assert_eq!(*cell.lock().unwrap(), 8000);
}

#[test]
fn rwlock() {
    let cell = RwLock::new((0u64, 0u64));
    on_goroutines_and_threads(8, |i| {
        for round in 0..300 {
            if (round + i) % 5 == 0 {
                let mut both = cell.write().unwrap();
                both.0 += 1;
                thread::yield_now();
                both.1 += 1;
            } else {
                let both = cell.read().unwrap();
                assert_eq!(both.0, both.1);
            }
        }
    });
    assert_eq!(cell.read().unwrap().0, 16 * 60);
}

#[test]
fn condvar_hands_tokens_across() {
    let (tokens, more) = (Mutex::new(0), Condvar::new());
    let taken = AtomicUsize::new(0);
    on_goroutines_and_threads(8, |i| {
        // Half of each kind give, half take; a lost notification would leave a taker waiting for ever.
        for _ in 0..500 {
            if i / 2 % 2 == 0 {
                *tokens.lock().unwrap() += 1;
                more.notify_one();
            } else {
                *more.wait_while(tokens.lock().unwrap(), |n| *n == 0).unwrap() -= 1;
                taken.fetch_add(1, SeqCst);
            }
        }
    });
    assert_eq!((taken.load(SeqCst), *tokens.lock().unwrap()), (4000, 0));
}

#[test]
fn barrier() {
    let barrier = Barrier::new(12);
    let (leaders, arrived) = (AtomicUsize::new(0), AtomicUsize::new(0));
    on_goroutines_and_threads(6, |_| {
        for round in 1..=100 {
            arrived.fetch_add(1, SeqCst);
            leaders.fetch_add(usize::from(barrier.wait().is_leader()), SeqCst);
            assert!(arrived.load(SeqCst) >= 12 * round);
        }
    });
    assert_eq!(leaders.load(SeqCst), 100);
}

#[test]
fn channels_between_the_kinds() {
    for capacity in [0, 1, 16] {
        let (to_goroutine, from_thread) = mpsc::sync_channel(capacity);
        let (to_thread, from_goroutine) = mpsc::sync_channel(capacity);
        let echo = thread::spawn(move || from_thread.iter().for_each(|n: u32| to_thread.send(n * 2).unwrap()));
        let feeder = std::thread::spawn(move || (0..2000).for_each(|i| to_goroutine.send(i).unwrap()));
        for i in 0..2000 {
            assert_eq!(from_goroutine.recv(), Ok(2 * i));
        }
        feeder.join().unwrap();
        echo.join().unwrap();
    }
}

#[test]
fn park_and_unpark_between_the_kinds() {
    let turn = Arc::new(AtomicUsize::new(0));
    let theirs = turn.clone();
    let (me, std_me) = (thread::current(), std::thread::current());
    let goroutine = thread::spawn(move || {
        for round in 0..2000 {
            while theirs.load(SeqCst) != 2 * round + 1 {
                thread::park();
            }
            theirs.store(2 * round + 2, SeqCst);
            if round % 2 == 0 {
                me.unpark()
            } else {
                std_me.unpark()
            }
        }
    });
    for round in 0..2000 {
        turn.store(2 * round + 1, SeqCst);
        goroutine.thread().unpark();
        while turn.load(SeqCst) != 2 * round + 2 {
            if round % 2 == 0 {
                thread::park()
            } else {
                std::thread::park()
            }
        }
    }
    goroutine.join().unwrap();
}

#[test]
fn goroutines_are_joined_by_threads_and_scopes_by_both() {
    let ended = Arc::new(AtomicBool::new(false));
    let flag = ended.clone();
    let g = thread::spawn(move || {
        (0..100).for_each(|_| thread::yield_now());
        flag.store(true, SeqCst);
    });
    std::thread::spawn(move || {
        g.join().unwrap();
        assert!(ended.load(SeqCst));
    })
    .join()
    .unwrap();
}

/// A timeout and a wake at the same moment: whoever wins, nothing is lost and nothing is left behind.
#[test]
fn timeouts_race_with_wakes() {
    let (tokens, more) = (Mutex::new(0u32), Condvar::new());
    let taken = AtomicUsize::new(0);
    let giving = AtomicBool::new(true);
    std::thread::scope(|threads| {
        thread::scope(|s| {
            let take = || loop {
                let timeout = Duration::from_micros(50);
                let (mut n, _) = more.wait_timeout_while(tokens.lock().unwrap(), timeout, |n| *n == 0).unwrap();
                if *n > 0 {
                    *n -= 1;
                    taken.fetch_add(1, SeqCst);
                } else if !giving.load(SeqCst) {
                    return;
                }
            };
            for _ in 0..10 {
                s.spawn(take);
            }
            threads.spawn(take);
            for i in 0..20_000 {
                *tokens.lock().unwrap() += 1;
                more.notify_one();
                if i % 50 == 0 {
                    thread::yield_now();
                }
            }
            giving.store(false, SeqCst);
        })
    });
    assert_eq!((taken.load(SeqCst), *tokens.lock().unwrap()), (20_000, 0));
}
