//! What a goroutine can do wrong: panic twice, overflow its stack where it ends, join itself, ask for a stack that cannot be.

use gort::thread::{self, Builder};
use gort_tests::measure::guards;
use gort_tests::needs_goroutines;
use gort_tests::subprocess::{alone, role, Rerun};
use std::cell::RefCell;
use std::sync::mpsc;
use std::sync::Arc;

/// Runs a closure when it is dropped.
struct AtEnd(Option<Box<dyn FnOnce()>>);

impl Drop for AtEnd {
    fn drop(&mut self) {
        (self.0.take().expect("dropped once"))();
    }
}

fn at_end(f: impl FnOnce() + 'static) -> AtEnd {
    AtEnd(Some(Box::new(f)))
}

thread_local!(static LAST: RefCell<Option<AtEnd>> = const { RefCell::new(None) });

#[inline(never)]
fn recurse(n: u64) -> u64 {
    let block = std::hint::black_box([n; 64]);
    if n == u64::MAX {
        return 0;
    }
    recurse(n + 1) + block[3]
}

#[test]
fn a_second_panic_while_the_first_unwinds_aborts_as_with_std() {
    const NAME: &str = "a_second_panic_while_the_first_unwinds_aborts_as_with_std";
    let Some(role) = role() else {
        for procs in [1, 2] {
            for role in ["std", "gort"] {
                let outcome = Rerun::of(NAME, role).env("GORT_PROCS", procs).run();
                outcome.died_of(libc::SIGABRT).says("the first").says("the second");
                outcome.says("panic in a destructor during cleanup");
            }
        }
        return;
    };
    let f = || {
        let _guard = at_end(|| {
            thread::yield_now(); // the panic count goes along
            panic!("the second");
        });
        panic!("the first");
    };
    match role.as_str() {
        "std" => drop(std::thread::spawn(f).join()),
        _ => drop(thread::spawn(f).join()),
    }
}

#[test]
fn an_overflow_where_the_goroutine_ends_is_reported() {
    needs_goroutines!("the report is std's");
    const NAME: &str = "an_overflow_where_the_goroutine_ends_is_reported";
    let Some(role) = role() else {
        for role in ["in a thread-local destructor", "while it unwinds", "in the drop of its result"] {
            for guard in guards() {
                let outcome = Rerun::of(NAME, role).env("GORT_GUARD", guard).run();
                outcome.died_of(libc::SIGABRT).says("goroutine 'deep at last'").says("overflowed its stack of");
                outcome.says("Builder::stack_size");
            }
        }
        return;
    };
    let builder = Builder::new().name("deep at last".into());
    let deep = || at_end(|| assert_eq!(recurse(0), 1));
    match role.as_str() {
        "in a thread-local destructor" => drop(builder.spawn(move || LAST.set(Some(deep()))).unwrap().join()),
        "while it unwinds" => drop(
            builder
                .spawn(move || {
                    let _guard = deep();
                    panic!("on purpose");
                })
                .unwrap()
                .join(),
        ),
        _ => {
            /// Nobody joins, so the goroutine drops it.
            struct Deep(#[allow(dead_code)] AtEnd);
            // SAFETY: what it runs captures nothing.
            unsafe impl Send for Deep {}
            let (dropped, is_dropped) = mpsc::channel();
            let handle = builder.spawn(move || {
                is_dropped.recv().unwrap(); // else who drops the handle would drop the result
                Deep(deep())
            });
            drop(handle.unwrap());
            dropped.send(()).unwrap();
            loop {
                thread::park();
            }
        }
    }
}

#[test]
fn a_goroutine_that_joins_itself_panics_as_a_thread_does() {
    alone("a_goroutine_that_joins_itself_panics_as_a_thread_does", || {
        let (to, from) = mpsc::channel::<thread::JoinHandle<()>>();
        let (done, is_done) = mpsc::channel();
        let g = thread::spawn(move || {
            let me = from.recv().unwrap();
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| me.join()));
            done.send(result.map(drop).unwrap_err()).unwrap();
        });
        to.send(g).unwrap();
        let payload = is_done.recv().unwrap();
        let text = payload.downcast_ref::<&str>().expect("a text");
        assert!(text.contains("cannot join itself"), "{text}");
        // A thread that has a goroutine's handle is not the goroutine.
        assert_eq!(thread::spawn(|| 3).join().unwrap(), 3);
    });
}

#[test]
fn stacks_of_no_size_and_of_any_size() {
    needs_goroutines!("the system says what is too large");
    alone("stacks_of_no_size_and_of_any_size", || {
        // Small ones are rounded up to what a panic with a text, and its backtrace, needs.
        for size in [0, 1, 100, 4096, 16 << 10] {
            let g = Builder::new().stack_size(size).spawn(move || {
                if size != 1 {
                    panic!("a text of {size}");
                }
                format!("{size:?}")
            });
            match g.unwrap().join() {
                Ok(text) => assert_eq!(text, "1"),
                Err(payload) => assert_eq!(*payload.downcast_ref::<String>().unwrap(), format!("a text of {size}")),
            }
        }
        for size in [1 << 37, 1 << 47, 1 << 60, usize::MAX - 4096, usize::MAX] {
            let before = gort::stats().goroutines;
            let e = Builder::new().stack_size(size).spawn(|| ()).unwrap_err();
            assert_eq!(e.kind(), std::io::ErrorKind::InvalidInput, "{size}: {e}");
            assert!(e.to_string().contains(&format!("{size} bytes is too large")), "{e}");
            assert!(e.to_string().contains("Builder::stack_size"), "{e}");
            assert_eq!(gort::stats().goroutines, before);
        }
        // What the closure holds is dropped when it cannot be run.
        let held = Arc::new(());
        let theirs = held.clone();
        assert!(Builder::new().stack_size(1 << 60).spawn(move || drop(theirs)).is_err());
        assert_eq!(Arc::strong_count(&held), 1);
        assert_eq!(thread::spawn(|| 5).join().unwrap(), 5);
    });
}
