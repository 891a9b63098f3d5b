//! What a runtime must offer to take part in the generic workloads: threads by any name, two channels and a lock.

use std::sync::mpsc;
use std::time::Duration;

/// A channel of `u64` as the users of a runtime would pick it.
pub trait Channel: 'static {
    /// The sending half.
    type Tx: Send + 'static;
    /// The receiving half.
    type Rx: Send + 'static;
    /// Makes a channel.
    fn new() -> (Self::Tx, Self::Rx);
    /// Sends; panics if the receiver is gone.
    fn send(tx: &Self::Tx, value: u64);
    /// Receives, waiting if need be; panics if the senders are gone.
    fn recv(rx: &Self::Rx) -> u64;
}

/// Tasks that are written as threads are.
pub trait Threads: 'static {
    /// Whether a yield on one processor always lets the other runnable task go first, so that the yield row can insist on it.
    const ALTERNATES: bool;
    /// Owner of a task.
    type Handle<T: Send + 'static>: Send + 'static;
    /// The channel without a buffer, or the nearest there is.
    type Rendezvous: Channel;
    /// The channel without a bound.
    type Unbounded: Channel<Tx: Clone>;
    /// A lock around a number.
    type Counter: Default + Send + Sync + 'static;

    /// How many tasks may be alive at once without special system settings. Rows that count per task are scaled down to it, rows
    /// whose name promises more are not run.
    fn max_live() -> usize;
    /// Starts a task.
    fn spawn<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> Self::Handle<T>;
    /// Waits for a task and returns its result; panics if it panicked.
    fn join<T: Send + 'static>(handle: Self::Handle<T>) -> T;
    /// Lets others run.
    fn yield_now();
    /// Sleeps at least this long.
    fn sleep(time: Duration);
    /// Waits for an `unpark` of this task; may return early.
    fn park();
    /// Wakes a task from `park`, or makes its next `park` return at once.
    fn unpark<T: Send + 'static>(handle: &Self::Handle<T>);
    /// Locks, adds one, unlocks.
    fn bump(counter: &Self::Counter);
    /// Locks and reads.
    fn total(counter: &Self::Counter) -> u64;
}

/// std's channel without a buffer.
pub struct StdRendezvous;

impl Channel for StdRendezvous {
    type Tx = mpsc::SyncSender<u64>;
    type Rx = mpsc::Receiver<u64>;
    fn new() -> (Self::Tx, Self::Rx) {
        mpsc::sync_channel(0)
    }
    fn send(tx: &Self::Tx, value: u64) {
        tx.send(value).expect("a receiver");
    }
    fn recv(rx: &Self::Rx) -> u64 {
        rx.recv().expect("a sender")
    }
}

/// std's channel without a bound.
pub struct StdUnbounded;

impl Channel for StdUnbounded {
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
