//! gort itself: goroutines under std's names, with std's own channels and locks, which park them.

use super::threads::{StdRendezvous, StdUnbounded};
use super::{ffi, hooked, net, switch, threads_row, Measured, Threads};
use crate::c;
use crate::os::most_goroutines;
use gort::thread;
use std::hint::black_box;
use std::sync::Mutex;
use std::time::Duration;

/// Marker of the runtime.
pub struct Gort;

impl Threads for Gort {
    const ALTERNATES: bool = true;
    type Handle<T: Send + 'static> = thread::JoinHandle<T>;
    type Rendezvous = StdRendezvous;
    type Unbounded = StdUnbounded;
    type Counter = Mutex<u64>;

    fn max_live() -> usize {
        most_goroutines()
    }
    fn spawn<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> Self::Handle<T> {
        thread::spawn(f)
    }
    fn join<T: Send + 'static>(handle: Self::Handle<T>) -> T {
        handle.join().expect("the goroutine returns")
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

/// What the C threads of the callback rows call.
extern "C" fn enter(x: i64) -> i64 {
    gort::ffi::callback(move || black_box(x) + 1)
}

/// What the C thread of the row `callback_wake` calls.
extern "C" fn wake(called_at: i64) -> i64 {
    gort::ffi::callback(move || ffi::send_to_woken(called_at))
}

/// Starts the runtime with `procs` processors and runs one row.
///
/// # Panics
/// If the runtime does not start or the row's result is wrong.
pub fn run(row: &str, procs: usize) -> Measured {
    gort::Config::new().procs(procs).start().expect("the runtime starts");
    if let Some(measured) = net::net_row::<Gort>(row) {
        return measured;
    }
    let on_goroutine = |f: fn() -> f64| Ok(vec![Gort::join(Gort::spawn(f))]);
    match row {
        "callback_bound" => Ok(vec![ffi::callback_bound(enter)]),
        "callback_first" => Ok(vec![ffi::callback_first(enter)]),
        "callback_main" => Ok(ffi::callback_main(enter)),
        "callback_parallel" => Ok(ffi::callback_parallel(enter)),
        "callback_wake" => ffi::callback_wake(wake, |task| drop(Gort::spawn(task))),
        "call_c" => on_goroutine(|| ffi::calls(c::add)),
        "call_c_blocking" => on_goroutine(|| ffi::calls(|a, b| gort::ffi::blocking(move || c::add(a, b)))),
        "call_c_callback" => on_goroutine(|| ffi::calls(|a, _| c::through(enter, a))),
        "locked_pingpong" => on_goroutine(|| switch::pingpong::<StdRendezvous, Gort>(gort::ffi::lock_os_thread)),
        "hooked" => hooked::run(),
        // From a goroutine, as Go's main function is one.
        _ => {
            let row = row.to_owned();
            Gort::join(Gort::spawn(move || {
                threads_row::<Gort>(&row, procs).unwrap_or_else(|| Err("no such row".into()))
            }))
        }
    }
}
