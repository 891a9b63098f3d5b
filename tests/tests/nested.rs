//! Rust calls C calls Rust calls C on a goroutine, which blocks in the innermost callback and goes on, perhaps on
//! another kernel thread, with every frame on the way as it was.

use gort::ffi;
use gort_tests::cthreads::{rounding_modes, through_c, tid, with_rounding, CThread, Fiber};
use gort_tests::needs_goroutines;
use gort_tests::subprocess::{is_child, Rerun};
use gort_tests::system::stay_for_fibers;
use std::cell::{Cell, RefCell};
use std::sync::mpsc;

thread_local!(static LEVELS: RefCell<Vec<u32>> = const { RefCell::new(Vec::new()) });

/// Goes `level` times through C and Rust, then calls `innermost`; holds borrows of thread-local variables on the way.
fn down(level: u32, innermost: &mut dyn FnMut()) {
    thread_local!(static DEPTH: Cell<u32> = const { Cell::new(0) });
    if level == 0 {
        return innermost();
    }
    DEPTH.with(|depth| {
        let before = depth.replace(depth.get() + 1);
        LEVELS.with_borrow_mut(|levels| levels.push(level));
        through_c(|| ffi::callback(|| down(level - 1, innermost)));
        assert_eq!(LEVELS.with_borrow_mut(Vec::pop), Some(level));
        assert_eq!(depth.replace(before), before + 1);
    });
}

/// Goroutines in pairs that hand a number to and fro from the depth of callbacks. Returns how often one of them was on
/// another kernel thread after a block than before.
fn pairs() -> usize {
    let goroutines: Vec<_> = (0..16)
        .flat_map(|_| {
            let (to_b, from_a) = mpsc::channel::<u32>();
            let (to_a, from_b) = mpsc::channel::<u32>();
            let play = |to: mpsc::Sender<u32>, from: mpsc::Receiver<u32>| {
                move || {
                    let mut moves = 0;
                    for n in 0..40 {
                        down(n % 5 + 1, &mut || {
                            let before = tid();
                            to.send(n).unwrap();
                            assert_eq!(from.recv().unwrap(), n);
                            gort::thread::yield_now();
                            moves += usize::from(tid() != before);
                        });
                        assert!(LEVELS.with_borrow(Vec::is_empty));
                    }
                    moves
                }
            };
            [gort::thread::spawn(play(to_b, from_b)), gort::thread::spawn(play(to_a, from_a))]
        })
        .collect();
    goroutines.into_iter().map(|g| g.join().unwrap()).sum()
}

/// Row R-06, C-08.
#[test]
fn frames_survive_a_block() {
    pairs();
}

#[test]
fn frames_survive_a_move() {
    needs_goroutines!("they do not migrate");
    if is_child() {
        let moves = pairs();
        assert!(moves > 0, "the seed moved nobody");
        return;
    }
    for seed in 1..=5 {
        for procs in [1, 2] {
            Rerun::of("frames_survive_a_move", "child")
                .inherit_all()
                .env("GORT_CHAOS", seed)
                .env("GORT_PROCS", procs)
                .run()
                .success();
        }
    }
}

#[test]
fn a_declared_call_survives_a_move() {
    needs_goroutines!("they do not migrate");
    if is_child() {
        let goroutines: Vec<_> = (0..16)
            .map(|_| {
                gort::thread::spawn(|| {
                    let mut moves = 0;
                    for level in 0..40 {
                        ffi::blocking(|| {
                            down(level % 4 + 1, &mut || {
                                let before = tid();
                                ffi::blocking(gort::thread::yield_now);
                                moves += usize::from(tid() != before);
                            });
                        });
                    }
                    moves
                })
            })
            .collect();
        let moves: usize = goroutines.into_iter().map(|g| g.join().unwrap()).sum();
        assert!(moves > 0, "the seed moved nobody");
        return;
    }
    for seed in 1..=5 {
        for procs in [1, 2] {
            let child = Rerun::of("a_declared_call_survives_a_move", "child").inherit_all();
            child.env("GORT_CHAOS", seed).env("GORT_PROCS", procs).run().success();
        }
    }
}

#[test]
fn a_c_thread_blocks_in_place() {
    let (to, from) = mpsc::channel();
    let (back, answers) = mpsc::channel();
    let thread = CThread::spawn(move || {
        for n in 0..100u32 {
            down(n % 5 + 1, &mut || {
                let before = tid();
                to.send(n).unwrap();
                assert_eq!(answers.recv().unwrap(), n);
                assert_eq!(tid(), before);
            });
        }
    });
    let goroutine = gort::thread::spawn(move || from.into_iter().for_each(|n: u32| back.send(n).unwrap()));
    thread.join();
    goroutine.join().unwrap();
}

#[test]
fn a_goroutine_blocks_on_a_fiber_of_the_host() {
    let goroutines: Vec<_> = (0..8u32)
        .map(|_| {
            gort::thread::spawn(|| {
                stay_for_fibers();
                let mut stack = vec![0u8; 64 << 10];
                let mut rounds = 0;
                // SAFETY: the memory is the fiber's alone.
                let mut fiber = unsafe {
                    Fiber::new(stack.as_mut_ptr(), stack.len(), |leave| {
                        for n in 0..20 {
                            down(n % 3 + 1, &mut gort::thread::yield_now);
                            rounds += 1;
                            leave.leave();
                        }
                    })
                };
                while !fiber.run() {
                    gort::thread::yield_now();
                }
                drop(fiber);
                rounds
            })
        })
        .collect();
    assert!(goroutines.into_iter().all(|g| g.join().unwrap() == 20));
}

/// Row R-06.
#[test]
fn each_goroutine_rounds_in_its_own_way() {
    let goroutines: Vec<_> = rounding_modes()
        .into_iter()
        .cycle()
        .take(16)
        .map(|mode| {
            gort::thread::spawn(move || {
                for _ in 0..50 {
                    with_rounding(mode, || ffi::callback(gort::thread::yield_now));
                    gort::thread::yield_now();
                }
            })
        })
        .collect();
    goroutines.into_iter().for_each(|g| g.join().unwrap());
}
