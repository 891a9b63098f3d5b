//! Threads of unmodified crates on goroutines: what `std::thread` promises holds with `GORT_THREADS=1`, and rayon and
//! crossbeam, which know nothing of gort, run their threads there.
//!
//! Each scenario runs in a process of its own, with one P, with two, and with chaos.

use gort_tests::measure::{eventually, kernel_threads};
use gort_tests::needs_goroutines;
use gort_tests::real::on_real_thread;
use gort_tests::subprocess::{role, Rerun};
use rayon::prelude::*;
use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{mpsc, Arc, Barrier, Condvar, Mutex};
use std::thread;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(30);

/// Runs `body`, all there is to the test named `test`, in processes where threads are goroutines: on such a one (the test
/// harness makes it) and on a kernel thread.
fn on_goroutines(test: &str, body: impl Fn() + Sync) {
    needs_goroutines!("threads that others start are no goroutines");
    if role().is_some() {
        body();
        return on_real_thread(&body);
    }
    let settings = [("1", None), ("2", None), ("2", Some("3"))];
    for (procs, chaos) in settings {
        let mut child = Rerun::of(test, "child").env("GORT_THREADS", "1").env("GORT_PROCS", procs);
        if let Some(seed) = chaos {
            child = child.env("GORT_CHAOS", seed);
        }
        child.run().success();
    }
}

/// Bytes of stack that the caller can use: touches them.
#[inline(never)]
fn use_stack(bytes: usize) -> usize {
    const FRAME: usize = 4096 + 512;
    let room = [1u8; 4096];
    let deeper = if bytes > FRAME { use_stack(bytes - FRAME) } else { 0 };
    deeper + usize::from(std::hint::black_box(&room)[bytes % 4096])
}

#[test]
fn ten_thousand_threads_at_once() {
    on_goroutines("ten_thousand_threads_at_once", || {
        const N: usize = 10_000;
        let gate = Arc::new((Mutex::new((0, false)), Condvar::new(), Condvar::new()));
        let all: Vec<_> = (0..N)
            .map(|i| {
                let gate = gate.clone();
                thread::spawn(move || {
                    assert!(gort::thread::is_goroutine());
                    let mut state = gate.0.lock().unwrap();
                    state.0 += 1;
                    gate.1.notify_one();
                    while !state.1 {
                        state = gate.2.wait(state).unwrap();
                    }
                    drop(state);
                    (i * i, thread::current().id())
                })
            })
            .collect();
        let mut state = gate.0.lock().unwrap();
        while state.0 < N {
            state = gate.1.wait(state).unwrap();
        }
        // On a busy machine some dozens: a goroutine whose kernel thread is not run for long loses its P, and another thread comes.
        assert!(kernel_threads() < N / 20, "{} kernel threads", kernel_threads());
        state.1 = true;
        drop(state);
        gate.2.notify_all();
        let results: Vec<_> = all.into_iter().map(|t| t.join().unwrap()).collect();
        assert_eq!(results.iter().map(|r| r.0).sum::<usize>(), (0..N).map(|i| i * i).sum());
        assert_eq!(results.iter().map(|r| r.1).collect::<HashSet<_>>().len(), N, "ids are distinct");
    });
}

#[test]
fn a_panic_is_an_error_of_join() {
    on_goroutines("a_panic_is_an_error_of_join", || {
        for i in 0..100 {
            let joined = thread::spawn(move || std::panic::panic_any(i)).join();
            assert_eq!(*joined.unwrap_err().downcast::<i32>().unwrap(), i);
            assert_eq!(thread::spawn(thread::panicking).join().ok(), Some(false));
        }
    });
}

/// The calling thread's name as C knows it.
fn c_name() -> String {
    let mut name = [0u8; 16];
    // SAFETY: the buffer has the size that is passed.
    let error = unsafe { libc::pthread_getname_np(libc::pthread_self(), name.as_mut_ptr().cast(), name.len()) };
    assert_eq!(error, 0);
    String::from_utf8(name.iter().copied().take_while(|&b| b != 0).collect()).unwrap()
}

#[test]
fn names_stay_with_their_threads() {
    on_goroutines("names_stay_with_their_threads", || {
        let (to, from) = mpsc::channel::<()>();
        let from = Arc::new(Mutex::new(from));
        let all: Vec<_> = (0..50)
            .map(|i| {
                let from = from.clone();
                let name = format!("name number {i:02} of many");
                let builder = thread::Builder::new().name(name.clone());
                builder
                    .spawn(move || {
                        let short = &name[..15];
                        for _ in 0..3 {
                            assert_eq!(thread::current().name(), Some(&name[..]));
                            assert_eq!(gort::thread::current().name(), Some(&name[..]));
                            assert_eq!(c_name(), short);
                            thread::yield_now();
                        }
                        from.lock().unwrap().recv().unwrap_err();
                        let mut by_prctl = [0u8; 16];
                        // SAFETY: room for a name.
                        unsafe { libc::prctl(libc::PR_GET_NAME, by_prctl.as_mut_ptr()) };
                        assert_eq!(&by_prctl[..15], short.as_bytes());
                        // SAFETY: a C string.
                        unsafe { libc::prctl(libc::PR_SET_NAME, c"another".as_ptr()) };
                        assert_eq!(c_name(), "another");
                    })
                    .unwrap()
            })
            .collect();
        for task in fs::read_dir("/proc/self/task").unwrap() {
            let name = fs::read_to_string(task.unwrap().path().join("comm")).unwrap_or_default();
            assert!(!name.starts_with("name number"), "a kernel thread is called {name}");
        }
        drop(to);
        all.into_iter().for_each(|t| t.join().unwrap());
        assert_ne!(thread::spawn(c_name).join().unwrap(), "another", "a name ends with its thread");
    });
}

#[test]
fn scopes_borrow() {
    on_goroutines("scopes_borrow", || {
        let mut parts = vec![0u64; 64];
        let total = AtomicUsize::new(0);
        thread::scope(|s| {
            for (i, part) in parts.iter_mut().enumerate() {
                let total = &total;
                s.spawn(move || {
                    thread::sleep(Duration::from_micros(i as u64));
                    *part = i as u64;
                    total.fetch_add(i, SeqCst);
                });
            }
            let inner = s.spawn(|| thread::scope(|s| s.spawn(|| 7).join().unwrap()));
            assert_eq!(inner.join().unwrap(), 7);
        });
        assert_eq!(parts.iter().sum::<u64>(), 2016);
        assert_eq!(total.load(SeqCst), 2016);
        let panicked = std::panic::catch_unwind(|| thread::scope(|s| drop(s.spawn(|| panic!("not looked at")))));
        assert!(panicked.is_err());
    });
}

#[test]
fn park_and_unpark() {
    on_goroutines("park_and_unpark", || {
        let turns = Arc::new(AtomicUsize::new(0));
        let theirs = turns.clone();
        let main = thread::current();
        let sleeper = thread::spawn(move || {
            for i in 0..1000 {
                while theirs.load(SeqCst) <= 2 * i {
                    thread::park();
                }
                theirs.fetch_add(1, SeqCst);
                main.unpark();
            }
            thread::park_timeout(Duration::from_millis(1));
        });
        for i in 0..1000 {
            turns.fetch_add(1, SeqCst);
            sleeper.thread().unpark();
            while turns.load(SeqCst) < 2 * (i + 1) {
                thread::park();
            }
        }
        sleeper.join().unwrap();
        // The goroutine's own handle parks it as well as std's.
        let (to, from) = mpsc::channel();
        let parked = thread::spawn(move || {
            to.send(gort::thread::current()).unwrap();
            gort::thread::park();
        });
        from.recv().unwrap().unpark();
        parked.join().unwrap();
    });
}

thread_local! {
    static COUNT: Cell<u32> = const { Cell::new(0) };
    static LAST: RefCell<Option<Late>> = const { RefCell::new(None) };
}

struct Late(Arc<AtomicUsize>);

impl Drop for Late {
    fn drop(&mut self) {
        thread::sleep(Duration::from_micros(50)); // an ending thread may still park
        self.0.fetch_add(1, SeqCst);
    }
}

#[test]
fn destructors_have_run_when_join_returns() {
    on_goroutines("destructors_have_run_when_join_returns", || {
        let ended = Arc::new(AtomicUsize::new(0));
        for i in 0..300 {
            let ended = ended.clone();
            let count = ended.clone();
            let t = thread::spawn(move || {
                assert_eq!(COUNT.replace(5), 0, "fresh");
                LAST.set(Some(Late(count)));
            });
            t.join().unwrap();
            assert_eq!(ended.load(SeqCst), i + 1);
        }
    });
}

#[test]
fn stacks_have_the_size_asked_for() {
    on_goroutines("stacks_have_the_size_asked_for", || {
        assert!(thread::spawn(|| use_stack(1 << 20)).join().unwrap() > 0, "std's default is 2 MiB");
        for size in [16 << 10, 100 << 10, 216 << 10, 217 << 10, 240 << 10, 1 << 20, 16 << 20, 100 << 20] {
            for _ in 0..3 {
                let builder = thread::Builder::new().stack_size(size);
                let t = builder.spawn(move || use_stack(size - size / 4 - (8 << 10).min(size / 2)));
                assert!(t.unwrap().join().unwrap() > 0);
            }
        }
    });
}

#[test]
fn too_large_a_stack_is_an_error() {
    on_goroutines("too_large_a_stack_is_an_error", || {
        let failed = thread::Builder::new().stack_size(1 << 45).spawn(|| ());
        assert_eq!(failed.unwrap_err().raw_os_error(), Some(libc::EAGAIN));
        thread::spawn(|| ()).join().unwrap();
    });
}

#[test]
fn detached_threads_run_to_their_end() {
    on_goroutines("detached_threads_run_to_their_end", || {
        let before = gort::stats().goroutines; // the test itself may run on one
        let (to, from) = mpsc::channel();
        for i in 0..2000u64 {
            let to = to.clone();
            thread::spawn(move || {
                if i % 3 == 0 {
                    thread::yield_now();
                }
                to.send(i).unwrap();
            });
        }
        drop(to);
        assert_eq!(from.iter().sum::<u64>(), 1999 * 1000);
        assert!(eventually(LONG, || gort::stats().goroutines <= before), "{:?}", gort::stats());
    });
}

/// The caller's number.
fn number() -> libc::pthread_t {
    // SAFETY: the call has no preconditions.
    unsafe { libc::pthread_self() }
}

#[test]
fn numbers_come_back_after_join_and_not_before() {
    on_goroutines("numbers_come_back_after_join_and_not_before", || {
        let (to, from) = mpsc::channel();
        let ended: Vec<_> = (0..500)
            .map(|_| {
                let to = to.clone();
                thread::spawn(move || to.send(number()).unwrap())
            })
            .collect();
        let mut numbers: HashSet<_> = from.iter().take(500).collect();
        assert_eq!(numbers.len(), 500, "none was joined");
        assert!(eventually(LONG, || ended.iter().all(|t| t.is_finished())));
        let next = thread::spawn(number);
        assert!(numbers.insert(next.join().unwrap()), "nor now");
        ended.into_iter().for_each(|t| t.join().unwrap());
        let fresh = (0..1000).filter(|_| numbers.insert(thread::spawn(number).join().unwrap())).count();
        assert!(fresh < 10, "{fresh} stacks that were not used before"); // some are left from other threads
    });
}

#[test]
fn threads_wait_for_each_other_in_many_ways() {
    on_goroutines("threads_wait_for_each_other_in_many_ways", || {
        let barrier = Arc::new(Barrier::new(100));
        let leaders: Vec<_> = (0..100)
            .map(|_| {
                let barrier = barrier.clone();
                thread::spawn(move || (0..10).filter(|_| barrier.wait().is_leader()).count())
            })
            .collect();
        assert_eq!(leaders.into_iter().map(|t| t.join().unwrap()).sum::<usize>(), 10);
        let (to, from) = mpsc::sync_channel(0);
        let echo = thread::spawn(move || from.iter().map(|n: u32| n + 1).sum::<u32>());
        (0..100).for_each(|n| to.send(n).unwrap());
        drop(to);
        assert_eq!(echo.join().unwrap(), 5050);
        // A goroutine and a thread of gort's join each other's.
        let inner = gort::thread::spawn(|| thread::spawn(|| gort::thread::spawn(|| 3).join().unwrap()).join().unwrap());
        assert_eq!(inner.join().unwrap(), 3);
    });
}

#[test]
fn a_server_with_a_thread_for_each_connection() {
    on_goroutines("a_server_with_a_thread_for_each_connection", || {
        const N: usize = 60;
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap();
        let accepting = thread::spawn(move || {
            for connection in server.incoming().take(N) {
                let mut connection = connection.unwrap();
                thread::spawn(move || {
                    let mut bytes = [0; 64];
                    loop {
                        let n = connection.read(&mut bytes).unwrap();
                        if n == 0 {
                            return;
                        }
                        connection.write_all(&bytes[..n]).unwrap();
                    }
                });
            }
        });
        let clients = (0..N).map(|i| {
            thread::spawn(move || {
                let mut connection = TcpStream::connect(address).unwrap();
                for round in 0..10 {
                    let sent = [i as u8 ^ round; 40];
                    let mut back = [0; 40];
                    connection.write_all(&sent).unwrap();
                    connection.read_exact(&mut back).unwrap();
                    assert_eq!(back, sent);
                }
            })
        });
        let clients: Vec<_> = clients.collect();
        clients.into_iter().for_each(|t| t.join().unwrap());
        accepting.join().unwrap();
    });
}

fn fib(n: u64) -> u64 {
    if n < 2 {
        return n;
    }
    let (a, b) = rayon::join(|| fib(n - 1), || fib(n - 2));
    a + b
}

#[test]
fn rayon_runs_on_goroutines() {
    on_goroutines("rayon_runs_on_goroutines", || {
        let started = Arc::new(AtomicUsize::new(0));
        let ended = Arc::new(AtomicUsize::new(0));
        let (starts, ends) = (started.clone(), ended.clone());
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(50)
            .thread_name(|i| format!("pool {i}"))
            .start_handler(move |_| {
                assert!(gort::thread::is_goroutine());
                starts.fetch_add(1, SeqCst);
            })
            .exit_handler(move |_| {
                ends.fetch_add(1, SeqCst);
            })
            .build()
            .unwrap();
        let sum = pool.install(|| (0..1_000_000u64).into_par_iter().map(|n| n ^ 1).sum::<u64>());
        assert_eq!(sum, (0..1_000_000u64).sum());
        assert_eq!(pool.install(|| fib(18)), 2584);
        let mut words: Vec<_> = (0..20_000u32).map(|n| n.wrapping_mul(0x9e37_79b9)).collect();
        pool.install(|| words.par_sort_unstable());
        assert!(words.is_sorted());
        let seen = pool.broadcast(|ctx| (ctx.index(), thread::current().name().map(str::to_owned)));
        assert_eq!(seen[49], (49, Some("pool 49".into())));
        drop(pool);
        assert!(eventually(LONG, || ended.load(SeqCst) == 50));
        assert_eq!(started.load(SeqCst), 50);
        // The global pool, from a goroutine and from a thread.
        let count = || (0..10_000).into_par_iter().filter(|n| n % 7 == 0).count();
        assert_eq!(count(), 1429);
        assert_eq!(gort::thread::spawn(count).join().unwrap(), 1429);
    });
}

#[test]
fn crossbeams_scopes_and_channels() {
    on_goroutines("crossbeams_scopes_and_channels", || {
        let (to, from) = crossbeam::channel::bounded::<usize>(4);
        let sum = AtomicUsize::new(0);
        crossbeam::scope(|s| {
            for producer in 0..8 {
                let to = to.clone();
                s.spawn(move |_| (0..2000).for_each(|n| to.send(producer * 2000 + n).unwrap()));
            }
            for _ in 0..8 {
                let (from, sum) = (from.clone(), &sum);
                s.spawn(move |_| {
                    assert!(gort::thread::is_goroutine());
                    from.iter().for_each(|n| {
                        sum.fetch_add(n, SeqCst);
                    });
                });
            }
            drop(to);
        })
        .unwrap();
        assert_eq!(sum.load(SeqCst), (0..16_000).sum());
        let queue = crossbeam::queue::SegQueue::new();
        let panics = crossbeam::scope(|s| {
            let inner = s.spawn(|s| s.spawn(|_| queue.push(1)).join().unwrap());
            inner.join().unwrap();
            s.spawn(|_| panic!("on purpose"));
        });
        assert!(panics.is_err());
        assert_eq!(queue.pop(), Some(1));
    });
}

#[test]
fn a_program_may_ask_for_it() {
    needs_goroutines!("threads that others start are no goroutines");
    const NAME: &str = "a_program_may_ask_for_it";
    if role().is_none() {
        Rerun::of(NAME, "child").run().success();
        return;
    }
    assert!(!thread::spawn(gort::thread::is_goroutine).join().unwrap(), "off by default");
    gort::Config::new().threads_as_goroutines(true).start().unwrap();
    assert!(thread::spawn(gort::thread::is_goroutine).join().unwrap());
    // On the system stack code is on the kernel thread, and so are the threads that it makes.
    let on_system_stack = || gort::ffi::on_system_stack(|| thread::spawn(gort::thread::is_goroutine).join().unwrap());
    assert!(!gort::thread::spawn(on_system_stack).join().unwrap());
}

#[test]
fn without_hooks_threads_stay_threads() {
    const NAME: &str = "without_hooks_threads_stay_threads";
    if role().is_none() {
        Rerun::of(NAME, "child").env("GORT_THREADS", "1").env("GORT_INTERPOSE", "0").run().success();
        Rerun::of(NAME, "child").env("GORT_THREADS", "0").run().success();
        Rerun::of(NAME, "child").env("GORT_THREADS", "").run().success();
        Rerun::of(NAME, "child").env("GORT_THREADS", "some").run().success().says("GORT_THREADS");
        return;
    }
    assert!(!thread::spawn(gort::thread::is_goroutine).join().unwrap());
}

#[test]
fn an_overflow_is_reported_with_the_threads_name() {
    const NAME: &str = "an_overflow_is_reported_with_the_threads_name";
    if role().is_none() {
        let child = Rerun::of(NAME, "child").env("GORT_THREADS", "1").run();
        child.died_of(libc::SIGABRT).says("'glutton'").says("overflowed its stack");
        return;
    }
    let glutton = thread::Builder::new().name("glutton".into()).spawn(|| use_stack(1 << 30));
    glutton.unwrap().join().unwrap();
}
