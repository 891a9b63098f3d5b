//! Act (c): a C library calls back into Rust, a million times, from 64 threads that gort did not make.
//!
//! The callback is an ordinary function with `#[gort::callback]`. Now and then it
//!
//! * spawns a goroutine, which acknowledges the event's value later;
//! * asks a goroutine over a channel and blocks for the answer;
//! * panics, which the library sees as -1, "refused".
//!
//! Every event carries a value. At the end the library's sums and the ones kept here must agree to the last
//! unit, and none of the C threads may still be bound to the runtime.

use crate::pump::{self, Tally};
use crate::report::{commas, Act};
use std::ffi::c_void;
use std::panic;
use std::ptr;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{channel, Receiver, Sender};
use std::sync::Mutex;
use std::time::Instant;

const C_THREADS: u32 = 64;
const EVENTS_PER_THREAD: u64 = 15_625;
const EVENTS: u64 = C_THREADS as u64 * EVENTS_PER_THREAD;

/// Calls for the price of one callback alone.
const QUIET_CALLS: u64 = 1_000_000;

/// How the panics on purpose begin; the panic hook knows them by it.
const REFUSAL: &str = "refused event";

/// What the callback does with an event.
#[derive(PartialEq)]
enum Kind {
    /// Adds its value up.
    Plain,
    /// Spawns a goroutine that adds its value up.
    Spawn,
    /// Blocks until a goroutine has added its value up.
    Ask,
    /// Panics.
    Refuse,
}

impl Kind {
    fn of(event: u64) -> Self {
        match event % 1_000 {
            100 | 600 => Self::Spawn,
            200 => Self::Ask,
            300 => Self::Refuse,
            _ => Self::Plain,
        }
    }

    /// How many of a run's events are of this kind.
    fn count(&self) -> u64 {
        let per_thread = (0..EVENTS_PER_THREAD).filter(|event| Self::of(*event) == *self);
        u64::from(C_THREADS) * per_thread.count() as u64
    }
}

/// Events by number and by value.
#[derive(Default)]
struct Ledger {
    count: AtomicU64,
    sum: AtomicI64,
}

impl Ledger {
    fn add(&self, value: i64) {
        self.count.fetch_add(1, Relaxed);
        self.sum.fetch_add(value, Relaxed);
    }
}

/// The ledgers of one C thread, on a cache line of their own.
#[derive(Default)]
#[repr(align(64))]
struct Ledgers {
    plain: Ledger,
    refused: Ledger,
}

/// What the callback works with; C hands its address through.
struct Host {
    ledgers: Vec<Ledgers>,
    /// To the goroutine that answers questions: the value, and where the answer goes.
    questions: Sender<(i64, Sender<i64>)>,
    /// The goroutines that the callback spawned; each returns its value.
    spawned: Mutex<Vec<gort::thread::JoinHandle<i64>>>,
}

/// The callback. -1 is what C gets after a panic.
#[gort::callback(on_panic = -1)]
unsafe extern "C" fn on_event(host: *mut c_void, thread: u32, event: u64, value: i64) -> i64 {
    // SAFETY: `host` is the Host that `run` lends for the whole run of the pump, shared by all threads.
    let host = unsafe { &*host.cast::<Host>() };
    let ledgers = &host.ledgers[thread as usize];
    match Kind::of(event) {
        Kind::Plain => ledgers.plain.add(value),
        Kind::Spawn => {
            let goroutine = gort::thread::spawn(move || value);
            host.spawned.lock().expect("no panic inside").push(goroutine);
        }
        Kind::Ask => {
            let (to_us, answer) = channel();
            host.questions.send((value, to_us)).expect("the clerk lives");
            return answer.recv().expect("the clerk answers");
        }
        Kind::Refuse => {
            ledgers.refused.add(value);
            panic!("{REFUSAL} {event} of thread {thread}");
        }
    }
    value
}

/// A callback that does nothing, for the price of the way in and out.
#[gort::callback(on_panic = -1)]
extern "C" fn on_quiet_event(_host: *mut c_void, _thread: u32, _event: u64, value: i64) -> i64 {
    value
}

/// The same without gort.
extern "C" fn on_plain_event(_host: *mut c_void, _thread: u32, _event: u64, value: i64) -> i64 {
    value
}

/// The goroutine that answers questions. Returns how many there were and the sum of their values.
fn clerk(questions: Receiver<(i64, Sender<i64>)>) -> (u64, i64) {
    let (mut count, mut sum) = (0, 0);
    for (value, answer) in questions {
        count += 1;
        sum += value;
        answer.send(value).expect("the asker waits");
    }
    (count, sum)
}

/// Runs the act.
pub fn run() -> Act {
    let what = format!("{} callbacks from {C_THREADS} C threads", commas(EVENTS));
    let mut act = Act::new('c', "callback", what);

    let (questions, inbox) = channel();
    let clerk = gort::thread::spawn(move || clerk(inbox));
    let host = Host {
        ledgers: (0..C_THREADS).map(|_| Ledgers::default()).collect(),
        questions,
        spawned: Mutex::new(Vec::new()),
    };
    let start = Instant::now();
    let (threads, tally) = without_refusals_printed(|| {
        // SAFETY: the callback takes a Host by address, which outlives the call, and all of a Host may
        // be shared between threads.
        unsafe { pump::run(C_THREADS, EVENTS_PER_THREAD, on_event, (&raw const host).cast()) }
    });
    let bound_after = gort::stats().extra_ms_in_use;
    let Host { ledgers, questions, spawned } = host;
    drop(questions);
    let asked = clerk.join();
    let spawned: Vec<_> =
        spawned.into_inner().expect("no panic inside").into_iter().map(gort::thread::JoinHandle::join).collect();
    act.took(start.elapsed());

    act.check("C threads", threads, C_THREADS);
    act.check("C threads still bound to the runtime", bound_after, 0);
    act.check("the clerk's end", asked.is_ok(), true);
    let late: Vec<i64> = spawned.into_iter().flatten().collect();
    let sums = Sums {
        plain: total(ledgers.iter().map(|ledgers| &ledgers.plain)),
        refused: total(ledgers.iter().map(|ledgers| &ledgers.refused)),
        asked: asked.unwrap_or_default(),
        spawned: (late.len() as u64, late.iter().sum()),
    };
    balance(&mut act, &tally, &sums);

    act.detail(format!(
        "on the way: {} goroutines spawned, {} blocked on a channel, {} panics kept out of C",
        commas(sums.spawned.0),
        commas(sums.asked.0),
        commas(sums.refused.0),
    ));
    act.detail(format!(
        "C sent {} and Rust booked {}; C threads still bound: {bound_after}",
        commas(tally.sent_sum),
        commas(sums.all().1),
    ));
    price(&mut act);
    act
}

/// What Rust booked: number and sum of values, by kind.
struct Sums {
    plain: (u64, i64),
    refused: (u64, i64),
    asked: (u64, i64),
    spawned: (u64, i64),
}

impl Sums {
    fn all(&self) -> (u64, i64) {
        [self.plain, self.refused, self.asked, self.spawned]
            .into_iter()
            .fold((0, 0), |all, one| (all.0 + one.0, all.1 + one.1))
    }
}

fn total<'a>(ledgers: impl Iterator<Item = &'a Ledger>) -> (u64, i64) {
    ledgers.fold((0, 0), |(count, sum), ledger| (count + ledger.count.load(Relaxed), sum + ledger.sum.load(Relaxed)))
}

/// Compares C's books with Rust's, and both with what was ordered.
fn balance(act: &mut Act, tally: &Tally, sums: &Sums) {
    act.check("calls counted by C", tally.calls, EVENTS);
    act.check("answers that C found wrong", tally.wrong, 0);
    act.check("all events", sums.all(), (tally.calls, tally.sent_sum));
    act.check("refused events", sums.refused, (tally.refused, tally.refused_sum));
    act.check("panics", sums.refused.0, Kind::Refuse.count());
    act.check("questions", sums.asked.0, Kind::Ask.count());
    act.check("goroutines", sums.spawned.0, Kind::Spawn.count());
}

/// Measures a callback that does nothing on one C thread, with gort and without.
fn price(act: &mut Act) {
    let mut measure = |handler: pump::Handler| {
        // SAFETY: both handlers ignore the host.
        let (_, tally) = unsafe { pump::run(1, QUIET_CALLS, handler, ptr::null()) };
        act.check("quiet calls", (tally.calls, tally.refused, tally.wrong), (QUIET_CALLS, 0, 0));
        tally.nanoseconds as f64 / QUIET_CALLS as f64
    };
    let plain = measure(on_plain_event);
    let ours = measure(on_quiet_event);
    act.compare(format!("{ours:.0} ns for an empty callback; {plain:.0} ns without gort"));
}

/// Runs `f` with a panic hook that keeps silent about the panics on purpose.
fn without_refusals_printed<T>(f: impl FnOnce() -> T) -> T {
    use std::sync::Arc;
    type Hook = dyn Fn(&panic::PanicHookInfo<'_>) + Send + Sync;

    let usual: Arc<Hook> = panic::take_hook().into();
    let kept = usual.clone();
    panic::set_hook(Box::new(move |info| {
        let text = info.payload().downcast_ref::<String>();
        if !text.is_some_and(|text| text.starts_with(REFUSAL)) {
            kept(info);
        }
    }));
    let result = f();
    panic::set_hook(Box::new(move |info| usual(info)));
    result
}
