//! C++ in thread-local storage: objects with destructors, exceptions that are under way while goroutines park and move to
//! other kernel threads, through C++'s frames and ours. The C++ half is `c/locals.cpp`.

use gort_tests::measure::on_goroutine;
use gort_world::crowd::{crowd, scaled, Watch};
use std::ffi::{c_int, c_long, c_ulong, c_void};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Goroutines.
const CLIENTS: usize = 1_000;

type Pause = extern "C" fn();
type Call = extern "C-unwind" fn(c_long);

// SAFETY: the functions of `c/locals.cpp` have these types; those that are called safe ask nothing of their callers.
unsafe extern "C" {
    safe fn cx_visit(id: c_long, pause: Pause) -> c_long;
    safe fn cx_dice() -> c_ulong;
    safe fn cx_made() -> c_long;
    safe fn cx_gone() -> c_long;
    safe fn cx_wrong() -> c_long;
    safe fn cx_unwind(id: c_long, pause: Pause, depth: c_int) -> c_long;
    safe fn cx_capture(id: c_long) -> *mut c_void;
    unsafe fn cx_release(captured: *mut c_void, pause: Pause) -> c_long;
    safe fn cx_static(pause: Pause) -> c_long;
    safe fn cx_attempts() -> c_long;
}

// SAFETY: as above; these let exceptions and panics through.
unsafe extern "C-unwind" {
    safe fn cx_throw(id: c_long);
    safe fn cx_catch(f: Call, id: c_long, pause: Pause) -> c_long;
    safe fn cx_pass(f: Call, id: c_long, pause: Pause);
}

/// Lets others run, and may go on on another kernel thread.
extern "C" fn pause() {
    gort::thread::yield_now();
}

fn number(i: usize) -> c_long {
    i as c_long + 1
}

#[test]
fn thread_local_objects_with_destructors() {
    let n = scaled(CLIENTS);
    let watch = Watch::start("C++, thread-local objects");
    // Goroutines that come later take over stack and storage of earlier ones.
    for _ in 0..3 {
        let (made, gone) = (cx_made(), cx_gone());
        let first = crowd(n, |i| {
            let first = cx_dice();
            for visit in 1..=10 {
                assert_eq!(cx_visit(number(i), pause), visit);
            }
            first
        });
        assert!(first.iter().all(|number| *number == first[0]), "a generator each, with the same seed");
        assert_eq!(cx_made() - made, 2 * n as c_long);
        assert_eq!(cx_gone() - gone, 2 * n as c_long, "their destructors have run when a goroutine has been joined");
    }
    assert_eq!(cx_wrong(), 0);
    watch.few();
}

#[test]
fn exceptions_while_goroutines_move() {
    let watch = Watch::start("C++, exceptions");
    crowd(scaled(CLIENTS), |i| {
        for round in 0..3 {
            let id = number(i * 10 + round);
            assert_eq!(cx_unwind(id, pause, 1 + (i % 8) as c_int), id);
        }
    });
    assert_eq!(cx_wrong(), 0);
    watch.few();
}

/// Counts guards that have been dropped, and lets others run meanwhile.
struct Guard<'a>(&'a AtomicUsize);

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        gort::thread::yield_now();
        self.0.fetch_add(1, Relaxed);
    }
}

/// Row L-04.
#[test]
fn exceptions_through_frames_of_rust() {
    static DROPPED: AtomicUsize = AtomicUsize::new(0);
    extern "C-unwind" fn through(id: c_long) {
        let _guard = Guard(&DROPPED);
        gort::thread::yield_now();
        let _another = Guard(&DROPPED);
        if id % 3 != 0 {
            cx_throw(id);
        }
    }
    let n = scaled(CLIENTS);
    let watch = Watch::start("C++, exceptions through Rust");
    crowd(n, |i| {
        let id = number(i);
        let carried = if id % 3 == 0 { 0 } else { id };
        assert_eq!(cx_catch(through, id, pause), carried);
    });
    assert_eq!(DROPPED.load(Relaxed), 2 * n);
    assert_eq!(cx_wrong(), 0);
    watch.few();
}

/// Row L-04.
#[test]
fn panics_through_frames_of_cxx() {
    extern "C-unwind" fn fails(id: c_long) {
        gort::thread::yield_now();
        std::panic::resume_unwind(Box::new(id));
    }
    let watch = Watch::start("C++, panics through it");
    let n = scaled(CLIENTS);
    crowd(n, |i| {
        let id = number(i);
        let payload = catch_unwind(AssertUnwindSafe(|| cx_pass(fails, id, pause))).expect_err("it panics");
        assert_eq!(payload.downcast_ref::<c_long>(), Some(&id));
        assert!(!std::thread::panicking());
    });
    // libstdc++ counts a panic that it throws again as under way for ever, on any thread. Those that take over stack and
    // storage of these goroutines must not see that.
    crowd(n, |i| assert_eq!(cx_unwind(number(i), pause, 2), number(i)));
    assert_eq!(cx_wrong(), 0);
    watch.few();
}

/// An exception that another goroutine, or a plain thread, throws again.
#[test]
fn exceptions_carried_elsewhere() {
    struct Captured(*mut c_void);
    // SAFETY: a `std::exception_ptr` may be used and freed on any thread.
    unsafe impl Send for Captured {}
    impl Captured {
        fn release(self) -> c_long {
            // SAFETY: `cx_capture` made it, and this is the only use.
            unsafe { cx_release(self.0, pause) }
        }
    }
    let n = scaled(CLIENTS);
    let watch = Watch::start("C++, exceptions carried elsewhere");
    let captured = crowd(n, |i| Captured(cx_capture(number(i))));
    // All at a time, on goroutines that did not make them.
    let ids: Vec<_> = gort::thread::scope(|s| {
        let all: Vec<_> = captured.into_iter().rev().map(|one| s.spawn(|| one.release())).collect();
        all.into_iter().rev().map(|one| one.join().expect("no panic")).collect()
    });
    assert!(ids.into_iter().eq((0..n).map(number)));
    let captured = on_goroutine(|| Captured(cx_capture(5)));
    assert_eq!(captured.release(), 5);
    watch.few();
}

/// All but one wait until a local static has been made; the first attempts fail.
#[test]
fn a_local_static_for_all() {
    let watch = Watch::start("C++, a local static");
    crowd(scaled(CLIENTS), |_| assert_eq!(cx_static(pause), 77));
    assert_eq!(cx_attempts(), 3);
    watch.few();
}
