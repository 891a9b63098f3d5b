//! What the runtime's thread-local word says on threads without an M: nothing, and nobody can write there.

use gort::ffi;
use gort::testing::{is_none, stray_store};
use gort_tests::cthreads::CThread;
use gort_tests::subprocess::{alone, is_child, Rerun};
use std::ffi::c_void;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};

#[test]
fn six_slots() {
    assert_eq!(gort::TLS_SLOTS, 6);
}

/// Row X-15.
#[test]
fn a_thread_has_none_until_its_first_callback() {
    let seen = CThread::spawn(|| [is_none(), ffi::callback(is_none), is_none(), ffi::callback(is_none)]).join();
    assert_eq!(seen, [true, false, false, false]);
    assert!(is_none(), "this thread never called in");
}

#[test]
fn others_bind_only_themselves() {
    let gate = Arc::new(Barrier::new(2));
    let theirs = gate.clone();
    let bound = CThread::spawn(move || {
        ffi::callback(|| ());
        theirs.wait();
        theirs.wait();
        is_none()
    });
    let theirs = gate.clone();
    let fresh = CThread::spawn(move || {
        theirs.wait();
        let seen = is_none();
        theirs.wait();
        seen
    });
    assert!(!bound.join());
    assert!(fresh.join());
}

#[test]
fn goroutines_and_runtime_threads_have_one() {
    let seen = gort::thread::spawn(|| [is_none(), ffi::on_system_stack(is_none)]).join().unwrap();
    assert_eq!(seen, [false, false]);
}

/// Row X-16.
#[test]
fn the_next_owner_of_an_m_starts_with_none() {
    alone("the_next_owner_of_an_m_starts_with_none", || {
        for _ in 0..10 {
            let seen = CThread::spawn(|| [is_none(), ffi::callback(is_none), is_none()]).join();
            assert_eq!(seen, [true, false, false]);
        }
        assert_eq!(gort::stats().extra_ms, 1, "it was the same M each time");
    });
}

/// How often the destructor below saw no M.
static NONE: AtomicUsize = AtomicUsize::new(0);

/// A host's destructor that runs after the runtime's, for its key is younger.
unsafe extern "C" fn after_ours(value: *mut c_void) {
    NONE.fetch_add(usize::from(is_none()), Ordering::Relaxed);
    if value as usize == STORE {
        eprintln!("now storing");
        // SAFETY: the process is meant to die of it.
        unsafe { stray_store() };
    }
}

const LOOK: usize = 1;
const STORE: usize = 2;

/// Runs a thread that has called in through its destructors, one of which does `what` after the M was given back.
fn thread_that_looks_back(what: usize) {
    CThread::spawn(|| ffi::callback(|| ())).join(); // makes the runtime's key
    let mut key = 0;
    // SAFETY: `key` is ours to write.
    assert_eq!(unsafe { libc::pthread_key_create(&raw mut key, Some(after_ours)) }, 0);
    CThread::spawn(move || {
        ffi::callback(|| ());
        // SAFETY: the key exists; the value is a number.
        assert_eq!(unsafe { libc::pthread_setspecific(key, what as *const c_void) }, 0);
    })
    .join();
}

#[test]
fn a_thread_that_gave_its_m_back_has_none() {
    alone("a_thread_that_gave_its_m_back_has_none", || {
        thread_that_looks_back(LOOK);
        assert_eq!(NONE.load(Ordering::Relaxed), 1);
    });
}

/// Runs `body`, which makes a stray store, in a child, which must die of SIGSEGV there.
fn dies(test: &str, body: impl FnOnce()) {
    if is_child() {
        body();
        eprintln!("still alive");
        return;
    }
    Rerun::of(test, "child").inherit_all().run().died_of(libc::SIGSEGV).says("now storing").does_not_say("still alive");
}

fn store() {
    eprintln!("now storing");
    // SAFETY: the process is meant to die of it.
    unsafe { stray_store() };
}

/// Row X-15.
#[test]
fn a_store_without_an_m_is_fatal() {
    dies("a_store_without_an_m_is_fatal", || CThread::spawn(store).join());
}

#[test]
fn a_store_without_an_m_is_fatal_in_a_running_runtime() {
    dies("a_store_without_an_m_is_fatal_in_a_running_runtime", || {
        gort::thread::spawn(|| ()).join().unwrap(); // the runtime's own handler of SIGSEGV is installed
        CThread::spawn(store).join();
    });
}

#[test]
fn a_store_after_the_m_was_given_back_is_fatal() {
    dies("a_store_after_the_m_was_given_back_is_fatal", || thread_that_looks_back(STORE));
}

#[test]
fn a_store_with_an_m_is_not_fatal() {
    // The counterpart that shows what the others die of.
    const NAME: &str = "a_store_with_an_m_is_not_fatal";
    if is_child() {
        CThread::spawn(|| {
            ffi::callback(|| ());
            store();
            eprintln!("survived");
            std::process::exit(0);
        })
        .join();
    }
    let outcome = Rerun::of(NAME, "child").inherit_all().run();
    outcome.says("survived");
    assert!(outcome.status.success());
}
