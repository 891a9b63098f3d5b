//! The coroutines of `may`, with its own channels and locks. It has no channel without a buffer; both message rows use the one it
//! has. Each of its stacks needs two mappings, so the default `vm.max_map_count` of 65,530 bounds the crowd: it cannot hold a
//! million-leaf tree or 100,000 sleepers.

use crate::rows::{threads_row, Channel, Measured, Threads};
use may::coroutine;
use may::sync::{mpsc, Mutex};
use std::time::Duration;

/// Marker of the runtime.
struct May;

/// may's channel.
struct Mpsc;

impl Channel for Mpsc {
    type Tx = mpsc::Sender<u64>;
    type Rx = mpsc::Receiver<u64>;
    fn new() -> (Self::Tx, Self::Rx) {
        mpsc::channel()
    }
    fn send(tx: &Self::Tx, value: u64) {
        tx.send(value).expect("a receiver");
    }
    fn recv(rx: &Self::Rx) -> u64 {
        rx.recv().expect("a sender")
    }
}

impl Threads for May {
    const ALTERNATES: bool = true;
    type Handle<T: Send + 'static> = coroutine::JoinHandle<T>;
    type Rendezvous = Mpsc;
    type Unbounded = Mpsc;
    type Counter = Mutex<u64>;

    fn max_live() -> usize {
        20_000
    }
    fn spawn<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> Self::Handle<T> {
        // SAFETY: may asks that the closure neither keeps a reference into thread-local storage over a suspension nor runs out of
        // stack. The workloads touch no thread-locals of their own and are a few shallow frames.
        unsafe { coroutine::spawn(f) }
    }
    fn join<T: Send + 'static>(handle: Self::Handle<T>) -> T {
        handle.join().expect("the coroutine returns")
    }
    fn yield_now() {
        coroutine::yield_now();
    }
    fn sleep(time: Duration) {
        coroutine::sleep(time);
    }
    fn park() {
        coroutine::park();
    }
    fn unpark<T: Send + 'static>(handle: &Self::Handle<T>) {
        handle.coroutine().unpark();
    }
    fn bump(counter: &Self::Counter) {
        *counter.lock().expect("not poisoned") += 1;
    }
    fn total(counter: &Self::Counter) -> u64 {
        *counter.lock().expect("not poisoned")
    }
}

/// Runs one row with `procs` workers.
pub fn run(row: &str, procs: usize) -> Measured {
    let config = may::config();
    config.set_workers(procs);
    if row == "spawn_many" {
        // By default it keeps the stacks of a thousand; let it keep those of a whole crowd.
        config.set_pool_capacity(May::max_live());
    }
    threads_row::<May>(row, procs).unwrap_or_else(|| Err("no such row".into()))
}
