//! Act (a): a hundred thousand goroutines in a ring, and a token that goes round.
//!
//! Each of them owns the receiving end of a `std::sync::mpsc` channel and the sending end of the next one's.
//! It takes the token, adds one and passes it on; when its own channel closes, it ends, which closes the
//! next. The main thread closes the ring: it sends the token off and gets it back.

use crate::process;
use crate::report::{commas, each, per, ratio, Act};
use crate::threads::{Goroutines, StdThreads, Threads};
use std::io;
use std::sync::mpsc::{channel, Receiver, Sender};
use std::time::{Duration, Instant};

/// The size of the ring of goroutines.
const GOROUTINES: usize = 100_000;

/// The size of the ring of kernel threads, if the kernel gives so many.
const STD_THREADS: usize = 4_000;

/// Once to wake each for the first time, once more to measure.
const LAPS: usize = 2;

/// Runs the act.
pub fn run() -> Act {
    let wanted = process::crowd(GOROUTINES);
    let ours = measure::<Goroutines>(wanted);
    let what = format!("{} goroutines, one token, std::sync::mpsc", commas(ours.size));
    let mut act = Act::new('a', "ring", what);
    act.took(ours.total);
    act.detail(format!(
        "created in {:.2} s ({} each), a lap in {:.2} s ({} a hop), {:.1} KiB each",
        ours.creation.as_secs_f64(),
        each(ours.creation, ours.size),
        ours.lap.as_secs_f64(),
        each(ours.lap, ours.size),
        ours.memory as f64 / 1024.0 / ours.size as f64,
    ));
    if wanted < GOROUTINES {
        act.detail(format!("under Wine not more; elsewhere it is {}", commas(GOROUTINES)));
    }
    match &ours.refused {
        // Before Linux 6.13 guards take mappings, of which there are few unless that is set.
        Some(why) if why.to_string().contains("vm.max_map_count") => act.detail(format!("no more than these: {why}")),
        _ => act.check("size of the ring", ours.size, wanted),
    }
    ours.check(&mut act);

    let theirs = measure::<StdThreads>(process::crowd(STD_THREADS));
    let slower = ratio(per(ours.lap, ours.size), per(theirs.lap, theirs.size));
    act.compare(format!("std threads: {} of them, {slower} per hop", commas(theirs.size)));
    act.detail(format!(
        "std threads: {} to create one, {} a hop",
        each(theirs.creation, theirs.size),
        each(theirs.lap, theirs.size),
    ));
    theirs.check(&mut act);
    act
}

/// What a ring did.
struct Ring {
    /// How many are in it; fewer than asked for if no more could be had.
    size: usize,
    /// Why no more could be had.
    refused: Option<io::Error>,
    /// How many ended without a panic.
    ended: usize,
    /// What the token counted, lap by lap.
    counts: Vec<usize>,
    /// Bytes of memory that the ring took, after a lap.
    memory: u64,
    creation: Duration,
    /// The last lap.
    lap: Duration,
    /// From the first creation to the last end.
    total: Duration,
}

impl Ring {
    fn check(&self, act: &mut Act) {
        let expected: Vec<usize> = (1..=LAPS).map(|lap| lap * self.size).collect();
        act.check("token after each lap", &self.counts, &expected);
        act.check("ends without a panic", self.ended, self.size);
    }
}

/// Builds a ring of `wanted`, sends the token round and takes the ring down.
fn measure<T: Threads>(wanted: usize) -> Ring {
    let memory = process::memory();
    let start = Instant::now();
    let (members, refused, entry, exit) = build::<T>(wanted);
    let size = members.len();
    let creation = start.elapsed();

    let mut counts = Vec::new();
    let mut token = 0;
    let mut lap = Duration::ZERO;
    let mut used = 0;
    for _ in 0..LAPS {
        let start = Instant::now();
        entry.send(token).expect("the ring stands");
        token = exit.recv().expect("the ring stands");
        lap = start.elapsed();
        counts.push(token);
        used = process::memory().saturating_sub(memory);
    }
    drop(entry);
    let ended = T::join_all(members);
    Ring { size, refused, ended, counts, memory: used, creation, lap, total: start.elapsed() }
}

/// Builds the ring from its end to its beginning. Stops early if no more threads can be had: what stands
/// by then is a smaller ring.
fn build<T: Threads>(wanted: usize) -> (Vec<T::Handle>, Option<io::Error>, Sender<usize>, Receiver<usize>) {
    let mut members = Vec::with_capacity(wanted);
    let mut refused = None;
    let (mut entry, exit) = channel();
    while members.len() < wanted {
        let (previous, inbox) = channel();
        let next = entry.clone();
        match T::spawn(move || pass_on(inbox, next)) {
            Ok(member) => members.push(member),
            Err(e) => {
                refused = Some(e);
                break;
            }
        }
        entry = previous;
    }
    (members, refused, entry, exit)
}

/// The life of a member.
fn pass_on(inbox: Receiver<usize>, next: Sender<usize>) {
    for token in inbox {
        if next.send(token + 1).is_err() {
            return;
        }
    }
}
