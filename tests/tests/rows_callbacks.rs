//! Rust calls C, which calls Rust, on goroutines and on C threads: what Go's tests of cgo ask of its callbacks, transferred.

use gort::ffi::{self, lock_os_thread, unlock_os_thread};
use gort::thread;
use gort_tests::cthreads::{at_depth, crowd, each, through_c, tid, use_stack, CThread};
use gort_tests::kinds::with_one_p_and_two;
use gort_tests::raw::Pipe;
use gort_tests::rows::{after, everywhere, plain, texts, unlocked, Life, Row, SIDE};
use gort_tests::subprocess::{alone, is_child, Rerun};
use std::ffi::{c_char, c_long, c_uint, c_void, CStr};
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{mpsc, Arc, Mutex};

/// Row C-01, C-15.
#[test]
fn c_calls_a_closure_and_two_that_call_each_other() {
    fn even(n: u32) -> bool {
        n == 0 || through_c(|| ffi::callback(|| odd(n - 1)))
    }
    fn odd(n: u32) -> bool {
        n != 0 && through_c(|| ffi::callback(|| even(n - 1)))
    }
    everywhere(|| {
        let mut ran = 0;
        through_c(|| ffi::callback(|| ran += 1));
        assert_eq!(ran, 1);
        assert!(even(20) && odd(19) && !even(7));
    });
}

/// Takes memory and stack, gives memory back, and lets others run.
fn churn(depth: usize) -> usize {
    let boxes: Vec<_> = (0..depth).map(|i| Box::new([i; 20])).collect();
    if depth == 0 {
        thread::yield_now();
        return 0;
    }
    churn(depth - 1) + boxes.iter().map(|b| b[7]).max().map_or(0, |most| most + 1)
}

/// Row C-02.
#[test]
fn memory_is_taken_and_given_back_in_callbacks() {
    let all: Vec<_> = (0..20)
        .map(|_| {
            thread::spawn(|| through_c(|| ffi::callback(|| churn(30))) + through_c(|| ffi::callback(|| churn(20))))
        })
        .collect();
    for g in all {
        assert_eq!(g.join().unwrap(), 30 * 31 / 2 + 20 * 21 / 2);
    }
}

/// How often the function below was called.
static CALLED: AtomicUsize = AtomicUsize::new(0);

#[gort::callback(on_panic = ())]
extern "C" fn nothing_to_nothing() {
    churn(CALLED.fetch_add(1, SeqCst) % 40);
}

/// Row C-07.
#[test]
fn without_arguments_and_result() {
    alone("without_arguments_and_result", || {
        everywhere(|| {
            for _ in 0..100 {
                plain(nothing_to_nothing);
            }
        });
        assert_eq!(CALLED.load(SeqCst), 300);
    });
}

/// Appends the length of the text, and the text if it is short, to the list at `arg`.
#[gort::callback(on_panic = -1)]
unsafe extern "C" fn listens(arg: *mut c_void, text: *const c_char) -> c_long {
    // SAFETY: the test passes a list, and C a text.
    let (list, text) = unsafe { (&*arg.cast::<Mutex<Vec<String>>>(), CStr::from_ptr(text)) };
    let text = text.to_str().unwrap();
    thread::yield_now();
    list.lock().unwrap().push(text.chars().take(10).collect());
    text.len() as c_long
}

/// Row C-12.
#[test]
fn c_passes_texts() {
    everywhere(|| {
        let list = Mutex::new(Vec::<String>::new());
        assert_eq!(texts(listens, &list), 4 + 9999);
        assert_eq!(list.into_inner().unwrap(), ["", "word", "xxxxxxxxxx"]);
    });
}

/// Uses much of the stack, parks, and returns `i`.
#[gort::callback(on_panic = -1)]
extern "C" fn deep(_arg: *mut c_void, i: u64) -> i64 {
    assert_eq!(use_stack(64 << 10), 64 << 10);
    thread::yield_now();
    i as i64
}

/// Row W-20, C-10, C-11.
#[test]
fn values_are_right_after_a_callback_has_used_the_stack() {
    everywhere(|| {
        assert_eq!(each(deep, &(), 20), 190, "Rust's");
        for value in [0, -1, i64::MAX, 0x0123_4567_89ab_cdef] {
            let got = after(value, || {
                ffi::callback(|| deep(std::ptr::null_mut(), 3));
            });
            assert_eq!(got, value, "C's");
        }
    });
}

/// Goroutines in C that others, in callbacks, let go, and the reverse: both kinds are on the way at the same time.
///
/// Row C-16.
#[test]
fn c_blocks_while_others_run_and_the_reverse() {
    if !with_one_p_and_two("c_blocks_while_others_run_and_the_reverse") {
        return;
    }
    for declared in [true, false] {
        let pipe = Arc::new(Pipe::new());
        let (to, from) = mpsc::channel();
        let theirs = pipe.clone();
        let in_c = thread::spawn(move || {
            through_c(|| {
                ffi::callback(|| {
                    for n in 0..20 {
                        // Blocks in C until the other one, in Rust, writes; then that one waits, in Rust, until we send.
                        let byte = if declared { ffi::blocking(|| theirs.read()) } else { theirs.read() };
                        assert_eq!(byte, n);
                        to.send(n).unwrap();
                    }
                });
            });
        });
        let in_rust = thread::spawn(move || {
            for n in 0..20 {
                through_c(|| {
                    ffi::callback(|| {
                        pipe.write(n, 1);
                        assert_eq!(from.recv(), Ok(n));
                    });
                });
            }
        });
        in_c.join().unwrap();
        in_rust.join().unwrap();
    }
}

/// Row C-20.
#[test]
fn locks_that_callbacks_take_and_undo() {
    let goroutine = thread::spawn(|| {
        for _ in 0..100 {
            through_c(|| {
                ffi::callback(|| {
                    lock_os_thread();
                    let home = tid();
                    thread::yield_now();
                    assert_eq!(tid(), home);
                    unlock_os_thread();
                });
            });
        }
        assert!(unlocked(), "as many were undone as taken");
        // Taken in one callback, and undone in another.
        through_c(|| ffi::callback(lock_os_thread));
        let home = tid();
        thread::yield_now();
        assert_eq!(tid(), home);
        through_c(|| ffi::callback(unlock_os_thread));
        assert!(unlocked());
    });
    goroutine.join().unwrap();
    // On a C thread both are nothing.
    CThread::spawn(|| (0..100).for_each(|_| ffi::callback(|| (lock_os_thread(), unlock_os_thread())).0)).join();
}

/// Something that crosses C as a pointer: who waits, what for, and what was said.
struct Handle {
    waits: thread::Thread,
    said: Mutex<Vec<u32>>,
}

/// Takes one reference to the handle, says something by it, and wakes who waits.
#[gort::callback(on_panic = -1)]
unsafe extern "C" fn says(arg: *mut c_void, i: u64) -> i64 {
    // SAFETY: the test made a reference for each call.
    let handle = unsafe { Arc::from_raw(arg.cast::<Handle>()) };
    handle.said.lock().unwrap().push(i as u32);
    handle.waits.unpark();
    0
}

/// Row C-34.
#[test]
fn handles_pass_through_c() {
    let goroutine = thread::spawn(|| {
        let handle = Arc::new(Handle { waits: thread::current(), said: Mutex::default() });
        let callers: Vec<_> = (0..4)
            .map(|_| {
                let pointers: Vec<_> = (0..25).map(|_| Arc::into_raw(handle.clone()) as usize).collect();
                CThread::spawn(move || {
                    for pointer in pointers {
                        // SAFETY: each pointer is a reference, and given once.
                        let handle = unsafe { &*(pointer as *const Handle) };
                        assert_eq!(each(says, handle, 1), 0);
                    }
                })
            })
            .collect();
        while handle.said.lock().unwrap().len() < 100 {
            thread::park();
        }
        callers.into_iter().for_each(CThread::join);
        assert_eq!(Arc::strong_count(&handle), 1, "each was given back");
        handle
    });
    // The goroutine is gone; what names it is still good, and wakes nobody.
    goroutine.join().unwrap().waits.unpark();
}

/// Row A-11.
#[test]
fn a_hundred_thousand_calls_that_allocate() {
    #[gort::callback(on_panic = -1)]
    unsafe extern "C" fn allocates(arg: *mut c_void, i: u64) -> i64 {
        // SAFETY: the test passes a list.
        let kept = unsafe { &*arg.cast::<Mutex<Vec<Vec<u8>>>>() };
        let mut kept = kept.lock().unwrap();
        kept.push(vec![i as u8; 4096]);
        if kept.len() == 100 {
            kept.drain(..50);
        }
        1
    }
    let kept = Mutex::new(Vec::<Vec<u8>>::new());
    assert_eq!(crowd(1, allocates, &kept, 100_000), 100_000);
    assert_eq!(kept.lock().unwrap().last().unwrap()[4095], 99_999u64 as u8);
}

/// With one P, which a goroutine that never gives way has taken: callbacks enter, and so do the goroutines that they make.
///
/// Row A-12.
#[test]
fn a_goroutine_that_spins_keeps_no_callback_out() {
    const NAME: &str = "a_goroutine_that_spins_keeps_no_callback_out";
    if !is_child() {
        Rerun::of(NAME, "child").inherit("GORT_CHAOS").env("GORT_PROCS", 1).run().success();
        return;
    }
    static STATE: AtomicUsize = AtomicUsize::new(0);
    let spins = thread::spawn(|| {
        STATE.store(1, SeqCst);
        while STATE.load(SeqCst) != 2 {
            std::hint::spin_loop();
        }
    });
    let caller = CThread::spawn(|| {
        while STATE.load(SeqCst) != 1 {
            std::thread::yield_now();
        }
        let calls: u64 = (0..1000).map(|i| ffi::callback(|| i)).sum();
        calls + ffi::callback(|| thread::spawn(|| 1).join().unwrap())
    });
    assert_eq!(caller.join(), 499_501);
    STATE.store(2, SeqCst);
    spins.join().unwrap();
}

/// Row A-13.
#[test]
fn from_shallow_frames_and_deep_ones_by_turns() {
    const DEEP: usize = 40_000;
    everywhere(|| {
        let call = || assert_eq!(ffi::callback(|| use_stack(32 << 10)), 64 << 10, "as frames are");
        call();
        at_depth(DEEP, call);
        call();
        at_depth(DEEP, || ffi::callback(|| through_c(call)));
        let panics = || {
            let result: Result<(), _> = ffi::try_callback(|| at_depth(DEEP, || resume_unwind(Box::new(5))));
            assert_eq!(result.unwrap_err().downcast_ref(), Some(&5));
        };
        at_depth(DEEP, || ffi::callback(|| through_c(panics)));
        panics();
        call();
    });
}

/// Two goroutines make C threads that call in, one after the other: Ms go from thread to thread all the time.
///
/// Row T-14.
#[test]
fn threads_that_goroutines_make_one_after_the_other() {
    alone("threads_that_goroutines_make_one_after_the_other", || {
        let all = [0, 1].map(|n| {
            thread::spawn(move || {
                let mut sum = 0;
                for i in 0..300 {
                    // Plain memory, handed over by making the thread and by joining it.
                    let mut value = Box::new(i);
                    let thread = CThread::sized(256 << 10, move || {
                        ffi::callback(|| *value += n);
                        value
                    });
                    sum += *thread.join();
                }
                sum
            })
        });
        assert_eq!(all.map(|g| g.join().unwrap()), [44_850, 45_150]);
        let stats = gort::stats();
        assert!((1..=2).contains(&stats.extra_ms) && stats.extra_ms_in_use == 0, "{stats:?}");
    });
}

/// Row R-21.
#[test]
fn a_hundred_thousand_calls_on_each_of_ten_goroutines() {
    #[gort::callback(on_panic = -1)]
    extern "C" fn counts(_arg: *mut c_void, i: u64) -> i64 {
        if i.is_multiple_of(1000) {
            thread::yield_now();
        }
        1
    }
    let all: Vec<_> = (0..10).map(|_| thread::spawn(|| each(counts, &(), 100_000))).collect();
    assert!(all.into_iter().all(|g| g.join().unwrap() == 100_000));
}

/// What a generation's callbacks share.
struct Game {
    row: Row,
    made: Mutex<Vec<thread::JoinHandle<()>>>,
}

unsafe extern "C" fn start_row(arg: *mut c_void, y: c_uint) {
    // SAFETY: the test passes a game.
    let game = unsafe { &*arg.cast::<Game>() };
    let row = game.row;
    // SAFETY: C asks for each row of a generation once, and waits for it.
    let make = move || unsafe { row.make(y) };
    ffi::callback(|| game.made.lock().unwrap().push(thread::spawn(make)));
}

unsafe extern "C" fn wait_for_rows(arg: *mut c_void) {
    // SAFETY: as above.
    let game = unsafe { &*arg.cast::<Game>() };
    ffi::callback(|| game.made.lock().unwrap().drain(..).for_each(|g| g.join().unwrap()));
}

/// A game in C, each of whose steps starts goroutines from C.
///
/// Row L-01.
#[test]
fn a_game_of_life() {
    static PLAYED: AtomicBool = AtomicBool::new(false);
    everywhere(|| {
        let mut life = Life::glider();
        let first = life.text();
        assert!(first.starts_with(".X..............\n..X.............\nXXX.............\n"), "{first}");
        for generation in 1..=4 * SIDE {
            let game = Game { row: life.rows(), made: Mutex::default() };
            life.generation(start_row, wait_for_rows, &game);
            let five = life.text().matches('X').count() == 5;
            assert!(five && (life.text() == first) == (generation == 4 * SIDE), "{generation}: {}", life.text());
        }
        PLAYED.store(true, SeqCst);
    });
    assert!(PLAYED.load(SeqCst));
}
