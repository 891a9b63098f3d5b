//! Kernel threads through std. The process is confined to as many CPUs as the others get processors, and crowds are scaled down to
//! what a kernel allows by default. The rows about C give the floor: what a call costs without any runtime.

use crate::c;
use crate::os::use_cpus;
use crate::rows::threads::{StdRendezvous, StdUnbounded};
use crate::rows::{ffi, net, switch, threads_row, Measured, Threads};
use std::hint::black_box;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

/// Marker of the runtime.
struct Std;

impl Threads for Std {
    // The kernel keeps its own counsel about sched_yield.
    const ALTERNATES: bool = false;
    type Handle<T: Send + 'static> = thread::JoinHandle<T>;
    type Rendezvous = StdRendezvous;
    type Unbounded = StdUnbounded;
    type Counter = Mutex<u64>;

    fn max_live() -> usize {
        10_000
    }
    fn spawn<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> Self::Handle<T> {
        thread::spawn(f)
    }
    fn join<T: Send + 'static>(handle: Self::Handle<T>) -> T {
        handle.join().expect("the thread returns")
    }
    fn yield_now() {
        thread::yield_now();
    }
    fn sleep(time: Duration) {
        thread::sleep(time);
    }
    fn park() {
        thread::park();
    }
    fn unpark<T: Send + 'static>(handle: &Self::Handle<T>) {
        handle.thread().unpark();
    }
    fn bump(counter: &Self::Counter) {
        *counter.lock().expect("not poisoned") += 1;
    }
    fn total(counter: &Self::Counter) -> u64 {
        *counter.lock().expect("not poisoned")
    }
}

/// What the C threads of the callback rows call: plain Rust.
extern "C" fn plain(x: i64) -> i64 {
    black_box(x) + 1
}

/// What the C thread of the row `callback_wake` calls.
extern "C" fn wake(called_at: i64) -> i64 {
    ffi::send_to_woken(called_at)
}

/// Runs one row.
pub fn run(row: &str, procs: usize) -> Measured {
    use_cpus(procs);
    if let Some(measured) = net::net_row::<Std>(row) {
        return measured;
    }
    match row {
        "callback_bound" => Ok(vec![ffi::callback_bound(plain)]),
        "callback_main" => Ok(ffi::callback_main(plain)),
        "callback_parallel" => Ok(ffi::callback_parallel(plain)),
        "callback_wake" => ffi::callback_wake(wake, |task| drop(Std::spawn(task))),
        "call_c_callback" => Ok(vec![ffi::calls(|a, _| c::through(plain, a))]),
        "locked_pingpong" => Ok(vec![switch::pingpong::<StdRendezvous, Std>(|| ())]),
        "call_c" => Ok(vec![ffi::calls(c::add)]),
        _ => threads_row::<Std>(row, procs).unwrap_or_else(|| Err("no such row".into())),
    }
}
