//! What a goroutine takes with it and leaves behind: closures, results, stacks, memory.

use gort::thread::{self, Builder};
use gort_tests::measure::{eventually, everywhere, on_goroutine, resident_kib};
use gort_tests::needs_goroutines;
use gort_tests::subprocess::{role, Rerun};
use std::panic::catch_unwind;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{mpsc, Arc, Mutex};
use std::time::Duration;

#[test]
fn the_next_goroutine_gets_the_same_stack() {
    needs_goroutines!("stacks are libc's");
    const NAME: &str = "the_next_goroutine_gets_the_same_stack";
    if role().is_none() {
        Rerun::of(NAME, "child").env("GORT_PROCS", "1").run().success();
        return;
    }
    fn local() -> usize {
        let here = 0u8;
        std::ptr::from_ref(std::hint::black_box(&here)) as usize
    }
    on_goroutine(|| {
        let first = thread::spawn(local).join().unwrap();
        for _ in 0..100 {
            assert_eq!(thread::spawn(local).join().unwrap(), first, "last in, first out");
        }
        // Two at a time need two.
        let (to, from) = mpsc::channel::<()>();
        let waiting = thread::spawn(move || {
            from.recv().unwrap_err();
            local()
        });
        let other = thread::spawn(local).join().unwrap();
        drop(to);
        assert_ne!(waiting.join().unwrap(), other);
    });
}

#[test]
fn large_and_aligned_closures() {
    #[repr(align(4096))]
    struct Page([u8; 4096]);
    #[repr(align(64))]
    struct Line(u8);
    #[repr(align(128))]
    struct TwoLines(u8);
    let body = || {
        let big = [3u8; 100 << 10];
        assert_eq!(
            thread::spawn(move || big.iter().map(|b| u64::from(*b)).sum::<u64>()).join().unwrap(),
            3 * (100 << 10)
        );
        let page = Page([5; 4096]);
        let (at, sum) = thread::spawn(move || {
            let page = &page;
            (std::ptr::from_ref(page) as usize, page.0.iter().map(|b| u64::from(*b)).sum::<u64>())
        })
        .join()
        .unwrap();
        assert_eq!((at % 4096, sum), (0, 5 * 4096));
        let (line, lines) = (Line(1), TwoLines(2));
        let (a, b) = thread::spawn(move || {
            let (line, lines) = (&line, &lines);
            assert_eq!((line.0, lines.0), (1, 2));
            (std::ptr::from_ref(line) as usize % 64, std::ptr::from_ref(lines) as usize % 128)
        })
        .join()
        .unwrap();
        assert_eq!((a, b), (0, 0));
        let result: Box<Page> = thread::spawn(|| Box::new(Page([9; 4096]))).join().unwrap();
        assert_eq!(result.0[4095], 9);
        let Page(by_value) = thread::spawn(|| Page([8; 4096])).join().unwrap();
        assert_eq!(by_value[4095], 8);
        for size in [Some(16 << 10), Some(17 << 10)] {
            let medium = [7u8; 8000];
            let mut builder = Builder::new();
            if let Some(size) = size {
                builder = builder.stack_size(size);
            }
            assert_eq!(builder.spawn(move || medium[7999]).unwrap().join().unwrap(), 7);
        }
    };
    body();
    // Without optimisation the spawner's own copies of the closure need more than a usual stack.
    Builder::new().stack_size(4 << 20).spawn(body).unwrap().join().unwrap();
}

type Log = Arc<Mutex<Vec<&'static str>>>;

struct Note(&'static str, Log);

impl Drop for Note {
    fn drop(&mut self) {
        self.1.lock().unwrap().push(self.0);
    }
}

thread_local!(static LAST: std::cell::RefCell<Option<Note>> = const { std::cell::RefCell::new(None) });

#[test]
fn things_are_dropped_in_stds_order() {
    everywhere(|| {
        // The same on a plain thread and on a goroutine.
        let mut logs = Vec::new();
        for on_goroutine in [false, true] {
            let log = Log::default();
            let (captured, result, local) =
                (Note("capture", log.clone()), Note("result", log.clone()), Note("thread-local", log.clone()));
            let body = log.clone();
            let f = move || {
                LAST.set(Some(local));
                let _captured = captured;
                body.lock().unwrap().push("body");
                result
            };
            let result = if on_goroutine { thread::spawn(f).join() } else { std::thread::spawn(f).join() };
            log.lock().unwrap().push("joined");
            drop(result);
            logs.push(log.lock().unwrap().clone());
        }
        assert_eq!(logs[0], ["body", "capture", "thread-local", "joined", "result"]);
        assert_eq!(logs[0], logs[1]);
    });
}

#[test]
fn everything_is_dropped_exactly_once() {
    everywhere(|| {
        let log = Log::default();
        let note = |name| Note(name, log.clone());
        let count = |name: &str| log.lock().unwrap().iter().filter(|n| **n == name).count();
        // A panic.
        let capture = note("panic");
        thread::spawn(move || {
            let _capture = &capture;
            std::panic::resume_unwind(Box::new("with a capture"))
        })
        .join()
        .unwrap_err();
        assert_eq!(count("panic"), 1);
        // A payload that nobody looks at.
        let payload = note("payload");
        drop(thread::spawn(move || std::panic::resume_unwind(Box::new(payload))).join());
        assert_eq!(count("payload"), 1);
        // A result of a goroutine that nobody joins; before its end, and after.
        let (go, wait) = mpsc::channel();
        let result = note("unjoined early");
        drop(thread::spawn(move || {
            wait.recv().unwrap();
            result
        }));
        go.send(()).unwrap();
        assert!(eventually(Duration::from_secs(30), || count("unjoined early") == 1));
        let result = note("unjoined late");
        let g = thread::spawn(move || result);
        assert!(eventually(Duration::from_secs(30), || g.is_finished()));
        drop(g);
        assert!(eventually(Duration::from_secs(30), || count("unjoined late") == 1));
        // A spawn that fails.
        let capture = note("refused");
        Builder::new().stack_size(usize::MAX / 2).spawn(move || drop(capture)).unwrap_err();
        assert_eq!(count("refused"), 1);
        // A name that panics.
        let capture = note("name");
        catch_unwind(std::panic::AssertUnwindSafe(|| {
            Builder::new().name("\0".into()).spawn(move || drop(capture)).map(drop)
        }))
        .unwrap_err();
        assert_eq!(count("name"), 1);
        // A large closure, which travels boxed.
        let (capture, ballast) = (note("large"), [1u8; 20_000]);
        thread::spawn(move || drop((capture, std::hint::black_box(ballast)))).join().unwrap();
        for name in ["panic", "payload", "unjoined early", "unjoined late", "refused", "name", "large"] {
            assert_eq!(count(name), 1, "{name}");
        }
    });
}

#[test]
fn no_memory_is_lost_over_many_lives() {
    needs_goroutines!("libc keeps stacks and heaps of threads");
    const NAME: &str = "no_memory_is_lost_over_many_lives";
    if role().is_none() {
        for procs in ["1", "2"] {
            Rerun::of(NAME, "child").env("GORT_PROCS", procs).run().success();
        }
        return;
    }
    let live = |n: usize| {
        let all: Vec<_> =
            (0..n).map(|i| Builder::new().name(i.to_string()).spawn(move || vec![i; 10]).unwrap()).collect();
        all.into_iter().enumerate().for_each(|(i, g)| assert_eq!(g.join().unwrap()[9], i));
    };
    for sized in [false, true] {
        let round = || {
            live(100);
            if sized {
                let g = Builder::new().stack_size(1 << 20).spawn(|| std::hint::black_box([1u8; 500 << 10])[3]).unwrap();
                g.join().unwrap();
            }
        };
        (0..50).for_each(|_| round());
        let before = resident_kib();
        (0..400).for_each(|_| round());
        let grown = resident_kib().saturating_sub(before);
        // 40,000 goroutines; 100 bytes lost by each would be 4 MiB.
        assert!(grown < 3000, "{grown} KiB more after 40,000 goroutines");
    }
}

#[test]
fn a_burst_gives_its_memory_back() {
    needs_goroutines!("more are alive than the system has threads");
    const NAME: &str = "a_burst_gives_its_memory_back";
    if role().is_none() {
        for procs in ["1", "2"] {
            Rerun::of(NAME, "child").env("GORT_PROCS", procs).run().success();
        }
        return;
    }
    const N: usize = 20_000;
    on_goroutine(|| ());
    let before = resident_kib();
    let arrived = Arc::new(AtomicUsize::new(0));
    let all: Vec<_> = (0..N)
        .map(|_| {
            let arrived = arrived.clone();
            thread::spawn(move || {
                arrived.fetch_add(1, SeqCst);
                thread::park();
            })
        })
        .collect();
    assert!(eventually(Duration::from_secs(30), || arrived.load(SeqCst) == N));
    let at_peak = resident_kib();
    assert!(at_peak - before > N * 4, "each needs a page at least");
    all.iter().for_each(|g| g.thread().unpark());
    all.into_iter().for_each(|g| g.join().unwrap());
    // The runtime wakes once a second while idle, and gives half of the surplus back each time.
    let fallen = eventually(Duration::from_secs(40), || resident_kib() - before < (at_peak - before) / 4);
    assert!(fallen, "before {before} KiB, peak {at_peak} KiB, now {} KiB", resident_kib());
    assert_eq!(on_goroutine(|| thread::spawn(|| 5).join().unwrap()), 5);
}
