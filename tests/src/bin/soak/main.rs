//! A little of everything at once, for as long as one likes: `soak SECONDS SEED`.
//!
//! Some goroutines and one thread of C's take turns at the activities, each in an order of its own that SEED decides. Every
//! activity checks what it does; a panic anywhere ends the program. The time is cut into *rounds*. Between two rounds
//! everything comes to rest, and what the process holds is compared with what it held after the first two, which
//! are there to warm up: goroutines, callbacks, threads, descriptors, mappings, memory.
//!
//! The environment says how the runtime works; `ci/soak.sh` varies that. With `GORT_CHAOS=seed,faults` spawning fails now and
//! then, and is tried again.

mod ends;
mod io;
mod outside;
mod resources;
mod toolbox;
mod waits;

use gort_tests::cthreads::CThread;
use resources::Held;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use toolbox::{spawn, Rng};

type Activity = (&'static str, fn(&mut Rng));

const ACTIVITIES: &[Activity] = &[
    ("spawn storm", waits::spawn_storm),
    ("channels", waits::channels),
    ("locks", waits::locks),
    ("locks of C", waits::locks_of_c),
    ("timers", waits::timers),
    ("callbacks", outside::callbacks),
    ("threads", outside::threads),
    ("blocking", outside::blocking),
    ("thread of its own", outside::thread_of_its_own),
    ("library", outside::library),
    ("sockets", io::sockets),
    ("connections", io::connections),
    ("pipes", io::pipes),
    ("panics", ends::panics),
    ("processes", ends::processes),
    ("forks", ends::forks),
    ("overflow", ends::overflow),
];

/// How often each activity was done.
static DONE: [AtomicUsize; ACTIVITIES.len()] = [const { AtomicUsize::new(0) }; ACTIVITIES.len()];

/// How many goroutines take turns, beside a thread.
const DRIVERS: usize = 4;
/// Rounds, of which the first [`WARM_UP`] are not judged.
const ROUNDS: u32 = 8;
const WARM_UP: u32 = 2;
/// How long nothing may be finished before the program takes itself to hang.
const STUCK: Duration = Duration::from_secs(150);

fn main() {
    let args: Vec<_> = std::env::args().collect();
    if args.get(1).is_some_and(|role| role == ends::OVERFLOW) {
        return ends::overflow_now();
    }
    let number = |i: usize| args.get(i).and_then(|a| a.parse().ok());
    let (Some(seconds), Some(seed)) = (number(1), number(2)) else {
        eprintln!("usage: soak SECONDS SEED");
        std::process::exit(2);
    };
    println!("soak: {}", settings(seconds, seed));
    // Whoever panics is named by his panic; this says how to see it again.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if info.payload().downcast_ref::<ends::OnPurpose>().is_none() {
            hook(info);
            eprintln!("soak: failed; again: {}", settings(seconds, seed));
            std::process::exit(1);
        }
    }));
    std::panic::catch_unwind(|| std::panic::panic_any(ends::OnPurpose)).expect_err("the hook lets those pass");
    outside::build_library();
    std::thread::spawn(watch);

    let end = Instant::now() + Duration::from_secs(seconds);
    let mut rng = Rng::new(seed);
    // Each activity alone, so that each has left what it leaves once.
    ACTIVITIES.iter().enumerate().for_each(|(i, _)| perform(i, &mut rng));
    let mut baseline = None;
    for n in 1..=ROUNDS {
        let left = end.saturating_duration_since(Instant::now());
        round(Instant::now() + left / (ROUNDS + 1 - n), &mut rng);
        if n < WARM_UP {
            continue;
        }
        match &baseline {
            None => baseline = Some(Held::at_rest(None)),
            Some(before) => println!("soak: round {n}: {}", Held::at_rest(Some(before))),
        }
    }
    let counts = gort::testing::chaos_counts();
    gort::shutdown(STUCK).expect("nothing is left");
    resources::only_our_own_threads();
    for ((name, _), done) in ACTIVITIES.iter().zip(&DONE) {
        print!("{name} {}, ", done.load(SeqCst));
    }
    println!("spawn refused {}", toolbox::REFUSED.load(SeqCst));
    println!("chaos: {counts:?}");
    println!("soak: passed");
}

/// One round, until `end`. Every driver finishes what it has begun.
fn round(end: Instant, rng: &mut Rng) {
    let over = Arc::new(AtomicBool::new(false));
    let drive = |seed: u64| {
        let over = over.clone();
        move || {
            let mut rng = Rng::new(seed);
            while !over.load(SeqCst) {
                perform(rng.below(ACTIVITIES.len()), &mut rng);
            }
        }
    };
    let goroutines: Vec<_> = (0..DRIVERS).map(|_| spawn(drive(rng.next()))).collect();
    let thread = CThread::spawn(drive(rng.next()));
    std::thread::sleep(end.saturating_duration_since(Instant::now()));
    over.store(true, SeqCst);
    goroutines.into_iter().for_each(|g| g.join().expect("the hook has ended the program"));
    thread.join();
}

fn perform(i: usize, rng: &mut Rng) {
    let (name, activity) = ACTIVITIES[i];
    let started = UNDER_WAY.begin(name);
    activity(rng);
    UNDER_WAY.end(started);
    DONE[i].fetch_add(1, SeqCst);
}

/// What is being done, for the report of a hang.
struct UnderWay(Mutex<Vec<(u64, &'static str)>>);

static UNDER_WAY: UnderWay = UnderWay(Mutex::new(Vec::new()));

impl UnderWay {
    fn begin(&self, name: &'static str) -> u64 {
        let mut list = self.0.lock().unwrap();
        let number = list.iter().map(|(n, _)| n + 1).max().unwrap_or(0);
        list.push((number, name));
        number
    }

    fn end(&self, number: u64) {
        self.0.lock().unwrap().retain(|(n, _)| *n != number);
    }
}

/// Ends the program when nothing has been finished for long. On a thread of its own, which waits for nobody.
fn watch() {
    let done = || DONE.iter().map(|n| n.load(SeqCst)).sum::<usize>() + resources::RESTS.load(SeqCst);
    let (mut seen, mut since) = (done(), Instant::now());
    loop {
        gort_tests::raw::block_for(Duration::from_millis(500));
        if done() != seen {
            (seen, since) = (done(), Instant::now());
        } else if since.elapsed() > STUCK {
            let stuck = UNDER_WAY.0.try_lock().map(|list| list.iter().map(|(_, name)| *name).collect::<Vec<_>>());
            let args: Vec<_> = std::env::args().collect();
            eprintln!("soak: nothing was finished for {STUCK:?}; under way: {stuck:?}; {:?}", gort::stats());
            eprintln!("soak: hangs; again: {}", settings(args[1].parse().unwrap_or(0), args[2].parse().unwrap_or(0)));
            std::process::abort();
        }
    }
}

/// The command that does the same again.
fn settings(seconds: u64, seed: u64) -> String {
    let set = std::env::vars().filter(|(name, _)| name.starts_with("GORT_") || name == "RUST_MIN_STACK");
    let set: String = set.map(|(name, value)| format!("{name}={value} ")).collect();
    format!("{set}soak {seconds} {seed}")
}
