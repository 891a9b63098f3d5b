//! Tasks of tokio's multi-thread scheduler: the workloads of `rows` again, as async functions with tokio's own channels and locks.
//! A channel of one slot stands for the rendezvous, which tokio does not have.

mod net;

use crate::c;
use crate::measure::{held_since_start, per_op, scaled};
use crate::rows::contend::{LOCKERS, LOCKS_EACH, SLEEPERS};
use crate::rows::ffi::{middle_and_late, PAUSE, WAKES};
use crate::rows::parked::PARKED;
use crate::rows::spawn::{skynet_leaves, SKYNET_FAN_OUT};
use crate::rows::Measured;
use std::future::Future;
use std::hint::black_box;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{mpsc, Mutex, Notify};
use tokio::task::yield_now;

/// Runs one row with `procs` workers.
pub fn run(row: &str, procs: usize) -> Measured {
    let rt = Builder::new_multi_thread().worker_threads(procs).enable_all().build().expect("the runtime starts");
    if let Some(measured) = net::net_row(&rt, row) {
        return measured;
    }
    let repeated = match row {
        "yield" => {
            if procs == 1 {
                on_worker(&rt, alternate());
            }
            per_op(|n| on_worker(&rt, yields(n)))
        }
        "pingpong" => per_op(|n| on_worker(&rt, pingpong(n))),
        "pingpong_unbounded" => per_op(|n| on_worker(&rt, pingpong_unbounded(n))),
        "spawn_join" => per_op(|n| on_worker(&rt, spawn_join(n))),
        "spawn_many" => {
            let crowd = scaled(100_000);
            per_op(|n| on_worker(&rt, spawn_many(n, crowd))) / crowd as f64
        }
        "mutex_100" => {
            let each = scaled(LOCKS_EACH);
            let per_crowd = per_op(|n| on_worker(&rt, mutex(n, each)));
            per_crowd / (LOCKERS * each) as f64
        }
        "skynet_1m" => {
            on_worker(&rt, skynet(skynet_leaves().min(1000)));
            on_worker(&rt, skynet(skynet_leaves())).as_secs_f64() * 1e3
        }
        "sleep_1ms_100k" => {
            let crowd = scaled(SLEEPERS);
            on_worker(&rt, nap(crowd.div_ceil(100)));
            on_worker(&rt, nap(crowd)).as_secs_f64() * 1e3
        }
        "callback_wake" => return Ok(woken(&rt)),
        "parked_1m" => {
            let crowd = scaled(PARKED);
            on_worker(&rt, parked(crowd.div_ceil(1000)));
            return Ok(on_worker(&rt, parked(crowd)));
        }
        _ => return Err("no such row".into()),
    };
    Ok(vec![repeated])
}

/// Runs `work` as a task on a worker, as opposed to the thread that waits for it.
fn on_worker<R: Send + 'static>(rt: &Runtime, work: impl Future<Output = R> + Send + 'static) -> R {
    rt.block_on(rt.spawn(work)).expect("the task returns")
}

/// Waits until two tasks have come here.
async fn meet(ready: &AtomicUsize) {
    ready.fetch_add(1, Ordering::Relaxed);
    while ready.load(Ordering::Relaxed) < 2 {
        yield_now().await;
    }
}

/// Insists that a yield lets the other task go first.
async fn alternate() {
    const CHECKED: usize = 1000;
    let ready = Arc::new(AtomicUsize::new(0));
    let last = Arc::new(AtomicUsize::new(0));
    let tasks = [1, 2].map(|me| {
        let (ready, last) = (ready.clone(), last.clone());
        tokio::spawn(async move {
            meet(&ready).await;
            let mut changes = 0;
            for _ in 0..CHECKED {
                changes += usize::from(last.swap(me, Ordering::Relaxed) != me);
                yield_now().await;
            }
            changes
        })
    });
    let mut changes = 0;
    for task in tasks {
        changes += task.await.expect("the task returns");
    }
    assert!(changes > CHECKED, "only {changes} yields let the other run");
}

async fn yields(n: u64) -> Duration {
    let ready = Arc::new(AtomicUsize::new(0));
    let tasks = [(); 2].map(|()| {
        let ready = ready.clone();
        tokio::spawn(async move {
            meet(&ready).await;
            let start = Instant::now();
            for _ in 0..n.div_ceil(2) {
                yield_now().await;
            }
            (start, Instant::now())
        })
    });
    let [a, b] = tasks;
    let a = a.await.expect("the task returns");
    let b = b.await.expect("the task returns");
    a.1.max(b.1) - a.0.min(b.0)
}

/// The two message rows differ only in the constructor and in whether sending can wait.
macro_rules! pingpong {
    ($name:ident, $channel:expr, |$tx:ident, $value:ident| $send:expr) => {
        async fn $name(n: u64) -> Duration {
            let (there, mut inbox) = $channel;
            let (back, mut answers) = $channel;
            let echo = tokio::spawn(async move {
                let mut sum = 0;
                for _ in 0..n {
                    let value: u64 = inbox.recv().await.expect("a sender");
                    sum += value;
                    let ($tx, $value) = (&back, value + 1);
                    $send.expect("a receiver");
                }
                sum
            });
            let start = Instant::now();
            for value in 0..n {
                let ($tx, $value) = (&there, value);
                $send.expect("a receiver");
                let answer = answers.recv().await;
                assert_eq!(answer, Some(value + 1), "a wrong answer");
            }
            let took = start.elapsed();
            let sum = echo.await.expect("the task returns");
            assert_eq!(sum, n * (n - 1) / 2, "messages were lost");
            took
        }
    };
}

pingpong!(pingpong, mpsc::channel(1), |tx, value| tx.send(value).await);
pingpong!(pingpong_unbounded, mpsc::unbounded_channel(), |tx, value| tx.send(value));

async fn spawn_join(n: u64) -> Duration {
    let start = Instant::now();
    let mut sum = 0;
    for value in 0..n {
        let task = tokio::spawn(async move { black_box(value) });
        sum += task.await.expect("the task returns");
    }
    let took = start.elapsed();
    assert_eq!(sum, n * (n - 1) / 2, "results were lost");
    took
}

async fn spawn_many(n: u64, crowd: usize) -> Duration {
    let count = Arc::new(AtomicU64::new(0));
    let mut handles = Vec::with_capacity(crowd);
    let start = Instant::now();
    for _ in 0..n {
        for _ in 0..crowd {
            let count = count.clone();
            handles.push(tokio::spawn(async move {
                count.fetch_add(1, Ordering::Relaxed);
            }));
        }
        for task in handles.drain(..) {
            task.await.expect("the task returns");
        }
    }
    let took = start.elapsed();
    let count = count.load(Ordering::Relaxed);
    assert_eq!(count, n * crowd as u64, "tasks were lost");
    took
}

async fn mutex(n: u64, each: usize) -> Duration {
    let counter = Arc::new(Mutex::new(0u64));
    let start = Instant::now();
    for _ in 0..n {
        let crowd = [(); LOCKERS].map(|()| {
            let counter = counter.clone();
            tokio::spawn(async move {
                for _ in 0..each {
                    *counter.lock().await += 1;
                }
            })
        });
        for task in crowd {
            task.await.expect("the task returns");
        }
    }
    let took = start.elapsed();
    let total = *counter.lock().await;
    assert_eq!(total, n * (LOCKERS * each) as u64, "increments were lost");
    took
}

async fn skynet(leaves: u64) -> Duration {
    let start = Instant::now();
    let (tx, mut rx) = mpsc::unbounded_channel();
    tokio::spawn(node(tx, 0, leaves));
    let sum = rx.recv().await;
    assert_eq!(sum, Some(leaves * (leaves - 1) / 2), "a wrong sum");
    start.elapsed()
}

/// Sends the sum of the numbers from `first` on, one per leaf below this node. Boxed, because it spawns itself.
fn node(up: mpsc::UnboundedSender<u64>, first: u64, leaves: u64) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    Box::pin(async move {
        let mut sum = first;
        if leaves > 1 {
            let (tx, mut rx) = mpsc::unbounded_channel();
            let below = leaves / SKYNET_FAN_OUT;
            for child in 0..SKYNET_FAN_OUT {
                tokio::spawn(node(tx.clone(), first + child * below, below));
            }
            sum = 0;
            for _ in 0..SKYNET_FAN_OUT {
                sum += rx.recv().await.expect("a sender");
            }
        }
        up.send(sum).expect("a receiver");
    })
}

async fn nap(crowd: usize) -> Duration {
    const NAP: Duration = Duration::from_millis(1);
    let start = Instant::now();
    let mut handles = Vec::with_capacity(crowd);
    for _ in 0..crowd {
        handles.push(tokio::spawn(async {
            let lay_down = Instant::now();
            tokio::time::sleep(NAP).await;
            lay_down.elapsed() >= NAP
        }));
    }
    for task in handles {
        let rested = task.await.expect("the task returns");
        assert!(rested, "some woke before their time");
    }
    start.elapsed()
}

/// Where [`wake`] sends what it gets.
static TO_WOKEN: OnceLock<mpsc::UnboundedSender<i64>> = OnceLock::new();

/// What the C thread of the row `callback_wake` calls.
extern "C" fn wake(called_at: i64) -> i64 {
    TO_WOKEN.get().expect("the row has begun").send(called_at).expect("a receiver");
    called_at + 1
}

fn woken(rt: &Runtime) -> Vec<f64> {
    let (tx, mut rx) = mpsc::unbounded_channel();
    TO_WOKEN.set(tx).expect("once in a process");
    let wakes = scaled(WAKES);
    let delays = rt.spawn(async move {
        let mut delays = Vec::with_capacity(wakes);
        let mut last = 0;
        for _ in 0..wakes {
            let called_at = rx.recv().await.expect("a sender");
            let now = c::now();
            assert!(last < called_at && called_at <= now, "the calls are told apart by their times, and come in order");
            last = called_at;
            delays.push((now - called_at) as f64);
        }
        delays
    });
    c::callback_wake(wake, wakes, PAUSE);
    middle_and_late(rt.block_on(delays).expect("the task returns"))
}

async fn parked(crowd: usize) -> Vec<f64> {
    let arrived = Arc::new(AtomicUsize::new(0));
    let gate = Arc::new(Notify::new());
    let (tx, mut rx) = mpsc::unbounded_channel();
    let start = Instant::now();
    let mut handles = Vec::with_capacity(crowd);
    for _ in 0..crowd {
        let (arrived, gate, tx) = (arrived.clone(), gate.clone(), tx.clone());
        handles.push(tokio::spawn(async move {
            // A `notify_waiters` reaches every future that exists, polled or not.
            let opened = gate.notified();
            if arrived.fetch_add(1, Ordering::AcqRel) + 1 == crowd {
                tx.send(()).expect("a receiver");
            }
            opened.await;
        }));
    }
    rx.recv().await.expect("all arrive");
    let took = start.elapsed();
    let held = held_since_start();
    gate.notify_waiters();
    for task in handles {
        task.await.expect("the task returns");
    }
    let each = |total: f64| total / crowd as f64;
    vec![each(took.as_nanos() as f64), each(held as f64)]
}
