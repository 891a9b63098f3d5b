//! Running the same code on both kinds of threads, and with one P and with two.

use crate::cthreads::CThread;
use crate::subprocess::{role, Rerun};
use std::sync::Arc;

/// Runs `f(all, i)` on `n` threads of C, for the even `i`, and on `n` goroutines, for the odd, and waits for all.
pub fn on_both<A: Send + Sync + 'static>(all: &Arc<A>, n: usize, f: fn(&A, usize)) {
    let threads: Vec<_> = (0..n)
        .map(|i| {
            let all = all.clone();
            CThread::spawn(move || f(&all, 2 * i))
        })
        .collect();
    let goroutines: Vec<_> = (0..n)
        .map(|i| {
            let all = all.clone();
            gort::thread::spawn(move || f(&all, 2 * i + 1))
        })
        .collect();
    goroutines.into_iter().for_each(|g| g.join().expect("on a goroutine"));
    threads.into_iter().for_each(CThread::join);
}

/// Runs `f(i)` on `n` plain threads, for the even `i`, and on `n` goroutines, for the odd, and waits for all.
pub fn on_goroutines_and_threads(n: usize, f: impl Fn(usize) + Sync) {
    let f = &f;
    std::thread::scope(|threads| {
        gort::thread::scope(|goroutines| {
            for i in 0..n {
                threads.spawn(move || f(2 * i));
                goroutines.spawn(move || f(2 * i + 1));
            }
        })
    });
}

/// Runs the test of that name in children, which are ended if they hang, with 1 and 2 Ps. True in a child, which then runs the
/// test's body.
pub fn with_one_p_and_two(name: &str) -> bool {
    in_children(name, |child| child.inherit("GORT_CHAOS"))
}

/// As [`with_one_p_and_two`], never with chaos; see [`crate::subprocess::without_chaos`].
pub fn with_one_p_and_two_without_chaos(name: &str) -> bool {
    in_children(name, |child| child)
}

fn in_children(name: &str, settings: impl Fn(Rerun) -> Rerun) -> bool {
    if role().is_some() {
        return true;
    }
    for procs in ["1", "2"] {
        settings(Rerun::of(name, "child").env("GORT_PROCS", procs)).run().success();
    }
    false
}
